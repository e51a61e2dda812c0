"""Images of sizes that differ: where they are cut, and what `blursim` says if another place fits far better."""

# ruff: noqa: E402
from frameworks import require

require("jax", "typer", "PIL", "tifffile", "skimage", "matplotlib")

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from blursim_command import call, compared, run
from PIL import Image
from skimage import data

# 253 rows and 250 columns, of which a network that needs multiples of 8 keeps 248 and 248.
PHOTO = data.chelsea()[20:273, 60:310]
CUTS = {
    "top-left": PHOTO[:248, :248],
    "top-right": PHOTO[:248, 2:],
    "bottom-left": PHOTO[5:, :248],
    "bottom-right": PHOTO[5:, 2:],
    "middle": PHOTO[2:250, 1:249],
}


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def sharp(tmp_path: Path) -> Path:
    return save(tmp_path / "sharp" / "1.png", PHOTO)


@pytest.mark.parametrize("place", CUTS)
def test_a_perfect_result_is_perfect_where_it_was_cut(
    tmp_path: Path, sharp: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = save(tmp_path / "result.png", CUTS[place])
    found = compared(capsys, result, sharp, "--crop-at", place)
    assert (found["value"], found["mse"], found["ssim"]) == (0, 0, 1)
    assert found["notes"] == [f"cropped to the {place} 248x248"]
    note = f"{result} fits far better with --crop-at {place}: 0 of the mean squared error"
    for option in "--crop", "--resize":
        found = compared(capsys, result, sharp, option)
        assert (note in found["notes"]) == (place != "middle" or option == "--resize")
        assert (found["value"] > 0) == (place != "middle" or option == "--resize")
    # A target that was padded is cut as well.
    assert compared(capsys, sharp, result, "--crop-at", place)["value"] == 0


def test_the_corner_is_found_in_a_blurred_result(
    tmp_path: Path, sharp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from scipy import ndimage

    result = save(tmp_path / "result.png", ndimage.gaussian_filter(CUTS["bottom-right"], (1, 1, 0)))
    found = compared(capsys, result, sharp, "--crop")
    (note,) = found["notes"][1:]
    share = compared(capsys, result, sharp, "--crop-at", "bottom-right")["mse"] / found["mse"]
    assert note.startswith(f"{result} fits far better with --crop-at bottom-right: ")
    assert float(note.split(": ")[-1].split()[0]) == pytest.approx(share, rel=0.1)


def test_nothing_is_said_of_what_fits_no_better(
    tmp_path: Path, sharp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a result cut around the middle, one of another size, and another photo."""
    others = {
        "middle.png": (CUTS["middle"], "--crop"),
        "half.png": (np.asarray(Image.fromarray(PHOTO).resize((125, 126))), "--resize"),
        "coffee.png": (data.coffee()[:300, :300], "--crop"),
    }
    for name, (array, option) in others.items():
        found = compared(capsys, save(tmp_path / name, array), sharp, option)
        assert len(found["notes"]) == 1 and found["value"] > (0 if name != "middle.png" else -1)


def test_matrices_and_tables_have_the_choice_and_the_note(
    tmp_path: Path, sharp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = save(tmp_path / "results" / "1.png", CUTS["top-left"])
    note = f"{result} fits far better with --crop-at top-left: 0 of the mean squared error"
    call("matrix", sharp, result, "--crop", "--format", "json")
    assert note in json.loads(capsys.readouterr().out)["notes"]
    call("matrix", sharp, result, "--crop-at", "top-left", "--format", "json")
    assert np.max(json.loads(capsys.readouterr().out)["values"]) == 0
    for option, perfect in ((["--crop"], False), (["--crop-at", "top-left"], True)):
        out = tmp_path / f"{perfect}.csv"
        call("evaluate", result.parent, sharp.parent, "--out", out, *option)
        (row,) = csv.DictReader(out.read_text(encoding="utf-8").splitlines())
        assert (note in row["notes"]) != perfect and (float(row["value"]) == 0) == perfect
        assert (row["height"], row["width"]) == ("248", "248")


@pytest.mark.system
def test_a_border_is_left_out(tmp_path: Path, sharp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = PHOTO.copy()
    frame[:4] = frame[-4:] = frame[:, :4] = frame[:, -4:] = 0
    framed = save(tmp_path / "results" / "1.png", frame)
    assert compared(capsys, framed, sharp, "--crop-border", 3)["value"] > 0
    found = compared(capsys, framed, sharp, "--crop-border", 4)
    assert (found["value"], found["options"]["crop_border"]) == (0, 4)
    call("matrix", framed, sharp, "--crop-border", 4, "--format", "json")
    assert np.max(json.loads(capsys.readouterr().out)["values"]) == 0
    call("evaluate", framed.parent, sharp.parent, "--out", tmp_path / "scores.csv", "--crop-border", 4)
    (row,) = csv.DictReader((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines())
    assert (row["value"], row["height"], row["width"]) == ("0", "245", "242")
    # What is cut comes after what is resized, and before the border.
    cut = save(tmp_path / "cut.png", CUTS["top-left"])
    found = compared(capsys, cut, framed, "--crop-at", "top-left", "--crop-border", 4)
    assert found["value"] == 0
    numbers = []
    for image, border in ((framed, 4), (save(tmp_path / "inner.png", PHOTO[4:-4, 4:-4]), 0)):
        table = tmp_path / f"{border}.csv"
        call("sweep", image, "--csv", table, "--out", tmp_path / f"{border}.png", "--crop-border", border)
        rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
        assert {row["crop_border"] for row in rows} == {str(border)}
        numbers.append([row["value"] for row in rows])
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--crop-border", "125"], "--crop-border 125 leaves nothing of 250x253"),
        (
            ["--crop-border", "124"],
            "at least sobel_kernel_size=5, got height 5 and width 2",
        ),
        (["--crop-border", "-1"], "Invalid value for '--crop-border'"),
        (["--crop-at", "left"], "Invalid value for '--crop-at'"),
        (["--crop-at", "top-left", "--resize"], "--resize and --crop-at exclude each other"),
    ],
)
@pytest.mark.system
def test_wrong_places_and_borders(sharp: Path, options: list[str], says: str) -> None:
    found = run("compare", sharp, sharp, *options)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("Error: ") and says in found.stderr and len(found.stderr.splitlines()) == 1
