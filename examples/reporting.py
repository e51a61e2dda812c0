"""Report how much the held-out photos improved, as a table, pictures and curves, for any framework."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import SupportsFloat

import numpy as np
from command import replacing
from matplotlib.figure import Figure
from photos import Pair
from rich.console import Console
from rich.table import Table
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


@dataclass(frozen=True)
class Scores:
    """How close a photo is to the sharp one. Higher PSNR (in dB) and SSIM are better, and lower BlurSim."""

    psnr: float
    ssim: float
    blursim: float


def score(image: np.ndarray, sharp: np.ndarray, blursim: Callable[[np.ndarray, np.ndarray], SupportsFloat]) -> Scores:
    """Compare a photo in 0..1 with the sharp one. `blursim` is the function of the framework in use."""
    return Scores(
        psnr=float(peak_signal_noise_ratio(sharp, image, data_range=1.0)),
        ssim=float(np.asarray(structural_similarity(sharp, image, data_range=1.0, channel_axis=-1))),
        blursim=float(blursim(image, sharp)),
    )


def report(
    out: Path,
    pairs: Sequence[Pair],
    restored: Sequence[np.ndarray],
    curves: Mapping[str, np.ndarray],
    blursim: Callable[[np.ndarray, np.ndarray], SupportsFloat],
) -> None:
    """Print the table and the conclusion, and write metrics.json, restored.png and curves.png.

    Args:
        out: The folder to write to.
        pairs: The held-out photos.
        restored: The network's output for each of them, in 0..1.
        curves: One value per step for each of "general" and "specific".
        blursim: Computes BlurSim of two photos.
    """
    before = {pair.name: score(pair.blurred, pair.sharp, blursim) for pair in pairs}
    after = {pair.name: score(image, pair.sharp, blursim) for pair, image in zip(pairs, restored, strict=True)}
    for scores in (before, after):
        scores["mean"] = Scores(*np.mean([list(asdict(x).values()) for x in scores.values()], axis=0).tolist())
    steps = len(curves["general"])
    metrics = {"steps": steps} | {
        name: {"before": asdict(before[name]), "after": asdict(after[name])} for name in before
    }
    with replacing(out / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=2) + "\n")
    save_figure(draw_photos(pairs, restored, before, after), out / "restored.png")
    save_figure(draw_curves(curves), out / "curves.png")
    console = Console()
    console.print(make_table(before, after))
    for name, old, new in (
        ("PSNR", before["mean"].psnr, after["mean"].psnr),
        ("SSIM", before["mean"].ssim, after["mean"].ssim),
    ):
        verdict = "above" if new > old else "NOT above"
        console.print(f"{name} ended {verdict} that of the blurred photos: {old:.3f} before, {new:.3f} after.")
    console.print(f"Wrote metrics.json, restored.png and curves.png to {out}.", soft_wrap=True)


def make_table(before: dict[str, Scores], after: dict[str, Scores]) -> Table:
    """Return a table with the scores of every photo, blurred and restored."""
    table = Table(title="Held-out photos, blurred > restored", caption="PSNR in dB. BlurSim: the lower the better.")
    table.add_column("Photo")
    for heading in ("PSNR", "SSIM", "BlurSim"):
        table.add_column(heading, justify="right")
    for name in before:
        if name == "mean":
            table.add_section()
        old, new = before[name], after[name]
        table.add_row(
            name,
            f"{old.psnr:.2f} > {new.psnr:.2f}",
            f"{old.ssim:.4f} > {new.ssim:.4f}",
            f"{old.blursim:.5f} > {new.blursim:.5f}",
        )
    return table


def draw_photos(
    pairs: Sequence[Pair], restored: Sequence[np.ndarray], before: dict[str, Scores], after: dict[str, Scores]
) -> Figure:
    """Draw one row per photo: blurred, restored, sharp, with the scores of each beside the sharp one."""
    figure = Figure(figsize=(8, 2.15 * len(pairs)), layout="constrained")
    rows = figure.subplots(len(pairs), 3, squeeze=False)
    for axes, title in zip(rows[0], ("blurred", "restored", "sharp"), strict=True):
        axes.set_title(title)
    for row, pair, image in zip(rows, pairs, restored, strict=True):
        captions = (
            *(
                f"{x.psnr:.1f} dB, SSIM {x.ssim:.3f}\nBlurSim {x.blursim:.4f}"
                for x in (before[pair.name], after[pair.name])
            ),
            pair.name,
        )
        for axes, photo, caption in zip(row, (pair.blurred, image, pair.sharp), captions, strict=True):
            axes.imshow(photo, interpolation="nearest")
            axes.set(xlabel=caption, xticks=[], yticks=[])
    return figure


def draw_curves(curves: Mapping[str, np.ndarray]) -> Figure:
    """Plot both terms over the steps, raw and averaged."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    steps = np.arange(1, len(curves["general"]) + 1)
    window = max(1, len(steps) // 30)
    # Okabe and Ito's blue and orange, which colour-blind readers can tell apart. The line styles differ too.
    styles = (("General", "#0072b2", "-"), ("Specific", "#d55e00", "--"))
    for axes, (term, colour, style) in zip(figure.subplots(2, 1, sharex=True, sharey=True), styles, strict=True):
        values = curves[term.lower()]
        axes.plot(steps, values, color=colour, alpha=0.3, linewidth=0.5, label="each step")
        mean = np.convolve(values, np.ones(window) / window, mode="valid")
        axes.plot(steps[window - 1 :], mean, style, color=colour, label=f"mean of {window} steps")
        axes.set_ylabel(term)
        for line in axes.legend(loc="upper right", ncols=2).get_lines():
            line.set_linewidth(1.5)
    figure.axes[0].set_ylim(0)
    figure.axes[0].set_title("Terms of BlurSim in training")
    figure.axes[1].set_xlabel("step")
    return figure


def report_losses(curves: Mapping[str, np.ndarray], out: Path, console: Console) -> None:
    """Print how far apart the losses of two runs are, and plot both."""
    (name, losses), (other, expected) = curves.items()
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(np.arange(1, len(losses) + 1), losses, color="#0072b2", linewidth=3, label=name)
    axes.plot(np.arange(1, len(expected) + 1), expected, "--", color="#d55e00", label=other)
    axes.set(xlabel="step", ylabel="loss", title="The same photos, spread and not")
    axes.legend()
    save_figure(figure, out)
    distance = np.max(np.abs(losses - expected) / expected)
    console.print(f"Last loss: {losses[-1]:.6f} with {name}, {expected[-1]:.6f} with {other}.")
    console.print(f"Largest relative difference of a step: {distance:.1e}.")
    console.print(f"Wrote {out}.", soft_wrap=True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a picture in full or not at all."""
    with replacing(path) as temporary:
        # The tight bounding box leaves the same margin at every side.
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight", pad_inches=0.12)
