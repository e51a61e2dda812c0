"""What a run of `blursim` over many files keeps, says and writes: text files, resumed runs, lists of pairs."""

# ruff: noqa: E402
from frameworks import require

require("jax", "typer", "PIL", "tifffile", "skimage", "matplotlib")

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import run_code

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
