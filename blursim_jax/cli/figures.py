"""Draw where two images differ, the pairwise table, and the curves of a sweep.

Colour maps are cividis and grey. Lines have Okabe and Ito's colours and one style each. People with any colour vision
can tell them apart.
"""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure

from blursim_jax import blursim_maps
from blursim_jax.cli.files import printable, replacing, shortened
from blursim_jax.cli.pairs import Pair
from blursim_jax.cli.scores import Scores
from blursim_jax.cli.settings import Settings
from blursim_jax.cli.sweeps import DISTORTIONS, SPECTRA, Level

# Range of frequencies in cycles per pixel, with the lowest in the middle. Rows go down, as in the image.
FREQUENCIES = (-0.5, 0.5, 0.5, -0.5)
# Magnitudes below this share of the largest are drawn as this share.
FLOOR = 1e-6
# Largest side of a drawn image, in pixels. A panel shows no more: Matplotlib would average the rest, at some cost.
SIDE = 1024
LINES = {
    "value": ("#000000", "-"),
    "general": ("#0072b2", "--"),
    "specific": ("#d55e00", ":"),
}


def draw_comparison(pair: Pair, settings: Settings, scores: Scores, names: Sequence[str]) -> Figure:
    """Draw both images one above the other, their edges and spectra beside them, and the difference maps."""
    options = settings.options(pair.data_range)
    where_edges, where_spectra = _maps(pair.prediction, pair.target, options, decades=settings.spectrum != "log")
    # The difference from black is the image itself: its edges and its magnitude spectrum.
    options |= {"spectrum": "complex", "normalization": "area"}
    of_each = [_maps(x, np.zeros_like(x), options, decades=True) for x in (pair.prediction, pair.target)]
    height, width = pair.target.shape[:2]
    panel = 3.1 * min(max(height / width, 0.5), 1.6)
    figure = Figure(figsize=(15.5, 2 * panel + 1.2), layout="constrained")
    grid = figure.subplots(2, 4)
    edges, spectra = zip(*of_each, strict=True)
    roles = "prediction", "target"
    for row, role, name, image in zip(grid, roles, names, pair[:2], strict=True):
        _show(row[0], np.clip(image / pair.data_range, 0, 1), f"{role}: {_short(name)}", cmap="gray", vmin=0, vmax=1)
    # Prediction and target share a scale. Most edges are faint beside the strongest: a square root makes them visible.
    for column, panels, title in ((1, edges, "edges"), (2, spectra, "spectrum, log10")):
        least, most = min(map(np.min, panels)), max(map(np.max, panels))
        norm = PowerNorm(0.5, 0, most) if column == 1 else Normalize(least, most)
        for axes, values, role in zip(grid[:, column], panels, roles, strict=True):
            drawn = _show(axes, values, f"{role}: {title}", frequencies=column == 2, cmap="cividis", norm=norm)
            figure.colorbar(drawn, ax=axes, shrink=0.85)
    where, at_which = grid[:, 3]
    drawn = _show(where, where_edges, "difference of edges", cmap="cividis", norm=PowerNorm(0.5, 0))
    figure.colorbar(drawn, ax=where, shrink=0.85)
    logarithmic = settings.spectrum == "log"
    title = f"difference of spectra ({settings.spectrum}){'' if logarithmic else ', log10'}"
    figure.colorbar(_show(at_which, where_spectra, title, frequencies=True, cmap="cividis"), ax=at_which, shrink=0.85)
    figure.suptitle(
        f"{settings.label} {scores.value:.5g} = {1 - settings.alpha:.3g} * General {scores.general:.5g} + "
        f"{settings.alpha:.3g} * Specific {scores.specific:.5g}     "
        f"PSNR {scores.psnr:.2f} dB" + ("" if np.isnan(scores.ssim) else f"     SSIM {scores.ssim:.4f}")
    )
    _write_notes(figure, pair.notes)
    return figure


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
    side = max(1.1, min(1.6, 14 / count))
    figure = Figure(figsize=(side * (count + 1) + 2.2, side * (count + 1) + 0.8), layout="constrained")
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
                axes.text(0, 0, f"{value:.3g}", ha="center", va="center", color=color, fontsize=11)
            elif i or j:
                image = _thinned(np.clip(images[max(i, j) - 1] / white, 0, 1))
                axes.imshow(image, cmap="gray", vmin=0, vmax=1)
                name = _short(names[max(i, j) - 1], 16)
                if j:
                    axes.set_title(name, fontsize=9)
                else:
                    axes.set_ylabel(name, fontsize=9)
            else:
                axes.set_axis_off()
                axes.text(0.5, 0.5, "row: prediction\ncolumn: target", ha="center", va="center", fontsize=9)
    if drawn is not None:
        figure.colorbar(drawn, ax=grid[:, -1].tolist(), label=settings.label, aspect=40)
    _write_notes(figure, notes)
    return figure


def draw_sweep(rows: Sequence[Level], settings: Settings, name: str, notes: Sequence[str] = ()) -> Figure:
    """Draw the value and both terms against the strength, with a row per spectrum and a column per distortion."""
    figure = Figure(figsize=(15, 9), layout="constrained")
    grid = figure.subplots(len(SPECTRA), len(DISTORTIONS), sharex="col", sharey="row")
    for line, spectrum in zip(grid, SPECTRA, strict=True):
        for axes, distortion in zip(line, DISTORTIONS, strict=True):
            points = [row for row in rows if (row.distortion, row.spectrum) == (distortion, spectrum)]
            for term, (color, style) in LINES.items():
                levels, values = [p.level for p in points], [getattr(p, term) for p in points]
                axes.plot(levels, values, style, color=color, marker=".", label=term)
            largest = max(max(row.general, row.specific) for row in rows if row.spectrum == spectrum)
            axes.set_yscale("symlog", linthresh=largest / 1000)
            axes.grid(alpha=0.3)
            if spectrum == SPECTRA[-1]:
                axes.set_xlabel(distortion)
        line[0].set_ylabel(f"--spectrum {spectrum}")
    handles, _ = grid[0, 0].get_legend_handles_labels()
    labels = f"{settings.label}, alpha {settings.alpha:.3g}", "General", "Specific"
    figure.legend(handles, labels, loc="outside upper right", ncols=3)
    figure.suptitle(
        f"{_short(name)} against itself, distorted (--normalization {settings.normalization}, "
        f"--sobel-kernel-size {settings.sobel_kernel_size})",
        x=0.01,
        ha="left",
    )
    _write_notes(figure, notes)
    return figure


def to_bytes(figure: Figure, kind: str = "png") -> bytes:
    """Return the figure as the bytes of a PNG, or of a JPEG, which is several times smaller."""
    content = io.BytesIO()
    # The tight bounding box cuts nothing off at the border.
    figure.savefig(content, format=kind, dpi=100, bbox_inches="tight", pad_inches=0.15)
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
        figure.supxlabel("\n".join(lines).replace("$", r"\$"), fontsize=9, x=0.01, ha="left")


def _show(axes: Axes, values: np.ndarray, title: str, *, frequencies: bool = False, **style: Any) -> Any:
    axes.set_title(title, fontsize=10)
    if frequencies:
        axes.set(xticks=[-0.5, 0, 0.5], yticks=[-0.5, 0, 0.5])
        axes.tick_params(labelsize=8)
        axes.set_xlabel("cycles a pixel", fontsize=8)
        return axes.imshow(_thinned(values, peaks=True), extent=FREQUENCIES, **style)
    axes.set(xticks=[], yticks=[])
    height, width = values.shape[:2]
    # A very thin image would not be visible.
    if not 1 / 8 <= height / width <= 8:
        style["aspect"] = "auto"
    return axes.imshow(_thinned(values, peaks=values.ndim == 2 and style.get("cmap") != "gray"), **style)


def _maps(a: np.ndarray, b: np.ndarray, options: dict[str, Any], *, decades: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the maps of edges and spectra, as large as they are drawn, so that few large ones are held at a time.

    Maps in colour are the means of those of the channels, which take a third of the memory one by one.
    """
    options = options | {"channel_axis": None}
    channels = [(a, b)] if a.ndim == 2 else [(a[..., i], b[..., i]) for i in range(a.shape[-1])]
    edges, spectra = (np.zeros(a.shape[:2], np.float32) for _ in range(2))
    for pair in channels:
        maps = blursim_maps(*pair, **options)
        np.add(edges, np.asarray(maps.edges) / len(channels), out=edges)
        np.add(spectra, np.asarray(maps.spectrum) / len(channels), out=spectra)
    edges, spectra = _thinned(edges, peaks=True), _thinned(spectra, peaks=True)
    return edges, _decades(spectra) if decades else spectra


def _decades(magnitudes: Any) -> np.ndarray:
    magnitudes = np.asarray(magnitudes)
    largest = magnitudes.max()
    return np.log10(np.maximum(magnitudes, largest * FLOOR)) if largest > 0 else np.zeros_like(magnitudes)


def _thinned(values: np.ndarray, *, peaks: bool = False) -> np.ndarray:
    """Reduce an image to about `SIDE` pixels per side, by the mean of each square of pixels or by its maximum.

    A mean would hide peaks.
    """
    step = -(-max(values.shape[:2]) // SIDE)
    if step == 1:
        return values
    height, width = (n // step * step for n in values.shape[:2])
    if not height or not width:
        return values
    squares = values[:height, :width].reshape(height // step, step, width // step, step, *values.shape[2:])
    return squares.max(axis=(1, 3)) if peaks else squares.mean(axis=(1, 3))


def _short(name: str, length: int = 28) -> str:
    """Shorten a file's name for a caption, and escape `$`, which would start a formula."""
    return shortened(name, length).replace("$", r"\$")
