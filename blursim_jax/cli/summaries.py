"""The summary of a run over many pairs."""

from typing import Any, NamedTuple

import numpy as np

from blursim_jax.cli.rows import Row
from blursim_jax.cli.scores import Scores

# How many pairs are listed: the worst, and those with an error or a note.
WORST, LISTED = 10, 20


class Summary(NamedTuple):
    """Counts; mean, median, nine deciles and worst pairs of BlurSim; the first errors, and the first notes on pairs.

    `scores` has mean, median and deciles of every score, BlurSim too.
    """

    scored: int
    failed: int
    mean: float | None
    median: float | None
    deciles: list[float]
    scores: dict[str, dict[str, Any]]
    worst: list[dict[str, Any]]
    errors: list[dict[str, str]]
    noted: int
    pair_notes: list[dict[str, str]]


def spread_of(values: list[float]) -> dict[str, Any]:
    """Compute mean, median and nine deciles. PSNR may be infinite."""
    with np.errstate(invalid="ignore"):
        deciles = np.quantile(values, np.arange(1, 10) / 10)
    # Between two infinite values NumPy finds none.
    deciles = np.where(np.isnan(deciles), np.inf, deciles).tolist()
    return {"mean": float(np.mean(values)), "median": deciles[4], "deciles": deciles}


def summarize(rows: list[Row]) -> Summary:
    """Summarize the rows of a run."""
    values = [{"name": row.name, "value": float(row.value)} for row in rows if not row.error]
    errors = [{"name": row.name, "error": row.error} for row in rows if row.error]
    noted = [{"name": row.name, "notes": row.notes} for row in rows if row.notes]
    columns = {name: [getattr(row, name) for row in rows if not row.error] for name in Scores._fields}
    known = {name: [float(x) for x in column if x] for name, column in columns.items()}
    scores = {name: spread_of(column) for name, column in known.items() if column}
    value = scores.get("value", {"mean": None, "median": None, "deciles": []})
    return Summary(
        scored=len(values),
        failed=len(errors),
        **value,
        scores=scores,
        worst=sorted(values, key=lambda pair: -pair["value"])[:WORST],
        errors=errors[:LISTED],
        noted=len(noted),
        pair_notes=noted[:LISTED],
    )


def spread_rows(summary: Summary) -> list[tuple[str, list[float]]]:
    """Return the rows of a table of means and deciles, a column a score."""
    spreads = summary.scores.values()
    names = ["median" if i == 5 else f"{10 * i} % are at most" for i in range(1, 10)]
    rows = [(f"mean of {summary.scored}", [spread["mean"] for spread in spreads])]
    # If nothing was scored, nothing is spread.
    return rows + [(name, [spread["deciles"][i] for spread in spreads]) for i, name in enumerate(names) if spreads]
