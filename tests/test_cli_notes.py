"""What `blursim` says about images that are not what they seem, in every form of its output."""

# ruff: noqa: E402
from frameworks import require

require("jax", "typer", "PIL", "tifffile", "skimage", "matplotlib")

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from blursim_command import call, compared
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 4), dtype=np.uint8)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def transparent(path: Path, seed: int) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    return save(path, pixels)


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


WHOLLY = "wholly transparent: white is all that is compared"


@pytest.mark.system
def test_every_form_of_output_has_the_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two pictures of which nothing is seen are the same, and that is why."""
    one, other = transparent(tmp_path / "a" / "1.png", 1), transparent(tmp_path / "b" / "1.png", 2)
    notes = [f"{one}: {WHOLLY}", f"{other}: {WHOLLY}"]
    found = compared(capsys, one, other)
    assert (found["value"], found["notes"]) == (0, notes)
    call("compare", one, other)
    assert capsys.readouterr().err == "".join(f"Note: {note}\n" for note in notes)
    call("matrix", one, other, "--format", "json")
    assert json.loads(capsys.readouterr().out)["notes"] == notes
    table, report = tmp_path / "scores.csv", tmp_path / "report.html"
    call("evaluate", one.parent, other.parent, "--out", table, "--report", report, "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["noted"], found["pair_notes"]) == (1, [{"name": "1", "notes": "; ".join(notes)}])
    assert [row["notes"] for row in rows_of(table)] == ["; ".join(notes)]
    assert "1 pair with notes" in report.read_text(encoding="utf-8") and WHOLLY in report.read_text(encoding="utf-8")
    call("evaluate", one.parent, other.parent, "--out", table, "--force")
    assert f"1 pair has notes:\n  1: {'; '.join(notes)}\n" in capsys.readouterr().out
    call("sweep", one, "--out", tmp_path / "sweep.png", "--csv", tmp_path / "sweep.csv")
    assert capsys.readouterr().err == f"Note: {notes[0]}\n"
    assert {row["notes"] for row in rows_of(tmp_path / "sweep.csv")} == {notes[0]}


@pytest.mark.system
def test_figures_have_the_notes_and_text_that_can_be_read() -> None:
    """Shown 700 pixels wide, all text is at least 9 pixels high."""
    from matplotlib.text import Text

    from blursim_jax.cli import figures, sweeps
    from blursim_jax.cli.pairs import Pair
    from blursim_jax.cli.scores import score
    from blursim_jax.cli.settings import Settings

    settings = Settings(0.9, 5, "magnitude", "area", False, None, False, False, 10**6)
    pair = Pair(NOISE[..., 0], NOISE[..., 1], 255.0, ("a$b: 16 bits", "long " * 99))
    levels = [
        sweeps.Level(name, level, spectrum, 0.1 + level, level, level)
        for name, (_, levels) in sweeps.DISTORTIONS.items()
        for level in levels
        for spectrum in sweeps.SPECTRA
    ]
    names = ["a long name of a picture.png"] * 9
    drawn = [
        figures.draw_comparison(pair, settings, score(pair, settings), names[:2]),
        figures.draw_matrix(np.zeros((9, 9)), [pair.target] * 9, 255.0, names, settings, pair.notes),
        figures.draw_sweep(levels, settings, names[0], pair.notes),
    ]
    for figure in drawn:
        text = figure.get_supxlabel()
        assert text.startswith("Note: a\\$b: 16 bits\nNote: long") and len(text.splitlines()) > 3
        with Image.open(io.BytesIO(figures.to_bytes(figure))) as image:
            assert image.convert("RGBA").getchannel("A").getextrema() == (255, 255)
            share = 700 / image.width
        texts = [x for x in figure.findobj(Text) if x.get_text() and x.get_visible()]
        assert len(texts) > 9 and min(float(x.get_fontsize()) for x in texts) * figures.DPI / 72 * share >= 9


@pytest.mark.parametrize("depth", [8, 16])
def test_partly_transparent_is_not_wholly(tmp_path: Path, depth: int, capsys: pytest.CaptureFixture[str]) -> None:
    for alpha, says in ((0, WHOLLY), (1, "transparent parts over white")):
        pixels = NOISE.astype(np.uint16) * 257 if depth == 16 else NOISE.copy()
        pixels[..., 3] = 0
        pixels[5, 5, 3] = alpha
        cv2.imwrite(str(tmp_path / "a.png"), pixels)
        white = save(tmp_path / "white.png", np.full((24, 32), 255, np.uint8))
        assert any(says in note for note in compared(capsys, tmp_path / "a.png", white)["notes"])


DARK = NOISE[..., 0].astype(np.uint16) * 4


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        # 10 and 12 bits in 16; 4 bits in 8.
        (np.minimum(DARK + 3, 1023), "no value above 1023, and white is 65535; --data-range says what is white, "
         "of 10-bit values --data-range 1023"),
        (np.minimum(DARK * 4, 4095), "of 12-bit values --data-range 4095"),
        (NOISE[..., 0] // 16, "of 4-bit values --data-range 15"),
        (NOISE[..., 0].astype(np.float32) / 255**2, "no value above 0.00392157, and white is 1; --data-range says"),
        # What is brighter, or black, is as it should be.
        (DARK * 5, ""),
        (NOISE[..., 0] // 15, ""),
        (np.zeros((24, 32), np.uint16), ""),
        (NOISE[..., 0].astype(np.float32) / 255, ""),
    ],
)  # fmt: skip
def test_values_far_below_white_are_pointed_out(
    tmp_path: Path, pixels: np.ndarray, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels)
    found = compared(capsys, path, path)["notes"]
    assert any(says in note for note in found) if says else not any("no value above" in note for note in found)
    if says:
        given = compared(capsys, path, path, "--data-range", 1023)["notes"]
        assert not any("no value above" in note for note in given)


def test_ten_bits_measured_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = tmp_path / "a.tif", tmp_path / "b.tif"
    a, b = NOISE[..., 0].astype(np.uint16) * 4, NOISE[..., 0].astype(np.uint16) * 4 + NOISE[..., 1] % 4
    tifffile.imwrite(one, a)
    tifffile.imwrite(other, b)
    expected = 10 * np.log10(1023**2 / np.mean((a.astype(float) - b) ** 2))
    assert compared(capsys, one, other, "--data-range", 1023)["psnr"] == pytest.approx(expected, rel=1e-5)
