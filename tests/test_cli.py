"""The command `blursim` as a user meets it: what it prints, writes, refuses, and with which status it ends."""

# ruff: noqa: E402
from frameworks import require

require("jax", "typer", "PIL", "tifffile", "skimage", "matplotlib")

import csv
import functools
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blursim_command import BLURSIM, call, grey, refusal, run
from cases import FLOAT32, PRINTED
from PIL import Image
from processes import run_code
from scipy import signal as signal2d
from skimage import data
from skimage.metrics import peak_signal_noise_ratio

from blursim_jax import blursim, blursim_terms
from blursim_jax.cli import scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharp photo, two that are blurred, and another of another size."""
    from scipy import ndimage

    out = tmp_path_factory.mktemp("images")
    sharp = data.astronaut()[:128, :160]
    Image.fromarray(sharp).save(out / "sharp.png")
    for name, sigma in (("slight", 0.7), ("strong", 3)):
        Image.fromarray(ndimage.gaussian_filter(sharp, (sigma, sigma, 0))).save(out / f"{name}.png")
    Image.fromarray(data.coffee()[:130, :170]).save(out / "other.png")
    return out


def side(path: Path) -> int:
    """The shorter side of a picture."""
    with Image.open(path) as image:
        return min(image.size)


def gaussian_ssim(a: np.ndarray, b: np.ndarray, white: float) -> float:
    """SSIM by the formula of Wang, Bovik, Sheikh and Simoncelli (2004), on windows that lie inside the images."""
    taps = np.exp(-(np.arange(-5.0, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / taps.sum() ** 2

    def mean(x: np.ndarray) -> np.ndarray:
        return signal2d.convolve2d(x, window, mode="valid")

    a, b = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * white) ** 2, (0.03 * white) ** 2
    one, other = mean(a), mean(b)
    spread = mean(a * a) - one**2 + mean(b * b) - other**2
    top = (2 * one * other + c1) * (2 * (mean(a * b) - one * other) + c2)
    return float(np.mean(top / ((one**2 + other**2 + c1) * (spread + c2))))


def test_compare_says_what_the_library_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options: dict[str, Any] = {"spectrum": "log", "normalization": "relative", "sobel_kernel_size": 3, "alpha": 0.8}
    flags = [x for name, value in options.items() for x in (f"--{name.replace('_', '-')}", value)]
    assert call("compare", folder / "slight.png", folder / "sharp.png", "--json", *flags) == 0
    found = json.loads(capsys.readouterr().out)
    a, b = grey(folder / "slight.png"), grey(folder / "sharp.png")
    assert found["value"] == pytest.approx(float(blursim(a, b, data_range=255.0, **options)), rel=FLOAT32.value)
    del options["alpha"]
    terms = blursim_terms(a, b, data_range=255.0, **options)
    assert [found["general"], found["specific"]] == pytest.approx([float(x) for x in terms], rel=FLOAT32.value)
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), rel=PRINTED)
    assert found["ssim"] == pytest.approx(gaussian_ssim(b, a, 255), rel=PRINTED)
    assert found["mse"] == pytest.approx(np.mean((a - b) ** 2) / 255**2, rel=PRINTED)


def test_compare_in_colour(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("compare", folder / "slight.png", folder / "sharp.png", "--color", "--json", "--data-range", 200) == 0
    a, b = (np.asarray(Image.open(folder / name)) for name in ("slight.png", "sharp.png"))
    expected = float(blursim(a, b, channel_axis=-1, data_range=200.0))
    found = json.loads(capsys.readouterr().out)
    assert found["value"] == pytest.approx(expected, rel=FLOAT32.value)
    channels = [gaussian_ssim(a[..., i], b[..., i], 200) for i in range(3)]
    assert found["ssim"] == pytest.approx(np.mean(channels), rel=PRINTED)


def test_the_same_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = folder / "sharp.png", folder / "sharp.png"
    assert call("compare", *same) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[:2] for row in rows] == [
        ["BlurSim", "0"], ["General", "0"], ["Specific", "0"], ["MSE", "0"], ["PSNR", "inf"], ["SSIM", "1.0000"],
    ]  # fmt: skip
    assert call("compare", *same, "--json", "--fail-above", 0) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] is None


def test_exit_status(folder: Path) -> None:
    images = folder / "strong.png", folder / "sharp.png"
    assert call("compare", *images, "--fail-above", 1) == 0
    assert call("compare", *images, "--fail-above", 1e-6) == 1
    found = run("compare", *images, "--fail-above", 1e-6)
    assert found.returncode == 1
    assert re.fullmatch(r"BlurSim 0\.\d+ is above --fail-above 1e-06\n", found.stderr)
    assert found.stdout.splitlines()[0].split()[0] == "BlurSim"


@pytest.mark.parametrize(
    "options",
    [
        [],
        pytest.param(["--color", "--spectrum", "log"], marks=pytest.mark.system),
        pytest.param(["--spectrum", "complex", "--normalization", "relative"], marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_figure(folder: Path, tmp_path: Path, options: list[str]) -> None:
    out = tmp_path / "figure.png"
    assert call("compare", folder / "slight.png", folder / "sharp.png", "--figure", out, *options) == 0
    assert side(out) >= 500
    # The same image, of which every map is 0, a line of pixels, and a name that is a formula to Matplotlib.
    Image.fromarray(np.zeros((5, 90), np.uint8)).save(tmp_path / "$\\frac{$^[b].png")
    thin = tmp_path / "$\\frac{$^[b].png"
    assert call("compare", thin, thin, "--figure", out, "--force", *options) == 0
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.system
def test_nothing_is_replaced_unasked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "figure.png"
    out.write_text("mine")
    commands = {
        "compare": ("--figure", folder / "slight.png", folder / "sharp.png"),
        "matrix": ("--figure", folder / "slight.png", folder / "sharp.png"),
        "sweep": ("--out", folder / "sharp.png"),
        "evaluate": ("--out", folder, folder),
    }
    for command, (option, *images) in commands.items():
        found = run(command, *images, option, out)
        assert (found.returncode, found.stdout) == (2, "")
        assert found.stderr == f"Error: {out} is there already; --force replaces it\n"
    assert out.read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["figure.png"]
    assert call("compare", folder / "slight.png", folder / "sharp.png", "--figure", out, "--force") == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_matrix(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = "sharp.png", "slight.png", "strong.png"
    images = [folder / name for name in names]
    expected = [
        [float(blursim(grey(a), grey(b), data_range=255.0, normalization="relative")) for b in images] for a in images
    ]
    options = "--normalization", "relative"
    call("matrix", *images, "--format", "json", *options)
    found = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(found["values"], expected, rtol=FLOAT32.value)
    assert found["images"] == [str(image) for image in images]
    call("matrix", *images, "--format", "csv", *options)
    head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head == ["", *names] and [row[0] for row in rows] == list(names)
    np.testing.assert_allclose([list(map(float, row[1:])) for row in rows], expected, rtol=FLOAT32.value)
    call("matrix", *images, "--figure", tmp_path / "table.png", *options)
    text = capsys.readouterr().out
    rows = [line.split() for line in text.replace("│", " ").splitlines() if ".png" in line]
    assert rows == [
        [str(i), name, *(f"{value:.4g}" for value in row)]
        for i, (name, row) in enumerate(zip(names, expected, strict=True), 1)
    ]
    assert side(tmp_path / "table.png") > 300


def test_matrix_of_sizes_that_differ(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = folder / "sharp.png", folder / "slight.png", folder / "other.png"
    found = run("matrix", *images)
    assert found.returncode == 2 and "other.png is 170x130; --resize or --crop fits them" in found.stderr
    call("matrix", *images, "--crop", "--format", "json")
    cropped = json.loads(capsys.readouterr().out)["values"]
    a, b = grey(images[0]), grey(images[2])[1:129, 5:165]
    assert cropped[0][2] == pytest.approx(float(blursim(a, b, data_range=255.0)), rel=FLOAT32.rounded)


@pytest.mark.system
def test_sweep(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, table = tmp_path / "sweep.png", tmp_path / "sweep.csv"
    call("sweep", folder / "sharp.png", "--out", out, "--csv", table, "--alpha", 0.5)
    assert side(out) > 500
    rows = list(csv.DictReader(table.read_text().splitlines()))
    kinds = {row["distortion"] for row in rows}
    assert {kind.split(":")[0].split()[0] for kind in kinds} == {"blur", "noise", "circular", "brightness"}
    assert {row["spectrum"] for row in rows} == {"magnitude", "complex", "complex_l1", "log"}
    assert all(float(row["value"]) == 0 for row in rows if float(row["level"]) == 0)
    assert {(row["normalization"], row["sobel_kernel_size"], row["alpha"]) for row in rows} == {("area", "5", "0.5")}
    middle = next(row for row in rows if row["spectrum"] == "log" and row["level"] == "1.5")
    assert f"{float(middle['value']):.6g}" in capsys.readouterr().out
    from scipy import ndimage

    sharp = grey(folder / "sharp.png") / np.float32(255)
    for row in rows:
        if row["distortion"].startswith("blur") and float(row["level"]) == 2:
            options: Any = {"spectrum": row["spectrum"]}
            expected = blursim(ndimage.gaussian_filter(sharp, 2), sharp, alpha=0.5, **options)
            assert float(row["value"]) == pytest.approx(float(expected), rel=FLOAT32.rounded)


@pytest.mark.system
def test_sweep_takes_the_middle_of_a_large_image(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "SIDE", 64)
    middle = tmp_path / "middle.png"
    with Image.open(folder / "sharp.png") as image:
        assert image.size == (160, 128)
        image.crop((48, 32, 112, 96)).save(middle)
    tables = [tmp_path / "whole.csv", tmp_path / "cut.csv"]
    for path, table in zip((folder / "sharp.png", middle), tables, strict=True):
        call("sweep", path, "--figure", table.with_suffix(".png"), "--csv", table)
    whole, cut = (list(csv.DictReader(table.read_text().splitlines())) for table in tables)
    assert {row.pop("notes") for row in whole} == {"the middle 64x64 of 160x128 pixels"}
    assert {row.pop("notes") for row in cut} == {""}
    assert whole == cut
    assert "the middle 64x64 of 160x128 pixels" in capsys.readouterr().err


WRONG = [
    (["compare", "none.png", "sharp.png"], "none.png: No such file or directory"),
    (["compare", ".", "sharp.png"], ".: Is a directory"),
    (["compare", "slight.png", "other.png"], "sizes differ: slight.png is 160x128, other.png is 170x130; --resize or"),
    (
        ["compare", "slight.png", "sharp.png", "--sobel-kernel-size", "4"],
        "--sobel-kernel-size: expected 3, 5 or 7, got 4",
    ),
    (["compare", "slight.png", "sharp.png", "--alpha", "2"], "Invalid value for '--alpha'"),
    (["compare", "slight.png", "sharp.png", "--data-range", "0"], "--data-range: expected a positive finite number"),
    (["compare", "slight.png", "sharp.png", "--data-range", "nan"], "--data-range: expected a positive finite number"),
    (["compare", "slight.png", "sharp.png", "--resize", "--crop"], "--resize and --crop exclude each other"),
    (["compare", "slight.png", "sharp.png", "--max-pixels", "99"], "slight.png: 160x128 is more than --max-pixels 99"),
    (["compare", "slight.png", "sharp.png", "--figure", "no/where.png"], "cannot write to the folder no: No such file"),
    (["compare", "slight.png"], "Missing argument"),
    (["compare", "-slight.png", "sharp.png"], "No such option"),
    (["matrix", "sharp.png"], "IMAGES: expected two images or more, got one"),
    (["evaluate", "none", "."], "none is not a folder"),
    (["evaluate", ".", ".", "--resume"], "blursim.csv.partial is not there: no interrupted run to resume"),
    (["compare", "slight.png", "sharp.png", "--figure", "a.jpg"], "Invalid value for '--figure': expected a name that"),
    (
        ["compare", "slight.png", "sharp.png", "--figure", "sharp.png", "--force"],
        "sharp.png is read; name another file",
    ),
    (["matrix", "slight.png", "sharp.png", "--figure", "./slight.png", "--force"], "slight.png is read; name another"),
    (["sweep", "sharp.png", "--out", "sharp.png", "--force"], "sharp.png is read; name another file to write"),
    (["sweep", "sharp.png", "--out", "a.png", "--csv", "./a.png"], "a.png is named for two outputs"),
    (["look"], "No such command 'look'"),
]


by_input = functools.partial(
    pytest.mark.parametrize, ("arguments", "says"), ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)


@by_input([wrong for wrong in WRONG if not wrong[1].startswith("--")])
def test_bad_input_is_named(
    folder: Path,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(folder.iterdir())
    monkeypatch.chdir(folder)
    message = refusal(*arguments)
    assert message.startswith(says) and "\n" not in message and capsys.readouterr().out == ""
    assert sorted(folder.iterdir()) == before


@by_input(
    # The first by a process at every run.
    [
        pytest.param(*wrong, marks=pytest.mark.system if i else ())
        for i, wrong in enumerate(wrong for wrong in WRONG if wrong[1].startswith("--"))
    ]
)
def test_bad_input_is_one_line_and_status_2(folder: Path, arguments: list[str], says: str) -> None:
    """The library's messages name its arguments, those of the command its options."""
    before = sorted(folder.iterdir())
    found = run(*arguments, cwd=folder)
    assert (found.returncode, found.stdout) == (2, "")
    assert re.fullmatch(rf"Error: {re.escape(says)}.*\n", found.stderr), found.stderr
    assert sorted(folder.iterdir()) == before


def test_no_command_shows_the_help_alone() -> None:
    found = run()
    assert "compare" in found.stdout and found.stderr == ""


def test_names_that_begin_with_a_dash(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "-a.png").write_bytes((folder / "sharp.png").read_bytes())
    assert run("compare", "--json", "--", "-a.png", "./-a.png", cwd=tmp_path).returncode == 0


def test_a_file_that_may_not_be_read(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes((folder / "sharp.png").read_bytes())
    path.chmod(0)
    from blursim_jax.cli.files import UserError
    from blursim_jax.cli.images import read

    root = os.geteuid() == 0
    if root:
        # Who reads everything.
        os.seteuid(65534)
    try:
        with pytest.raises(UserError, match=r"secret.png: Permission denied$"):
            read(path, color=False, max_pixels=10**6)
    finally:
        if root:
            os.seteuid(0)


def test_nul_in_a_name() -> None:
    from blursim_jax.cli.files import UserError
    from blursim_jax.cli.images import read

    with pytest.raises(UserError, match=r"null byte"):
        read(Path("a\0.png"), color=False, max_pixels=10**6)


def test_help_is_shown_without_loading_what_is_slow() -> None:
    code = (
        "import sys; from blursim_jax.cli.app import app; app(['evaluate', '--help'], standalone_mode=False); "
        "print({'jax', 'numpy', 'matplotlib', 'PIL', 'skimage', 'scipy'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "set()"


@pytest.mark.system
@pytest.mark.parametrize("command", ["compare", "matrix", "evaluate", "sweep"])
def test_help_has_examples_that_work(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = run(command, "--help", env=os.environ | {"COLUMNS": "300", "NO_COLOR": "1"}).stdout
    examples = re.findall(r"^ (blursim .*?)\s*$", text, re.MULTILINE)
    assert len(examples) >= 2
    for name in ("results", "sharp"):
        (tmp_path / name).mkdir()
        for image in ("sharp", "slight"):
            (tmp_path / name / f"{image}.png").write_bytes((folder / f"{image}.png").read_bytes())
    for image in ("sharp", "slight", "strong"):
        (tmp_path / f"{image}.png").write_bytes((folder / f"{image}.png").read_bytes())
    (tmp_path / "pairs.csv").write_text("prediction,target\nsharp.png,slight.png\nslight.png,slight.png\n")
    (tmp_path / "restored.png").write_bytes((folder / "slight.png").read_bytes())
    monkeypatch.chdir(tmp_path)
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])[1:]
        # The scores are there from the example before, and complete.
        if "--report" in words:
            words.append("--force")
        if "--resume" in words:
            with pytest.raises(Exception, match=r"scores.csv is complete, and --force"):
                call(*words)
        else:
            assert call(*words) in (None, 0, int("--fail-above" in words))


@pytest.mark.system
def test_no_colour_and_no_progress_in_a_pipe(folder: Path, tmp_path: Path) -> None:
    terminal = os.environ | {"TERM": "xterm-256color"}
    matrix = run("matrix", folder / "sharp.png", folder / "slight.png", env=terminal)
    evaluate = run("evaluate", folder, folder, "--out", tmp_path / "scores.csv", env=terminal)
    for found in matrix, evaluate:
        assert (found.returncode, found.stderr) == (0, "") and found.stdout and "\x1b" not in found.stdout


def test_a_reader_that_goes_ends_it_quietly(folder: Path) -> None:
    arguments = " ".join(map(str, ["matrix", *[folder / "sharp.png"] * 2, "--format", "json"]))
    found = subprocess.run(
        f"set -o pipefail; {' '.join(BLURSIM)} {arguments} | true", shell=True, executable="/bin/bash",
        capture_output=True, text=True,
    )  # fmt: skip
    # As any program that writes to a pipe which nobody reads.
    assert (found.returncode, found.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.system
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(folder: Path, closed: str) -> None:
    for image, status in (folder / "slight.png", 0), (folder / "none.png", 2):
        command = f"{' '.join(BLURSIM)} compare {image} {folder / 'sharp.png'} --json {closed}"
        found = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert found.returncode == status
        assert "Traceback" not in found.stderr
        assert bool(found.stdout) == (status == 0 and ">&-" not in closed.replace("2>&-", ""))


@pytest.mark.parametrize("color", [False, True], ids=["grey", "colour"])
@pytest.mark.system
def test_figures_show_what_they_say(color: bool) -> None:
    from blursim_jax import blursim_maps
    from blursim_jax._taps import sobel_gain
    from blursim_jax.cli import figures
    from blursim_jax.cli.pairs import Pair
    from blursim_jax.cli.scores import score
    from blursim_jax.cli.settings import Settings

    a, b = np.random.default_rng(0).random((2, 40, 30, 3) if color else (2, 40, 30)).astype(np.float32)
    channels: Any = {"channel_axis": -1 if color else None}
    settings = Settings(0.9, 5, "complex", "relative", color, None, False, False, 10**6)
    pair = Pair(a, b, 1.0, ())
    figure = figures.draw_comparison(pair, settings, score(pair, settings), ("a", "b"))
    shown = [(axes.get_title(), axes.images[0].get_array()) for axes in figure.axes if axes.get_title()]
    zeros, gain, area = np.zeros_like(a), sobel_gain(5), 40 * 30
    each = [blursim_maps(x, zeros, **channels) for x in (a, b)]
    difference = blursim_maps(a, b, spectrum="complex", **channels)
    expected = [
        ("prediction: a", a),
        ("edges", each[0].edges / gain),
        ("spectrum", each[0].spectrum / area),
        ("target: b", b),
        ("edges", each[1].edges / gain),
        ("spectrum", each[1].spectrum / area),
        ("difference of edges", difference.edges / gain),
        ("difference of spectra (complex)", difference.spectrum / area),
    ]
    assert [title for title, _ in shown] == [title for title, _ in expected]
    for (title, values), (_, right) in zip(shown, expected, strict=True):
        np.testing.assert_allclose(
            np.asarray(values), np.asarray(right), rtol=FLOAT32.rounded, atol=FLOAT32.rounded, err_msg=title
        )
    scales = [axes.images[0].norm for axes in figure.axes if axes.get_title() in ("edges", "spectrum")]
    assert scales[0] is scales[2] and scales[1] is scales[3]
    units = [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()]
    assert sorted(units) == sorted(
        2 * ["amplitude, white is 1", "cycles per pixel", "white per pixel, square-root scale"]
    )
    table = figures.draw_matrix(np.array([[0, 0.25], [0.5, 0]]), [a, b], 1.0, ["a", "b"], settings)
    texts = [axes.texts[0].get_text() for axes in table.axes if axes.texts]
    assert texts[1:] == ["0", "0.25", "0.5", "0"]


def test_version_and_completion() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", run("--version").stdout)
    script = run(env=os.environ | {"_BLURSIM_COMPLETE": "source_bash"}).stdout
    assert "complete" in script and "_BLURSIM_COMPLETE=complete_bash" in script
    words = {"_BLURSIM_COMPLETE": "complete_bash", "COMP_WORDS": "blursim comp", "COMP_CWORD": "1"}
    assert run(env=os.environ | words).stdout.strip() == "compare"


def test_without_its_libraries_it_says_what_to_install() -> None:
    found = run_code("from blursim_jax.cli import main; main()", {"typer"})
    assert found.returncode == 2
    assert found.stderr == "blursim: typer is not installed; the command needs pip install 'blursim[cli]'\n"


def test_what_is_said_while_images_are_decoded_is_seen() -> None:
    """What libraries in C print is not."""
    code = """
import os, sys
from blursim_jax.cli import app, tiffs

def decode(**_):
    with tiffs.without_messages():
        os.write(2, b"unseen")
        print("seen", file=sys.stderr)

app.app = decode
app.run()
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "seen\n")
