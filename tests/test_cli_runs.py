"""What a run of `blursim` over many files keeps, says and writes: text files, resumed runs, lists of pairs."""

# ruff: noqa: E402
from frameworks import require

require("jax", "typer", "PIL", "tifffile", "skimage", "matplotlib")

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blursim_command import call, refusal
from PIL import Image
from processes import run_code

from blursim_jax.cli import rows, scores

# Python warns where a text file is opened without an encoding.
ENCODING = os.environ | {"PYTHONWARNDEFAULTENCODING": "1", "PYTHONUTF8": "0"}


def save(path: Path, seed: int, shape: tuple[int, ...] = (24, 32)) -> None:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Six pairs of noise."""
    for i in range(6):
        save(tmp_path / "results" / f"{i}.png", i)
        save(tmp_path / "sharp" / f"{i}.png", 100 + i)
    return tmp_path / "results", tmp_path / "sharp"


# What is written, and with what.


@pytest.mark.system
def test_every_text_file_is_utf_8_whatever_the_locale(folders: tuple[Path, Path], tmp_path: Path) -> None:
    save(folders[0] / "图片.png", 7)
    save(folders[1] / "图片.png", 8)
    out, curves, report = tmp_path / "scores.csv", tmp_path / "sweep.csv", tmp_path / "report.html"
    commands = [
        ["evaluate", *folders, "--out", out, "--report", report],
        ["sweep", folders[1] / "图片.png", "--out", tmp_path / "sweep.png", "--csv", curves],
    ]
    code = f"""
import warnings
warnings.filterwarnings("error", category=EncodingWarning, module=r"blursim_jax")
from blursim_jax.cli.app import app
for command in {[list(map(str, command)) for command in commands]!r}:
    app(command, standalone_mode=False)
"""
    warned = run_code("import warnings; warnings.simplefilter('error'); open('/dev/null')", env=ENCODING)
    assert "EncodingWarning" in warned.stderr
    found = run_code(code, env=ENCODING)
    assert found.returncode == 0, found.stderr
    for path in out, report:
        assert "图片" in path.read_text(encoding="utf-8")


@pytest.mark.system
def test_a_clone_that_is_not_installed_writes_reports(folders: tuple[Path, Path], tmp_path: Path) -> None:
    arguments = "evaluate", *folders, "--out", tmp_path / "scores.csv", "--report", tmp_path / "report.html"
    code = f"""
import importlib.metadata, sys
def version(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = version
sys.argv = ["blursim", *{list(map(str, arguments))!r}]
from blursim_jax.cli import main
main()
"""
    found = run_code(code)
    assert (found.returncode, found.stderr) == (0, "")
    import blursim_jax

    assert f"blursim {blursim_jax.__version__}:" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("hidden", ["matplotlib", "skimage"])
@pytest.mark.system
def test_what_is_not_installed_is_missed_before_anything_is_scored(
    folders: tuple[Path, Path], tmp_path: Path, hidden: str
) -> None:
    one, other = folders[0] / "0.png", folders[1] / "0.png"
    commands = {
        "matplotlib": [
            ["evaluate", *folders, "--out", tmp_path / "scores.csv", "--report", tmp_path / "report.html"],
            ["compare", one, other, "--figure", tmp_path / "a.png"],
            ["matrix", one, other, "--figure", tmp_path / "a.png"],
            ["sweep", one, "--out", tmp_path / "a.png"],
        ],
        "skimage": [
            ["compare", one, other],
        ],
    }
    before = sorted(tmp_path.iterdir())
    for command in commands[hidden]:
        code = f"""
import sys
sys.argv = ["blursim", *{list(map(str, command))!r}]
import PIL.Image
def read(*arguments, **options):
    raise SystemExit("an image was read")
PIL.Image.open = read
from blursim_jax.cli import main
main()
"""
        found = run_code(code, {hidden})
        assert found.stderr == f"blursim: {hidden} is not installed; the command needs pip install 'blursim[cli]'\n"
        assert (found.returncode, found.stdout) == (2, "")
        assert sorted(tmp_path.iterdir()) == before


# Resumed runs.


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())}


def interrupted(folders: tuple[Path, Path], out: Path) -> None:
    """Score everything, and leave the rows as an interrupted run does."""
    partial = out.with_name(f"{out.name}.partial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows.Partial, "remove", lambda self: None)
        call("evaluate", *folders, "--out", out)
    out.unlink()
    assert len(partial.read_bytes().splitlines()) == 7


def replaced_in_place(path: Path) -> Path:
    """Of the same size, and with the same date."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    Image.fromarray(255 - np.asarray(Image.open(io.BytesIO(content)))).save(path)
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    return path


def replaced_by_another_format(path: Path) -> Path:
    Image.fromarray(255 - np.asarray(Image.open(io.BytesIO(path.read_bytes())))).save(path.with_suffix(".png"))
    path.unlink()
    return path.with_suffix(".png")


def replaced_by_a_link(path: Path) -> Path:
    save(path.parent.parent / "elsewhere.bmp", 99)
    path.unlink()
    path.symlink_to(path.parent.parent / "elsewhere.bmp")
    return path


@pytest.mark.parametrize("change", [replaced_in_place, replaced_by_another_format, replaced_by_a_link])
@pytest.mark.parametrize("side", [0, 1], ids=["result", "target"])
def test_a_resumed_run_scores_what_has_changed_since(
    folders: tuple[Path, Path], tmp_path: Path, change: Any, side: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in folders[side].iterdir():
        Image.fromarray(np.asarray(Image.open(io.BytesIO(path.read_bytes())))).save(path.with_suffix(".bmp"))
        path.unlink()
    out = tmp_path / "scores.csv"
    interrupted(folders, out)
    changed = change(folders[side] / "3.bmp")
    capsys.readouterr()
    call("evaluate", *folders, "--out", out, "--resume")
    assert capsys.readouterr().err == "Note: 1 pair scored anew: files have changed since\n"
    images = [path for folder in folders for path in folder.glob("3.*")]
    assert changed in images
    a, b = (np.asarray(Image.open(io.BytesIO(path.read_bytes()))).astype(float) for path in images)
    assert float(rows_of(out)["3"]["mse"]) == pytest.approx(np.mean((a - b) ** 2) / 255**2, rel=1e-5)
    call("evaluate", *folders, "--out", tmp_path / "whole.csv")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_what_has_not_changed_is_not_read_again(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "scores.csv"
    interrupted(folders, out)
    replaced_in_place(folders[0] / "2.png")
    from blursim_jax.cli import folders as module

    seen, read = [], module.read_pair
    monkeypatch.setattr(module, "read_pair", lambda a, b, settings: seen.append(a.name) or read(a, b, settings))
    call("evaluate", *folders, "--out", out, "--resume")
    assert seen == ["2.png"]


@pytest.mark.parametrize("change", ["version", "options"])
def test_scores_of_another_version_or_other_options_are_not_mixed(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    out = tmp_path / "scores.csv"
    interrupted(folders, out)
    kept = (tmp_path / "scores.csv.partial").read_bytes()
    if change == "version":
        monkeypatch.setattr("blursim_jax.cli.folders.__version__", "0.0.9")
    with pytest.raises(Exception, match=r"has other folders or options, or is of another version; --force starts"):
        call("evaluate", *folders, "--out", out, "--resume", *(["--color"] if change == "options" else []))
    assert (tmp_path / "scores.csv.partial").read_bytes() == kept and not out.exists()


# Names.

COMPOSED, DECOMPOSED = "caf\u00e9/na\u00efve", "cafe\u0301/nai\u0308ve"


def test_unicode_forms_of_a_name_are_one_name(tmp_path: Path) -> None:
    """As of a folder that was packed on a Mac, beside one that was not."""
    save(tmp_path / "results" / f"{DECOMPOSED}.png", 1)
    save(tmp_path / "sharp" / f"{COMPOSED}.png", 2)
    out = tmp_path / "scores.csv"
    assert call("evaluate", tmp_path / "results", tmp_path / "sharp", "--out", out) == 0
    assert list(rows_of(out)) == [COMPOSED] and float(rows_of(out)[COMPOSED]["value"]) > 0


def test_names_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    for i, name in enumerate((COMPOSED, DECOMPOSED)):
        save(tmp_path / "results" / f"{name}.png", i)
    save(tmp_path / "sharp" / f"{COMPOSED}.png", 2)
    save(tmp_path / "results" / "b.png", 3)
    save(tmp_path / "sharp" / "b.png", 4)
    out = tmp_path / "scores.csv"
    assert call("evaluate", tmp_path / "results", tmp_path / "sharp", "--out", out) == 2
    error = rows_of(out)[COMPOSED]["error"]
    assert set(error.rpartition("found ")[2].split(", ")) == {r"'na\xefve.png'", r"'nai\u0308ve.png'"}


def test_links_to_folders_and_hidden_images_are_named(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = tmp_path / "more"
    save(more / "9.png", 9)
    for folder in folders:
        (folder / "linked").symlink_to(more)
        save(folder / "._0.png", 1)
        save(folder / ".cache" / "0.png", 1)
        (folder / ".DS_Store").write_bytes(b"")
    call("evaluate", *folders, "--out", tmp_path / "scores.csv", "--json")
    found = capsys.readouterr()
    notes = [
        f"left out 2 links to a folder, as {folders[0] / 'linked'}",
        f"left out 4 hidden images or folders, as {folders[0] / '._0.png'}",
    ]
    assert found.err.splitlines() == [f"Note: {note}" for note in notes]
    assert json.loads(found.out)["notes"] == notes
    # Where nothing else is there, this is why.
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "linked").symlink_to(more)
    with pytest.raises(Exception, match=r"^no images .* in .*a; left out 1 link to a folder, as .*a/linked$"):
        call("evaluate", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "none.csv")


# Lists of pairs.


def listed(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def mse_of(one: Path, other: Path) -> float:
    a, b = (np.asarray(Image.open(io.BytesIO(path.read_bytes()))).astype(float) for path in (one, other))
    return float(np.mean((a - b) ** 2) / 255**2)


@pytest.mark.system
def test_a_list_of_pairs_shares_targets(folders: tuple[Path, Path], tmp_path: Path) -> None:
    save(folders[0] / "deep" / "6.png", 6)
    (folders[1] / "notes.txt").write_text("")
    table = listed(
        tmp_path / "pairs.csv", "id,target,prediction", "a,0.png,0.png", "b, 0.png ,./1.png", "", 'c,1.png,"deep/6.png"'
    )
    out = tmp_path / "scores.csv"
    assert call("evaluate", *folders, "--out", out, "--pairs", table, "--report", tmp_path / "report.html") == 0
    assert f"by the list {table}" in (tmp_path / "report.html").read_text(encoding="utf-8")
    found = rows_of(out)
    assert {name: (row["prediction"], row["target"]) for name, row in found.items()} == {
        "0": ("0.png", "0.png"),
        "1": ("1.png", "0.png"),
        "deep/6": ("deep/6.png", "1.png"),
    }
    for row in found.values():
        expected = mse_of(folders[0] / row["prediction"], folders[1] / row["target"])
        assert float(row["mse"]) == pytest.approx(expected, rel=1e-5)


def test_a_prediction_with_several_targets(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """And one that differs in its suffix alone: names are long, and as many as the pairs."""
    for lines in (("0.png,0.png", "0.png,1.png"), ("0.png,0.png", "0.bmp,1.png")):
        Image.fromarray(np.zeros((24, 32), np.uint8)).save(folders[0] / "0.bmp")
        table = listed(tmp_path / "pairs.csv", "prediction,target", *lines)
        call("evaluate", *folders, "--out", tmp_path / "scores.csv", "--pairs", table, "--force")
        names = [" against ".join(line.split(",")) for line in lines]
        assert set(rows_of(tmp_path / "scores.csv")) == set(names)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_list_in_another_unicode_form(tmp_path: Path, encoding: str) -> None:
    save(tmp_path / "results" / f"{DECOMPOSED}.png", 1)
    save(tmp_path / "sharp" / f"{COMPOSED}.png", 2)
    table = listed(tmp_path / "pairs.csv", "prediction,target", f"{COMPOSED}.png,{DECOMPOSED}.png", encoding=encoding)
    out = tmp_path / "scores.csv"
    assert call("evaluate", tmp_path / "results", tmp_path / "sharp", "--out", out, "--pairs", table) == 0
    assert list(rows_of(out)) == [COMPOSED]


def test_a_listed_run_goes_on_with_the_same_list(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = listed(tmp_path / "pairs.csv", "prediction,target", "0.png,0.png", "1.png,0.png")
    out, arguments = tmp_path / "scores.csv", [*folders, "--out", tmp_path / "scores.csv", "--pairs", table]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows.Partial, "remove", lambda self: None)
        call("evaluate", *arguments)
    out.unlink()
    with pytest.raises(Exception, match=r"has other folders or options"):
        call("evaluate", *arguments[:-2], "--resume")
    # A target that another line has by now is another pair.
    listed(table, "prediction,target", "0.png,0.png", "1.png,3.png", "2.png,0.png")
    from blursim_jax.cli import folders as module

    seen, read = [], module.read_pair
    monkeypatch.setattr(module, "read_pair", lambda a, b, settings: seen.append(a.name) or read(a, b, settings))
    call("evaluate", *arguments, "--resume")
    assert sorted(seen) == ["1.png", "2.png"]
    expected = mse_of(folders[0] / "1.png", folders[1] / "3.png")
    assert float(rows_of(out)["1"]["mse"]) == pytest.approx(expected, rel=1e-5)


HEAD = b"prediction,target\n"
LISTS: dict[str, tuple[bytes, str]] = {
    "no column": (
        b"prediction,other\n0.png,0.png\n",
        "expected the columns prediction and target, got prediction, other",
    ),
    "semicolons": (
        b"prediction;target\n0.png;0.png\n",
        "expected the columns prediction and target, got prediction;target",
    ),
    "a column twice": (b"prediction,target,target\n0.png,0.png,1.png\n", "got prediction, target, target"),
    "empty": (b"", "expected the columns prediction and target, got none"),
    "no pairs": (HEAD, "lists no pairs"),
    "absent": (HEAD + b"0.png,0.png\n0.png,9.png\n", "pairs.csv, line 3: FOLDER/sharp/9.png is not there"),
    "a folder": (HEAD + b".,0.png\n", "line 2: FOLDER/results is not there"),
    "twice": (HEAD + b"0.png,0.png\n1.png,1.png\n./0.png,x/../0.png\n", "line 4: the same pair as in line 2"),
    "escape": (HEAD + b"../sharp/0.png,0.png\n", "line 2: expected a path in FOLDER/results, got ../sharp/0.png"),
    "hidden escape": (HEAD + b"0.png,a/../../0.png\n", "line 2: expected a path in FOLDER/sharp, got a/../../0.png"),
    "absolute": (HEAD + b"/etc/passwd,0.png\n", "line 2: expected a path in FOLDER/results, got /etc/passwd"),
    "an empty cell": (HEAD + b"0.png,\n", "line 2: expected 2 cells, with a prediction and a target, got 0.png,"),
    "too many cells": (HEAD + b"0.png,0.png,1.png\n", "line 2: expected 2 cells, with a prediction and a target, got"),
    "too few cells": (HEAD + b"0.png\n", "line 2: expected 2 cells, with a prediction and a target, got 0.png"),
    "Latin-1": (HEAD + b"caf\xe9.png,0.png\n", "expected a CSV in UTF-8"),
    "UTF-16": ("prediction,target\n0.png,0.png\n".encode("utf-16"), "expected a CSV in UTF-8"),
    "NUL": (HEAD + b"0.png\0,0.png\n", "pairs.csv"),
    "a quote that is open": (HEAD + b'"0.png,0.png\n', "expected a CSV in UTF-8"),
}


@pytest.mark.parametrize(("content", "says"), LISTS.values(), ids=LISTS)
def test_a_list_that_is_wrong_is_one_line(
    folders: tuple[Path, Path], tmp_path: Path, content: bytes, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is scored, and what was there stays."""
    table, out = tmp_path / "pairs.csv", tmp_path / "scores.csv"
    table.write_bytes(content)
    out.write_text("mine")
    message = refusal("evaluate", *folders, "--out", out, "--pairs", table, "--force")
    assert says.replace("FOLDER", str(tmp_path)) in message and "\n" not in message
    assert capsys.readouterr().out == ""
    assert out.read_text() == "mine" and table.read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.csv", "results", "scores.csv", "sharp"]


def test_a_list_is_not_written_over(folders: tuple[Path, Path], tmp_path: Path) -> None:
    table = listed(tmp_path / "pairs.csv", "prediction,target", "0.png,0.png")
    before = table.read_bytes()
    for options in (["--out", table], ["--report", table], ["--out", tmp_path / "pairs"]):
        if options[1] == tmp_path / "pairs":
            table = table.rename(tmp_path / "pairs.partial")
        with pytest.raises(Exception, match=r"is read; name another file to write$"):
            call("evaluate", *folders, *options, "--pairs", table, "--force")
        assert table.read_bytes() == before
    with pytest.raises(Exception, match=r"none.csv: No such file or directory$"):
        call("evaluate", *folders, "--pairs", tmp_path / "none.csv", "--out", tmp_path / "scores.csv")
    with pytest.raises(Exception, match=r"results: Is a directory$"):
        call("evaluate", *folders, "--pairs", folders[0], "--out", tmp_path / "scores.csv")


# Tables.


@pytest.mark.system
def test_tables_have_ssim_and_every_score_is_summed_up(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folders[0] / "5.png").write_bytes((folders[1] / "5.png").read_bytes())
    save(folders[0] / "small.png", 1, (9, 9))
    save(folders[1] / "small.png", 2, (9, 9))
    (folders[0] / "0.png").write_bytes(b"")
    out = tmp_path / "scores.csv"
    call("evaluate", *folders, "--out", out, "--json")
    summary, found = json.loads(capsys.readouterr().out), rows_of(out)
    for name, row in found.items():
        if name in "12345":
            call("compare", folders[0] / row["prediction"], folders[1] / row["target"], "--json")
            ssim = json.loads(capsys.readouterr().out)["ssim"]
            assert float(row["ssim"]) == pytest.approx(ssim, rel=1e-6)
    # Too small for a window, and not read.
    assert found["small"]["ssim"] == found["0"]["ssim"] == "" and found["small"]["value"]
    for name in ("value", "general", "specific", "mse", "ssim"):
        values = [float(row[name]) for row in found.values() if row[name]]
        assert len(values) == (5 if name == "ssim" else 6)
        spread = summary["scores"][name]
        assert spread["mean"] == pytest.approx(np.mean(values)) and spread["median"] == pytest.approx(np.median(values))
        assert spread["deciles"] == pytest.approx(np.quantile(values, np.arange(1, 10) / 10).tolist())
    assert summary["scores"]["value"] == {key: summary[key] for key in ("mean", "median", "deciles")}
    # One pair is the same.
    psnr = summary["scores"]["psnr"]
    assert psnr["mean"] is None and psnr["deciles"][8] is None
    assert psnr["median"] == pytest.approx(np.median([float(row["psnr"]) for row in found.values() if row["psnr"]]))
    report = tmp_path / "report.html"
    # The pictures have the scores of the table.
    monkeypatch.delattr(scores, "score")
    call("evaluate", *folders, "--out", out, "--force", "--report", report)
    text = capsys.readouterr().out
    mean = next(line for line in text.splitlines() if "mean of 6" in line).replace("│", " ").split()
    assert [float(x) for x in mean[3:]] == pytest.approx(
        [
            np.mean([float(row[name]) for row in found.values() if row[name]])
            for name in ("value", "general", "specific", "mse", "psnr", "ssim")
        ],
        rel=1e-3,
    )
    page = report.read_text(encoding="utf-8")
    for head in ("BlurSim", "General", "Specific", "MSE", "PSNR", "SSIM"):
        assert f"<th>{head}</th>" in page


def test_ssim_can_be_left_out(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    interrupted(folders, tmp_path / "scores.csv")
    capsys.readouterr()
    with pytest.raises(Exception, match=r"has other folders or options"):
        call("evaluate", *folders, "--out", tmp_path / "scores.csv", "--resume", "--no-ssim")
    call("evaluate", *folders, "--out", tmp_path / "scores.csv", "--force", "--no-ssim", "--json")
    assert {row["ssim"] for row in rows_of(tmp_path / "scores.csv").values()} == {""}
    assert "ssim" not in json.loads(capsys.readouterr().out)["scores"]


@pytest.mark.system
@pytest.mark.parametrize(
    ("options", "shown"), [(["--alpha", 0], "--alpha 0.0 --sobel-kernel-size 5 "), (["--preset", "training"], ": --")]
)
def test_reports_name_the_options(folders: tuple[Path, Path], tmp_path: Path, options: list[Any], shown: str) -> None:
    report = tmp_path / "report.html"
    call("evaluate", *folders, "--out", tmp_path / "scores.csv", "--report", report, *options)
    text = report.read_text(encoding="utf-8")
    assert shown in text
    if "--preset" in options:
        assert "--preset training" in text and "--alpha" not in text and "--spectrum" not in text
