"""The tables of `python -m benchmarks.speed gpu`."""

import html
from typing import Any

import numpy as np

from benchmarks.gpu_plan import ENGINES, OURS, PRECISIONS, TRANSFORMS, name_of
from benchmarks.speed import table

BYTES = {"float32": 4, "bfloat16": 2}
HEADINGS = {"float32": "float32", "bfloat16": "bfloat16, in PyTorch under autocast"}


def of_gpu(figures: dict[str, Any]) -> str:
    """Return all tables: times, memory and kernels, the training step, and what was left out."""
    rows = figures["rows"]
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    parts = [of_bandwidth(figures)]
    parts += [of_times(figures, precision, shape) for precision in PRECISIONS for shape in shapes]
    if shapes:
        parts.append(of_memory([x for x in rows if x["precision"] == PRECISIONS[0] and tuple(x["shape"]) == shapes[0]]))
    parts += [of_steps(figures["steps"]), of_left_out(figures["left_out"])]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def of_bandwidth(figures: dict[str, Any]) -> str:
    """Return what a copy reaches, and how long everything took."""
    copies = f"{figures['bandwidth'] / 1e9:,.1f} GB/s" if figures["bandwidth"] else "a bandwidth that was not measured"
    return f"A copy reads and writes {copies}. All of this took {figures['seconds']:.0f} s."


def floor(figures: dict[str, Any], precision: str, shape: tuple[int, ...]) -> tuple[float, float] | None:
    """Return the floor in ms, and the part of the transforms, if both of its parts were measured.

    The transforms are in float32 under each precision. They are those of the fastest engine.
    """
    found = [x["ms"][1] for x in figures["rows"] if x["row"] == TRANSFORMS and tuple(x["shape"]) == shape]
    if not found or not figures["bandwidth"]:
        return None
    return min(found) + 1000 * moved(precision, shape) / figures["bandwidth"], min(found)


def moved(precision: str, shape: tuple[int, ...]) -> float:
    """Return how many bytes must move: two images are read, and a gradient is written."""
    return 3 * BYTES[precision] * float(np.prod(shape))


def of_times(figures: dict[str, Any], precision: str, shape: tuple[int, ...]) -> str:
    """Return the times for one shape, with one row per loss and one column per engine."""
    rows = [x for x in figures["rows"] if (x["precision"], tuple(x["shape"])) == (precision, shape)]
    if not rows:
        return ""
    text, found = f"Value and gradient of {name_of(shape)}, {HEADINGS[precision]}", floor(figures, precision, shape)
    if found:
        text += f": median time, ratio to the floor. The floor is {found[0]:.4f} ms: the transforms {found[1]:.4f} ms, "
        text += f"and {moved(precision, shape) / 1e6:,.1f} MB at the bandwidth of the copy."

    def cell(row: dict[str, Any]) -> str:
        ratio = f", {row['ms'][1] / found[0]:.1f}" if found else ""
        return f"{row['ms'][1]:,.3f} ms{ratio}"

    return f"{text}\n\n{by_engine(rows, cell)}"


def by_engine(rows: list[dict[str, Any]], cell: Any) -> str:
    """Return a table with one row per loss, BlurSim first, and one column per engine."""
    engines = [engine for engine in ENGINES if any(x["engine"] == engine for x in rows)]
    first = (TRANSFORMS, *OURS)
    losses = [name for name in first if any(x["row"] == name for x in rows)]
    losses += dict.fromkeys(x["row"] for x in rows if x["row"] not in first)
    cells = {(x["row"], x["engine"]): cell(x) for x in rows}
    return table(["loss", *engines], ([loss, *(cells.get((loss, e), "") for e in engines)] for loss in losses))


def of_memory(rows: list[dict[str, Any]]) -> str:
    """Return memory and kernels for one shape."""

    def cell(row: dict[str, Any]) -> str:
        known = [f"{row['images']:.1f} images"] if row.get("images") is not None else []
        return ", ".join(known + ([f"{row['kernels']} kernels"] if row.get("kernels") is not None else []))

    rows = [row for row in rows if cell(row) and row["row"] != TRANSFORMS]
    if not rows:
        return ""
    text = (
        f"Memory beyond the images, as a multiple of one of both batches, and kernels, {name_of(rows[0]['shape'])} in "
        "float32. JAX's memory is what XLA states, without the work space of its transforms."
    )
    return f"{text}\n\n{by_engine(rows, cell)}"


def of_steps(steps: list[dict[str, Any]]) -> str:
    """Return the table of training steps."""
    if not steps:
        return ""
    lines = (
        [
            x["precision"],
            x["row"],
            f"{x['ms'][1]:,.2f} ms",
            f"{x['loss_ms'][1]:,.3f} ms",
            f"{100 * x['loss_ms'][1] / x['ms'][1]:.1f} %",
        ]
        for x in steps
    )
    return (
        f"A training step of a network like NAFNet of {steps[0]['parameters'] / 1e6:.1f} million parameters, "
        f"{steps[0]['batch']}, PyTorch without a compiler, AdamW. The loss is its value and gradient alone.\n\n"
        f"{table(['precision', 'loss', 'step', 'of it the loss', 'share'], lines)}"
    )


def of_left_out(left_out: list[dict[str, Any]]) -> str:
    """Return a list of what was not measured, by reason."""
    if not left_out:
        return ""
    # Rows of one engine are named together if they are left out for the same shapes.
    shapes: dict[tuple[str, ...], list[str]] = {}
    for x in left_out:
        if "row" in x:
            shapes.setdefault((x["reason"], x["engine"], x["precision"], x["row"]), []).append(name_of(x["shape"]))
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    for (reason, engine, precision, row), found in shapes.items():
        rows.setdefault((reason, engine, precision, ", ".join(found)), []).append(row)
    reasons: dict[str, list[str]] = {}
    for x in left_out:
        if "row" not in x:
            reasons.setdefault(x["reason"], []).append(x["what"])
    for (reason, engine, precision, found), names in rows.items():
        reasons.setdefault(reason, []).append(f"{engine}, {precision}, {found}: {', '.join(names)}")
    lines = (f"- {reason}: {'; '.join(what)}" for reason, what in reasons.items())
    # A reason can be any message, which is not to be read as a mark of the page.
    return html.escape("\n".join(["Left out:", "", *lines]), quote=False)
