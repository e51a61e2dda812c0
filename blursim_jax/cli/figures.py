"""Draw where two images differ, the pairwise table, and the curves of a sweep.

Colour maps are cividis and grey. Lines have Okabe and Ito's colours and one style each. People with any colour vision
can tell them apart.
"""

import io
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from blursim_jax.cli.files import printable, replacing, shortened
from blursim_jax.cli.maps import maps_of, step_of
from blursim_jax.cli.pairs import Pair
from blursim_jax.cli.scores import Scores
from blursim_jax.cli.settings import Settings
from blursim_jax.cli.sweeps import DISTORTIONS, SPECTRA, Level

# Inches, points and pixels per inch: shown 700 pixels wide, text is 10 pixels high.
WIDTH, FONT, DPI = 9, 9.5, 120
# Of JPEGs. Maps of edges and spectra are as fine as noise, and take much room in a higher one.
QUALITY = 60
# What a vertical scale of colours takes, in inches.
BAR = 1.2
SIZES: dict[Any, float] = {"font.size": FONT, "axes.titlesize": FONT, "figure.titlesize": FONT}
# Range of frequencies in cycles per pixel, with the lowest in the middle. Rows go down, as in the image.
FREQUENCIES = (-0.5, 0.5, 0.5, -0.5)
# Amplitudes, and their differences, below this share of the largest are drawn as this share.
FLOOR, DIFFERENCE_FLOOR = 1e-7, 1e-4
LINES = {
    "value": ("#000000", "-"),
    "general": ("#0072b2", "--"),
    "specific": ("#d55e00", ":"),
}


@rc_context(SIZES)
def draw_comparison(pair: Pair, settings: Settings, scores: Scores, names: Sequence[str]) -> Figure:
    """Draw prediction and target one above the other, with their edges and spectra, and the differences below."""
    maps = maps_of(pair, settings)
    aspect = _aspect(pair.target)
    figure = Figure(figsize=(WIDTH, WIDTH * aspect + 2.9), layout="constrained")
    bar = 0.14 / (WIDTH / 3 * aspect)
    # The fourth row is empty, and parts the differences from what is above them.
    grid = figure.subplots(6, 3, height_ratios=[1, 1, bar, bar, 1, bar])
    for axes in grid[[0, 1, 4]].flat:
        axes.set(xticks=[], yticks=[])
    for axes, role, name, image in zip(grid[:2, 0], ("prediction", "target"), names, pair[:2], strict=True):
        axes.imshow(np.clip(_reduced(image) / pair.data_range, 0, 1), cmap="gray", vmin=0, vmax=1, aspect="auto")
        axes.set_title(f"{role}: {_short(name)}")
    for axes in [*grid[2:, 0], *grid[3, 1:]]:
        axes.set_axis_off()
    grid[4, 0].text(0, 0.5, _summary(scores, settings), va="center", transform=grid[4, 0].transAxes, linespacing=1.6)
    # Prediction and target share a scale. Most edges are faint beside the strongest: a square root makes them visible.
    slopes = "white per pixel, square-root scale"
    _show(grid[:3, 1], maps.edges[:2], "edges", slopes, _power(maps.edges[:2]))
    _show(grid[4:, 1], maps.edges[2:], "difference of edges", slopes, _power(maps.edges[2:]))
    amplitudes = "amplitude, white is 1"
    _show(grid[:3, 2], maps.spectra[:2], "spectrum", amplitudes, _logarithmic(maps.spectra[:2], FLOOR), FREQUENCIES)
    difference, title = maps.spectra[2:], f"difference of spectra ({settings.spectrum})"
    norm = (
        Normalize(0, difference.max() or 1)
        if settings.spectrum == "log"
        else _logarithmic(difference, DIFFERENCE_FLOOR)
    )
    unit = "natural logarithm of the ratio" if settings.spectrum == "log" else amplitudes
    _show(grid[4:, 2], difference, title, unit, norm, FREQUENCIES)
    _write_notes(figure, pair.notes)
    return figure


def _summary(scores: Scores, settings: Settings) -> str:
    lines = [
        f"{settings.label} {scores.value:.5g}",
        f"= {1 - settings.alpha:.3g} · General {scores.general:.5g}",
        f"+ {settings.alpha:.3g} · Specific {scores.specific:.5g}",
        f"PSNR {scores.psnr:.2f} dB",
    ]
    return "\n".join(lines + ([] if np.isnan(scores.ssim) else [f"SSIM {scores.ssim:.4f}"]))


@rc_context(SIZES)
def draw_matrix(
    values: np.ndarray,
    images: Sequence[np.ndarray],
    white: float,
    names: Sequence[str],
    settings: Settings,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw the pairwise table as a heat map, with a thumbnail per row and column."""
    count = len(names)
    width = max(WIDTH, 0.75 * (count + 1) + BAR)
    side, aspect = (width - BAR) / (count + 1), _aspect(images[0])
    figure = Figure(figsize=(width, (count + 1) * side * aspect + 0.6), layout="constrained")
    grid = figure.subplots(count + 1, count + 1, squeeze=False)
    largest = max(float(values.max()), 1e-30)
    drawn = None
    for i in range(count + 1):
        for j in range(count + 1):
            axes: Axes = grid[i, j]
            axes.set(xticks=[], yticks=[])
            if i and j:
                value = values[i - 1, j - 1]
                drawn = axes.imshow([[value]], cmap="cividis", vmin=0, vmax=largest, aspect="auto")
                color = "white" if value < 0.55 * largest else "black"
                axes.text(0, 0, f"{value:.3g}", ha="center", va="center", color=color)
            elif i or j:
                image = np.clip(_reduced(images[max(i, j) - 1]) / white, 0, 1)
                axes.imshow(image, cmap="gray", vmin=0, vmax=1, aspect="auto")
                name = _short(names[max(i, j) - 1], int(side * 72 / (0.6 * FONT)))
                if j:
                    axes.set_title(name)
                else:
                    axes.set_ylabel(name)
            else:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "row: prediction\ncolumn: target", ha="center", va="center")
    if drawn is not None:
        figure.colorbar(drawn, ax=grid[:, -1].tolist(), aspect=40).set_label(settings.label, labelpad=10)
    _write_notes(figure, notes)
    return figure


@rc_context(SIZES)
def draw_sweep(rows: Sequence[Level], settings: Settings, name: str, notes: Sequence[str] = ()) -> Figure:
    """Draw the value and both terms against the strength, with a row per spectrum and a column per distortion."""
    # Curves need less room than pictures: in a narrower figure, text is larger where it is shown.
    side = 0.8 * WIDTH
    figure = Figure(figsize=(side, side), layout="constrained")
    grid = figure.subplots(len(SPECTRA), len(DISTORTIONS), sharex="col", sharey="row")
    for line, spectrum in zip(grid, SPECTRA, strict=True):
        for axes, distortion in zip(line, DISTORTIONS, strict=True):
            points = [row for row in rows if (row.distortion, row.spectrum) == (distortion, spectrum)]
            for term, (color, style) in LINES.items():
                levels, values = [p.level for p in points], [getattr(p, term) for p in points]
                axes.plot(levels, values, style, color=color, marker=".", label=term)
            largest = max(max(row.general, row.specific) for row in rows if row.spectrum == spectrum)
            # At a power of ten, no other one is beside the zero.
            axes.set_yscale("symlog", linthresh=10 ** np.floor(np.log10(max(largest, 1e-30) / 1000)))
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.grid(alpha=0.3)
            if spectrum == SPECTRA[-1]:
                axes.set_xlabel(re.sub("([:,]) ", r"\1\n", distortion, count=1))
        line[0].set_ylabel(f"--spectrum\n{spectrum}")
    handles, _ = grid[0, 0].get_legend_handles_labels()
    labels = f"{settings.label}, alpha {settings.alpha:.3g}", "General", "Specific"
    figure.legend(handles, labels, loc="outside upper right")
    lines = f"{_short(name)} against itself, distorted", f"--normalization {settings.normalization}"
    figure.suptitle("\n".join([*lines, f"--sobel-kernel-size {settings.sobel_kernel_size}"]), x=0.01, ha="left")
    _write_notes(figure, notes)
    return figure


@rc_context(SIZES)
def to_bytes(figure: Figure, kind: str = "png") -> bytes:
    """Return the figure as the bytes of a PNG, or of a JPEG, which is several times smaller."""
    content = io.BytesIO()
    options = {"quality": QUALITY} if kind == "jpeg" else {}
    # The tight bounding box cuts nothing off at the border.
    figure.savefig(content, format=kind, dpi=DPI, bbox_inches="tight", pad_inches=0.1, pil_kwargs=options)
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write the figure as a PNG, in full or not at all."""
    content = to_bytes(figure)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _write_notes(figure: Figure, notes: Sequence[str]) -> None:
    """Write what was done to the images below them, at most as wide as the figure."""
    width = int(12 * figure.get_figwidth())
    lines = [line for note in notes for line in textwrap.wrap(f"Note: {printable(note)}", width)]
    if lines:
        figure.supxlabel("\n".join(lines).replace("$", r"\$"), fontsize=FONT, x=0.01, ha="left")


def _show(column: np.ndarray, maps: np.ndarray, title: str, unit: str, norm: Normalize, extent: Any = None) -> None:
    """Draw maps one above the other, with one scale, and its colours in the last of these axes."""
    *panels, bar = column
    style: dict[str, Any] = {"cmap": "cividis", "norm": norm, "aspect": "auto", "extent": extent}
    drawn = [axes.imshow(values, **style) for axes, values in zip(panels, maps, strict=True)]
    for axes in panels:
        axes.set_title(title)
        if extent:
            axes.set(xticks=[-0.5, 0, 0.5], xticklabels=[])
    if extent:
        panels[-1].set(xticklabels=["-0.5", "0", "0.5"], xlabel="cycles per pixel")
        panels[-1].get_xticklabels()[0].set(ha="left")
        panels[-1].get_xticklabels()[-1].set(ha="right")
    ticks = None if isinstance(norm, LogNorm) else MaxNLocator(4)
    bar.figure.colorbar(drawn[-1], cax=bar, label=unit, orientation="horizontal", ticks=ticks).minorticks_off()


def _power(maps: np.ndarray) -> Normalize:
    return PowerNorm(0.5, 0, maps.max() or 1)


def _logarithmic(maps: np.ndarray, floor: float) -> Normalize:
    largest = float(maps.max()) or 1.0
    return LogNorm(min(max(float(maps.min()), floor * largest), largest / 10), largest, clip=True)


def _aspect(image: np.ndarray) -> float:
    """Return the height of a panel by its width. A very thin image would not be visible."""
    return min(max(image.shape[0] / image.shape[1], 0.5), 1.6)


def _reduced(image: np.ndarray) -> np.ndarray:
    """Reduce an image to no more pixels than are drawn, by the mean of each square of pixels."""
    step = step_of(image.shape)
    height, width = (n // step for n in image.shape[:2])
    if step == 1 or not height or not width:
        return image
    rows = image[: height * step].reshape(height, step, *image.shape[1:]).mean(axis=1, dtype=np.float32)
    return rows[:, : width * step].reshape(height, width, step, *image.shape[2:]).mean(axis=2)


def _short(name: str, length: int = 28) -> str:
    """Shorten a file's name for a caption, and escape `$`, which would start a formula."""
    return shortened(name, length).replace("$", r"\$")
