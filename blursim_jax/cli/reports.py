"""The results of a run over folders: a summary, and a report as one self-contained HTML file."""

import base64
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from blursim_jax import __version__
from blursim_jax.cli.files import UserError, replacing
from blursim_jax.cli.scores import HEADS, Scores

if TYPE_CHECKING:
    from blursim_jax.cli.folders import Run
    from blursim_jax.cli.rows import Row

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


def summarize(rows: "list[Row]") -> Summary:
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


# The content security policy blocks all loading, even if a file's name injects HTML.
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>BlurSim report</title>
<style>
:root { color-scheme: light dark; --text: #1a1a1a; --ground: #fff; --line: #c8c8c8; --soft: #5a5a5a; }
@media (prefers-color-scheme: dark) { :root { --text: #e8e8e8; --ground: #16181b; --line: #44484d; --soft: #a8adb3; } }
body { color: var(--text); background: var(--ground); font: 16px/1.5 system-ui, sans-serif;
       max-width: 75rem; margin: 0 auto; padding: 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
.wide { overflow-x: auto; }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .8rem; overflow-wrap: anywhere; min-width: 5rem; }
th { text-align: right; overflow-wrap: normal; }
td.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
p { color: var(--soft); overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; }
figcaption { overflow-wrap: anywhere; font-weight: 600; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
</style>
</head>
<body>
"""


def write(path: Path, run: "Run", rows: "list[Row]", summary: Summary) -> None:
    """Write the report: the summary, a histogram of the values, and pictures of the worst pairs."""
    parts = [HEAD, "<h1>BlurSim report</h1>"]
    given = {f"--{name.replace('_', '-')}": value for name, value in run.settings._asdict().items()}
    options = " ".join(f"{name}" if value is True else f"{name} {value}" for name, value in given.items() if value)
    options = f"blursim {__version__}: {options}"
    listed = f", by the list {run.table}" if run.table else ""
    parts.append(f"<p>{_text(run.folders[0])} against {_text(run.folders[1])}{_text(listed)}<br>{_text(options)}</p>")
    parts.append(f"<h2>{_text(run.settings.label)} of {summary.scored} pairs</h2><div class='wide'><table>")
    heads = [HEADS.get(name, run.settings.label) for name in summary.scores]
    parts.append(f"<tr><th></th>{''.join(f'<th>{_text(head)}</th>' for head in heads)}</tr>")
    parts += [_row(name, *values) for name, values in spread_rows(summary)]
    parts.append("</table></div>")
    if summary.scored:
        parts.append(_figure("How values are spread", _histogram(rows, run.settings.label)))
    if summary.failed:
        parts.append(f"<h2>{summary.failed} pair{'s' * (summary.failed > 1)} could not be compared</h2><table>")
        parts += [f"<tr><td>{_text(x['name'])}</td><td>{_text(x['error'])}</td></tr>" for x in summary.errors]
        parts.append("</table>")
        if summary.failed > len(summary.errors):
            parts.append(f"<p>and {summary.failed - len(summary.errors)} more, in the CSV</p>")
    if summary.noted or run.notes:
        parts.append(f"<h2>{summary.noted} pair{'s' * (summary.noted != 1)} with notes</h2>")
        parts += [f"<p>{_text(note)}</p>" for note in run.notes]
        parts.append("<table>")
        parts += [f"<tr><td>{_text(x['name'])}</td><td>{_text(x['notes'])}</td></tr>" for x in summary.pair_notes]
        parts.append("</table>")
        if summary.noted > len(summary.pair_notes):
            parts.append(f"<p>and {summary.noted - len(summary.pair_notes)} more, in the CSV</p>")
    parts.append("<h2>The worst pairs</h2><table>")
    parts += [_row(pair["name"], pair["value"]) for pair in summary.worst]
    parts.append("</table>")
    for pair in summary.worst:
        name, caption = pair["name"], f"{pair['name']}: {pair['value']:.6g}"
        try:
            parts.append(_figure(caption, _comparison(run, name)))
        except UserError as error:
            parts.append(f"<p>{_text(caption)}. No picture: {_text(error)}</p>")
    parts.append("</body>\n</html>\n")
    with replacing(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8", errors="backslashreplace")


def _comparison(run: "Run", name: str) -> bytes:
    from blursim_jax.cli import figures, pairs, scores

    files = run.files_of(name)
    pair = pairs.read_pair(*files, run.settings)
    found = scores.score(pair, run.settings)
    figure = figures.draw_comparison(pair, run.settings, found, [file.name for file in files])
    return figures.to_bytes(figure, "jpeg")


def _histogram(rows: "list[Row]", label: str) -> bytes:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from blursim_jax.cli.figures import to_bytes

    figure = Figure(figsize=(9, 3), layout="constrained")
    axes = figure.subplots()
    values = [float(row.value) for row in rows if not row.error]
    axes.hist(values, bins=min(40, max(5, len(values) // 5)), color="#0072b2")
    axes.set(xlabel=label, ylabel="pairs")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return to_bytes(figure)


def _row(name: str, *numbers: float) -> str:
    cells = "".join(f'<td class="number">{number:.6g}</td>' for number in numbers)
    return f"<tr><td>{_text(name)}</td>{cells}</tr>"


def _figure(caption: str, picture: bytes) -> str:
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    source = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    return f'<figure><figcaption>{_text(caption)}</figcaption><img src="{source}" alt="{_text(caption)}"></figure>'


def _text(value: object) -> str:
    return html.escape(str(value))
