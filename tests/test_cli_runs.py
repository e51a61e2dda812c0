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
from blursim_command import call
from PIL import Image
from processes import run_code

from blursim_jax.cli import rows

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
