"""`blursim` with presets, and with several predictions of one target."""

# ruff: noqa: E402
from frameworks import require

require("jax", "typer", "PIL", "tifffile", "skimage", "matplotlib")

import csv
import inspect
import io
import json
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import tifffile
from blursim_command import BLURSIM, call, grey, refusal, run
from cases import FLOAT32
from PIL import Image, ImageFilter
from processes import measured, run_code
from scipy import ndimage
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from blursim_jax import blursim, blursim_maps, blursim_terms
from blursim_jax.cli import compare_files, console, figures, maps, pairs, scores
from blursim_jax.cli.options import Alpha, KernelSize, Normalization, Spectrum
from blursim_jax.cli.settings import DEFAULTS, checked_settings

SHARP = data.astronaut()[:96, :128]
# As the documentation has them.
PRESETS: dict[str, dict[str, Any]] = {
    "original": {"alpha": 0.9, "sobel_kernel_size": 5, "spectrum": "complex", "normalization": "area"},
    "training": {"alpha": 0.15, "sobel_kernel_size": 5, "spectrum": "complex_l1", "normalization": "rms"},
    "perceptual": {"alpha": 0.8, "sobel_kernel_size": 5, "spectrum": "log", "normalization": "relative"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photo, three that are blurred, and folders of them."""
    out = tmp_path_factory.mktemp("images")
    for name, sigma in {"sharp": 0, "slight": 0.7, "middling": 1.5, "strong": 3}.items():
        Image.fromarray(ndimage.gaussian_filter(SHARP, (sigma, sigma, 0))).save(out / f"{name}.png")
    for name in ("results", "targets"):
        (out / name).mkdir()
        (out / name / "1.png").write_bytes((out / ("slight.png" if name == "results" else "sharp.png")).read_bytes())
    return out


def printed(capsys: pytest.CaptureFixture[str], *arguments: Any) -> Any:
    capsys.readouterr()
    call(*arguments)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "preset", ["training", *(pytest.param(x, marks=pytest.mark.system) for x in ("original", "perceptual"))]
)
def test_a_preset_sets_all_four_options(folder: Path, preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    images = folder / "slight.png", folder / "sharp.png"
    found = json.loads(printed(capsys, "compare", *images, "--json", "--preset", preset))
    a, b = map(grey, images)
    assert found["value"] == pytest.approx(float(blursim(a, b, data_range=255.0, **PRESETS[preset])), rel=FLOAT32.value)
    assert found["options"]["preset"] == preset
    assert {name: found["options"][name] for name in PRESETS[preset]} == PRESETS[preset]
    scale = {s: ndimage.gaussian_filter(b, int(s)) for s in ("1", "2", "4")}
    expected = {s: float(blursim(x, b, data_range=255.0, **PRESETS[preset])) for s, x in scale.items()}
    assert found["blurred_target"] == pytest.approx(expected, rel=1e-4)
    without = json.loads(printed(capsys, "compare", *images, "--json"))
    assert "blurred_target" not in without and without["options"]["preset"] is None


@pytest.mark.system
def test_the_name_of_the_preset_is_in_every_form_of_output(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen, images = ["--preset", "perceptual"], [folder / "slight.png", folder / "sharp.png"]
    text = printed(capsys, "compare", *images, *chosen)
    assert text.split()[:2] == ["BlurSim", "(perceptual)"]
    scale = [line.split() for line in text.splitlines() if "blur of sigma" in line]
    assert [line[-1] for line in scale] == ["1", "2", "4"] and float(scale[0][0]) < float(scale[1][0])
    assert "BlurSim (perceptual)" in printed(capsys, "compare", images[0], *images, *chosen)
    assert "BlurSim (perceptual)" in printed(capsys, "matrix", *images, *chosen)
    assert printed(capsys, "matrix", *images, *chosen, "--format", "csv").startswith("perceptual,slight.png,")
    found = json.loads(printed(capsys, "matrix", *images, *chosen, "--format", "json"))
    assert found["options"]["preset"] == "perceptual"
    folders, table, report = (folder / "results", folder / "targets"), tmp_path / "a.csv", tmp_path / "a.html"
    text = printed(capsys, "evaluate", *folders, *chosen, "--out", table, "--report", report)
    assert "BlurSim (perceptual)" in text
    (row,) = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    assert row["preset"] == "perceptual"
    expected = blursim(*map(grey, images), data_range=255.0, **PRESETS["perceptual"])
    assert float(row["value"]) == pytest.approx(float(expected), rel=FLOAT32.rounded)
    page = report.read_text(encoding="utf-8")
    assert "<h2>BlurSim (perceptual) of 1 pairs</h2>" in page and "--preset perceptual" in page
    found = json.loads(printed(capsys, "evaluate", *folders, *chosen, "--out", table, "--force", "--json"))
    assert found["options"]["preset"] == "perceptual"
    curves = ["--figure", tmp_path / "a.png", "--csv", tmp_path / "b.csv"]
    text = printed(capsys, "sweep", images[1], *chosen, *curves)
    assert "BlurSim (perceptual)" in text and text.count("--spectrum ") == 4 and (tmp_path / "a.png").exists()
    rows = list(csv.DictReader((tmp_path / "b.csv").read_text(encoding="utf-8").splitlines()))
    assert {(x["preset"], x["alpha"], x["normalization"]) for x in rows} == {("perceptual", "0.8", "relative")}
    status = run("compare", *images, *chosen, "--fail-above", 0)
    assert status.returncode == 1 and status.stderr.startswith("BlurSim (perceptual) 0.")


@pytest.mark.system
def test_the_name_of_the_preset_is_in_figures(folder: Path) -> None:
    from blursim_jax.cli import pairs, scores, sweeps

    parameters = {"preset": "training", "color": False, "data_range": None, "max_pixels": 10**6}
    settings = checked_settings(parameters)
    pair = pairs.read_pair(folder / "slight.png", folder / "sharp.png", settings)
    figure = figures.draw_comparison(pair, settings, scores.score(pair, settings), ("a", "b"))
    assert next(text.get_text() for axes in figure.axes for text in axes.texts).startswith("BlurSim (training) ")
    figure = figures.draw_matrix(np.eye(2), pair[:2], 255.0, ["a", "b"], settings)
    assert "BlurSim (training)" in [axes.get_ylabel() for axes in figure.axes]
    figure = figures.draw_sweep(sweeps.sweep(pair.target / 255, settings), settings, "a")
    assert "BlurSim (training), alpha 0.15" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_several_predictions_and_the_best(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = "middling.png", "slight.png", "strong.png"
    images = [folder / name for name in names]
    found = json.loads(printed(capsys, "compare", *images, folder / "sharp.png", "--json"))
    assert found["target"] == str(folder / "sharp.png")
    scores = "value", "general", "specific", "mse", "psnr", "ssim"
    for image, row in zip(images, found["predictions"], strict=True):
        alone = json.loads(printed(capsys, "compare", image, folder / "sharp.png", "--json"))
        assert row["prediction"] == str(image)
        assert {name: row[name] for name in scores} == {name: alone[name] for name in scores}
    assert [row["best"] for row in found["predictions"]] == [[], list(scores), []]
    text = printed(capsys, "compare", *images, folder / "sharp.png")
    rows = [line.replace("│", " ").split() for line in text.splitlines() if ".png" in line]
    assert [row[0] for row in rows] == list(names)
    assert [all(number.endswith("*") for number in row[1:]) for row in rows] == [False, True, False]
    assert [any("*" in number for number in row) for row in rows] == [False, True, False]
    assert float(rows[1][1].rstrip("*")) == pytest.approx(found["predictions"][1]["value"], rel=1e-5)
    assert "* the best of its column" in text


def test_several_are_compared_on_one_part(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that lacks the hard part of the target has no advantage."""
    Image.fromarray(SHARP[:64, :64]).save(tmp_path / "cut.png")
    Image.fromarray(SHARP).save(tmp_path / "whole.png")
    images = tmp_path / "cut.png", tmp_path / "whole.png", folder / "slight.png"
    found = json.loads(printed(capsys, "compare", *images, folder / "sharp.png", "--json", "--crop-at", "top-left"))
    assert found["notes"] == ["cropped to the top-left 64x64"]
    assert [row["value"] for row in found["predictions"]][:2] == [0, 0]
    assert [len(row["best"]) for row in found["predictions"]] == [6, 6, 0]
    a, b = (grey(path)[:64, :64] for path in (images[2], folder / "sharp.png"))
    assert found["predictions"][2]["value"] == pytest.approx(float(blursim(a, b, data_range=255.0)), rel=FLOAT32.value)


def test_the_largest_of_several_decides(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = folder / "slight.png", folder / "strong.png", folder / "sharp.png"
    values = [row["value"] for row in json.loads(printed(capsys, "compare", *images, "--json"))["predictions"]]
    assert call("compare", *images, "--fail-above", np.mean(values)) == 1
    assert call("compare", *images, "--fail-above", 2 * max(values)) == 0


# Luma.


@pytest.mark.parametrize("depth", [8, 16, "float"])
def test_the_y_channel_of_papers(tmp_path: Path, depth: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """As MATLAB's `rgb2ycbcr` and BasicSR have it, without rounding; of white 255."""
    images = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3))
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path, image in zip(paths, images, strict=True):
        kinds = {8: image.astype(np.uint8), 16: (257 * image).astype(np.uint16), "float": (image / 255).astype("f4")}
        tifffile.imwrite(path, kinds[depth], photometric="rgb")
    a, b = (16 + image @ np.array([65.481, 128.553, 24.966]) / 255 for image in images)
    found = json.loads(printed(capsys, "compare", *paths, "--json", "--luma", "bt601-limited"))
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=255), rel=1e-5)
    gaussian: Any = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    assert found["ssim"] == pytest.approx(structural_similarity(b, a, **gaussian), rel=1e-4)
    expected = float(blursim(a.astype("f4"), b.astype("f4"), data_range=255.0))
    assert found["value"] == pytest.approx(expected, rel=FLOAT32.rounded)
    assert found["options"]["luma"] == "bt601-limited"
    full = json.loads(printed(capsys, "compare", *paths, "--json"))
    assert found["psnr"] - full["psnr"] == pytest.approx(20 * np.log10(255 / 219), abs=1e-3)


def test_luma_and_colour_exclude_each_other(folder: Path) -> None:
    images = folder / "slight.png", folder / "sharp.png"
    with pytest.raises(Exception, match=r"^--color and --luma bt601-limited exclude each other$"):
        call("compare", *images, "--color", "--luma", "bt601-limited")
    with pytest.raises(Exception, match=r"Invalid value for '--luma'|is not one of"):
        call("compare", *images, "--luma", "limited")


# From Python.


def test_from_python_as_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(SHARP[:88, :120]).save(tmp_path / "cut.png")
    cases: list[tuple[Path, dict[str, Any], list[str]]] = [
        (folder / "slight.png", {}, []),
        (folder / "slight.png", {"preset": "training", "color": True}, ["--preset", "training", "--color"]),
        (folder / "slight.png", {"alpha": 0.3, "spectrum": "log"}, ["--alpha", "0.3", "--spectrum", "log"]),
        (tmp_path / "cut.png", {"crop": True}, ["--crop"]),
        (
            tmp_path / "cut.png",
            {"crop_at": "bottom-right", "crop_border": 3},
            ["--crop-at", "bottom-right", "--crop-border", "3"],
        ),
        (tmp_path / "cut.png", {"resize": True, "data_range": 200}, ["--resize", "--data-range", "200"]),
    ]
    for path, options, flags in cases:
        found = compare_files(str(path), folder / "sharp.png", **options)
        output = json.loads(printed(capsys, "compare", path, folder / "sharp.png", "--json", *flags))
        names = "value", "general", "specific", "mse", "psnr", "ssim"
        assert {name: getattr(found, name) for name in names} == {name: output[name] for name in names}
        assert list(found.notes) == output["notes"]
    same = compare_files(folder / "sharp.png", folder / "sharp.png")
    assert same == (0, 0, 0, 0, np.inf, 1, ())


def test_from_python_there_are_the_options_of_the_command() -> None:
    from blursim_jax.cli.commands import compare

    of_command = inspect.signature(compare).parameters
    of_function = inspect.signature(compare_files).parameters
    left = {"context", "predictions", "figure", "json", "force", "fail_above"}
    assert of_function.keys() - {"prediction"} == of_command.keys() - left
    for name, parameter in of_function.items():
        if name not in ("prediction", "target"):
            assert parameter.kind is parameter.KEYWORD_ONLY and parameter.default == of_command[name].default
            assert f"        {name}: " in inspect.getsource(compare_files)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, r"none.png: No such file or directory$"),
        ({"preset": "sharp"}, r"^--preset: expected one of original, training, perceptual, got sharp$"),
        ({"crop_at": "left"}, r"^--crop-at: expected one of middle, .*, got left$"),
        ({"crop_border": -1}, r"^--crop-border: expected 0 or more, got -1$"),
        ({"max_pixels": 0}, r"^--max-pixels: expected 1 or more, got 0$"),
        ({"spectrum": "sharp"}, r"^spectrum: expected"),
        ({"preset": "training", "alpha": 0.5}, r"^--preset and --alpha exclude each other: a preset sets it$"),
    ],
)
def test_from_python_errors_are_exceptions(folder: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        compare_files(folder / ("slight.png" if options else "none.png"), folder / "sharp.png", **options)


def test_an_import_of_the_function_loads_nothing_slow() -> None:
    code = "import sys; from blursim_jax.cli import compare_files; print({'jax', 'numpy', 'PIL'} & set(sys.modules))"
    assert run_code(code).stdout == "set()\n"


WRONG = [
    (["--preset", "sharp"], "Invalid value for '--preset'"),
    (["--preset", "training", "--alpha", "0.15"], "--preset and --alpha exclude each other: a preset sets it"),
    (["--preset", "training", "--sobel-kernel-size", "3"], "--preset and --sobel-kernel-size exclude each other"),
    (["--spectrum", "log", "--preset", "original"], "--preset and --spectrum exclude each other: a preset sets it"),
    (["--normalization", "area", "--preset", "original"], "--preset and --normalization exclude each other"),
]


@pytest.mark.parametrize(("options", "says"), WRONG)
@pytest.mark.parametrize("command", ["compare", "matrix", "evaluate", "sweep"])
def test_wrong_presets(folder: Path, tmp_path: Path, command: str, options: list, says: str) -> None:
    if command == "sweep" and "--spectrum" in options:
        says = "No such option"
    images = {"evaluate": [folder / "results", folder / "targets"], "sweep": [folder / "sharp.png"]}
    given = images.get(command, [folder / "slight.png", folder / "sharp.png"])
    with pytest.raises(Exception) as raised:
        call(command, *given, *options, *(["--out", tmp_path / "a.png"] if command in images else []))
    error: Any = raised.value
    assert says in (error.format_message() if hasattr(error, "format_message") else str(error))
    assert list(tmp_path.iterdir()) == []


def test_a_figure_draws_one_prediction(folder: Path, tmp_path: Path) -> None:
    images = folder / "slight.png", folder / "strong.png", folder / "sharp.png"
    found = run("compare", *images, "--figure", tmp_path / "a.png")
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == "Error: --figure draws one prediction, got 2\n" and list(tmp_path.iterdir()) == []


def test_defaults_in_the_help_are_those_of_the_library() -> None:
    texts = Alpha, KernelSize, Spectrum, Normalization
    shown = [get_args(text)[1].show_default for text in texts]
    parameters = inspect.signature(blursim).parameters
    assert {name: parameters[name].default for name in DEFAULTS} == DEFAULTS
    assert shown == [str(value) for value in DEFAULTS.values()]


def test_ssim_of_pixels_far_above_white() -> None:
    a, b = 3000 + np.random.default_rng(0).random((2, 40, 30)).astype(np.float32)
    gaussian: Any = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    expected = np.asarray(structural_similarity(a.astype(np.float64), b.astype(np.float64), **gaussian))
    assert scores.ssim_of(pairs.Pair(a, b, 1.0, ())) == pytest.approx(float(expected), abs=1e-9)


@pytest.mark.parametrize("command", ["compare", "matrix"])
def test_values_that_are_too_large_are_refused(tmp_path: Path, command: str) -> None:
    for name, pixels in zip("ab", 1e30 * np.random.default_rng(0).random((2, 16, 12)).astype(np.float32), strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels)
    assert refusal(command, tmp_path / "a.tif", tmp_path / "b.tif") == scores.TOO_LARGE


# Large photos.


@pytest.mark.system
def test_strips_and_channels_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = np.random.default_rng(0).integers(0, 256, (2, 150, 40, 3), dtype=np.uint8)
    settings = checked_settings({"color": True, "data_range": None, "max_pixels": 10**6})
    pair = pairs.Pair(a, b, 255.0, ())
    gaussian: Any = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    ssim = np.mean(
        [structural_similarity(*(x[..., i].astype(np.float32) for x in (a, b)), **gaussian) for i in range(3)]
    )
    whole = maps.maps_of(pair, settings).edges
    monkeypatch.setattr(scores, "ROWS", 16)
    monkeypatch.setattr(maps, "STRIP_PIXELS", 16 * 40)
    assert scores.ssim_of(pair) == pytest.approx(float(ssim), rel=1e-9)
    np.testing.assert_allclose(maps.maps_of(pair, settings).edges, whole, rtol=1e-5, atol=1e-7)
    terms = blursim_terms(a, b, channel_axis=-1, data_range=255)
    assert scores.terms_of(a, b, 255.0, settings) == pytest.approx([float(x) for x in terms], rel=1e-6)


@pytest.mark.system
@pytest.mark.parametrize("spectrum", ["magnitude", "complex", "log"])
def test_maps_are_those_of_the_library_at_most_so_large(monkeypatch: pytest.MonkeyPatch, spectrum: str) -> None:
    a, b = np.random.default_rng(0).random((2, 60, 41)).astype(np.float32)
    settings = checked_settings({"spectrum": spectrum, "color": False, "data_range": None, "max_pixels": 10**6})
    pair, right = pairs.Pair(a, b, 1.0, ()), blursim_maps(a, b, spectrum=settings.spectrum)
    scale = 1 if spectrum == "log" else a.size
    found = maps.maps_of(pair, settings)
    np.testing.assert_allclose(found.spectra[2], right.spectrum / scale, rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(maps, "SIDE", 32)
    small = maps.maps_of(pair, settings)
    assert small.edges.shape == (3, 30, 21) and small.spectra.shape[1] == 30
    for reduced, whole in zip(small, found, strict=True):
        squares = np.pad(whole, ((0, 0), (0, 0), (0, 1))).reshape(3, 30, 2, 21, 2).max(axis=(2, 4))
        np.testing.assert_allclose(reduced, squares, rtol=1e-4, atol=1e-7)


@pytest.mark.system
def test_the_scale_of_a_large_target_is_that_of_its_middle(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "SIDE", 64)
    images = [folder / "slight.png", folder / "sharp.png"]
    found = json.loads(printed(capsys, "compare", *images, "--preset", "perceptual", "--json"))
    note = "values of the blurred target are those of the middle 64x64 of "
    assert [x[: len(note)] for x in found["notes"]] == [note]
    with Image.open(images[1]) as image:
        left, top = (image.width - 64) // 2, (image.height - 64) // 2
        middle = np.asarray(image.convert("F").crop((left, top, left + 64, top + 64)))
    right = blursim(ndimage.gaussian_filter(middle, 2), middle, data_range=255, **PRESETS["perceptual"])
    assert found["blurred_target"]["2"] == pytest.approx(float(right), rel=1e-4)
    # Values of `original` change with the size of images.
    found = json.loads(printed(capsys, "compare", *images, "--preset", "original", "--json"))
    assert found["notes"] == []


@pytest.mark.parametrize(("large", "terminal"), [(True, True), (False, True), (True, False)])
def test_progress_on_large_images(folder: Path, monkeypatch: pytest.MonkeyPatch, large: bool, terminal: bool) -> None:
    """It says what is done, on a terminal."""
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(console, "LARGE", 0 if large else 2**22)
    call("compare", folder / "slight.png", folder / "sharp.png")
    assert ("Scoring slight.png" in shown.getvalue()) == (large and terminal)


@pytest.mark.slow
def test_the_cost_of_two_photos_of_twelve_megapixels(tmp_path: Path) -> None:
    photo = Image.fromarray(data.coffee()).resize((4000, 3000), Image.Resampling.LANCZOS)
    photo.save(tmp_path / "sharp.jpg", quality=92)
    photo.filter(ImageFilter.GaussianBlur(3)).save(tmp_path / "blurred.jpg", quality=92)
    figure = "--color", "--figure", "where.png"
    found = measured(*BLURSIM, "compare", "blurred.jpg", "sharp.jpg", *figure, cwd=tmp_path)
    assert found.status == 0, found.errors
    assert found.seconds <= 15 and found.memory <= 1000
