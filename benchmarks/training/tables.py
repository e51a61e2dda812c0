"""Tables and pictures of results."""

import itertools
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from scipy import stats

from benchmarks.training.jobs import TASKS, held_out_pairs
from benchmarks.training.runs import Run, judge, restored, trained
from benchmarks.training.studies import LOSSES, MIXTURES, OURS, RIVALS, STUDIES, Study

Results = dict[Run, dict[str, float]]
# The scores for which higher is better.
RISING = "PSNR", "SSIM", "correlation"
HEADINGS = {
    "PSNR": "PSNR in dB, the higher the better",
    "SSIM": "SSIM, the higher the better",
    "GMSD": "GMSD, the lower the better",
    "correlation": "Correlation with the target",
}
# Of each study.
SCORES = {name: ("PSNR", "SSIM", "GMSD") for name in STUDIES} | {"blind": ("PSNR", "SSIM", "correlation")}


def tables(results: Results, study: Study, names: Iterable[str]) -> str:
    """Return one table per score, with one row per loss and one column per task, start and side of crops.

    Each cell has the mean and the standard deviation over the seeds.
    """
    columns = list(itertools.product(study.tasks, study.starts, study.sides))
    heads = [_head(study, *column) for column in columns]
    given = [judge(None, held_out_pairs(task, side)) for task, _, side in columns]
    text = []
    for name in names:
        cells: dict[tuple[str, tuple[str, str, int]], list[float]] = {}
        for run in study.runs():
            cells.setdefault((run.loss, (run.task, run.start, run.side)), []).append(results[run][name])
        best = {
            column: (max if name in RISING else min)(np.mean(values) for (_, c), values in cells.items() if c == column)
            for column in columns
        }
        text += [f"{HEADINGS[name]}:\n", f"| loss | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
        text.append(f"| (the pictures given) | {' | '.join(_number(name, x[name]) for x in given)} |")
        for loss in study.losses:
            row = []
            for column in columns:
                mean, spread = np.mean(cells[loss, column]), np.std(cells[loss, column], ddof=1)
                shown = f"{_number(name, mean)} ± {_number(name, spread)}"
                row.append(f"**{shown}**" if mean == best[column] else shown)
            text.append(f"| {loss} | {' | '.join(row)} |")
        text.append("")
    return "\n".join(text)


def _head(study: Study, task: str, start: str, side: int) -> str:
    """What tells a column from the others."""
    choices = {task: study.tasks, start: study.starts, f"crops of {side}": study.sides}
    return ", ".join(name for name, all_choices in choices.items() if len(all_choices) > 1)


def _number(name: str, value: float | np.floating) -> str:
    return f"{value:.2f}" if name == "PSNR" else f"{value:.4f}"


def differences(results: Results, loss: str, rivals: Iterable[str]) -> str:
    """Return by how much a loss beats its best rival in each score: mean and 95 % interval over seeds."""
    text = ["| score | " + " | ".join(TASKS) + " |", "|---" * (len(TASKS) + 1) + "|"]
    for name in ("PSNR", "SSIM", "GMSD"):
        sign, digits, row = 1 if name in RISING else -1, ".2f" if name == "PSNR" else ".4f", []
        for task in TASKS:
            values = {x: np.array([results[run][name] for run in _sorted(results, x, task)]) for x in (loss, *rivals)}
            best = max(rivals, key=lambda rival: sign * values[rival].mean())
            gains = sign * (values[loss] - values[best])
            half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / math.sqrt(len(gains))
            row.append(f"{gains.mean():+{digits}} ± {half:{digits}} ({best})")
        text.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(text) + "\n"


def _sorted(results: Results, loss: str, task: str) -> list[Run]:
    """The runs of the main table, by seed."""
    return [run for run in STUDIES["losses"].runs() if (run.loss, run.task) == (loss, task) and run in results]


def draw(results: Results) -> Figure:
    """Plot how far each loss is from MSE, by score and task."""
    figure = Figure(figsize=(8, 0.6 * len(LOSSES) + 1.7), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3, sharey=True), ("PSNR", "SSIM", "GMSD"), strict=True):
        for place, (task, colour) in enumerate(zip(TASKS, ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=True)):
            for row, loss in enumerate(LOSSES):
                values, base = ([results[run][name] for run in _sorted(results, x, task)] for x in (loss, "MSE"))
                gains = np.array(values) - np.mean(base)
                height = row + 0.2 * (place - 1.5)
                axes.plot([gains.min(), gains.max()], [height, height], color=colour, linewidth=1)
                axes.plot(gains.mean(), height, "o", color=colour, markersize=4, label=task if row == 0 else None)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"{name} minus MSE's\n({'right' if name in RISING else 'left'} is better)", fontsize=10)
        axes.tick_params(axis="x", labelsize=9)
        axes.grid(axis="y", alpha=0.3)
    axes = figure.axes[0]
    axes.set_yticks(range(len(LOSSES)), [_broken(loss) for loss in LOSSES], fontsize=9)
    axes.invert_yaxis()
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=len(TASKS),
        fontsize=10,
        title=f"dot: mean of {STUDIES['losses'].seeds} seeds; line: from the lowest to the highest",
        title_fontsize=10,
    )
    return figure


def _broken(loss: str) -> str:
    """A name in lines that leave room for the plots."""
    return loss.replace(" + ", " +\n").replace(" unnormalised", "\nunnormalised").replace(" complex", "\ncomplex")


def draw_photos(out: Path, seed: int, steps: int) -> Figure:
    """Draw a part of a held-out photo as restored by some of the networks."""
    # With the blurred and the sharp photo, they fill three rows.
    losses = *RIVALS, "L1 of FFTs", MIXTURES[0], OURS
    pair = held_out_pairs("gaussian")[5]
    part = np.s_[40:136, 60:188]
    panels = {"blurred": pair.given}
    for loss in losses:
        panels[loss] = restored(trained(Run("gaussian", loss, seed, steps), out, pair), pair)
    figure = Figure(figsize=(8, 7.4), layout=ConstrainedLayoutEngine(compress=True, h_pad=0.08))
    axes = figure.subplots(3, 3).ravel()
    for ax, (name, image) in zip(axes, (panels | {"sharp": pair.target}).items(), strict=True):
        ax.imshow(image[part])
        ax.set_title(_broken(name), fontsize=10)
        ax.set_axis_off()
    return figure
