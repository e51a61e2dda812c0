"""A report on a run over folders, as one self-contained HTML file."""

import base64
import hashlib
import html
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blursim_jax import __version__
from blursim_jax.cli.files import UserError, replacing
from blursim_jax.cli.rows import Row
from blursim_jax.cli.scores import HEADS
from blursim_jax.cli.settings import DEFAULTS
from blursim_jax.cli.summaries import Summary, spread_rows

if TYPE_CHECKING:
    from blursim_jax.cli.folders import Run

# How many of the worst pairs have a thumbnail in the table, and its largest side in pixels.
THUMBNAILS, THUMBNAIL = 100, 96
# Sorts the table of pairs by the column whose head is clicked, and the other way round at the next click.
SCRIPT = """
for (const head of document.querySelectorAll("#pairs th")) head.addEventListener("click", () => {
  const ascending = head.ariaSort !== "ascending", body = document.querySelector("#pairs tbody");
  const key = row => {
    const text = row.cells[head.cellIndex].textContent;
    return text === "inf" ? Infinity : text === "" || isNaN(text) ? text : Number(text);
  };
  const keys = new Map([...body.rows].map(row => [row, key(row)]));
  const order = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
  const rows = [...body.rows].sort((x, y) => (ascending ? 1 : -1) * order(keys.get(x), keys.get(y)));
  for (const other of document.querySelectorAll("#pairs th")) other.ariaSort = null;
  head.ariaSort = ascending ? "ascending" : "descending";
  body.append(...rows);
});
"""

# The content security policy blocks all loading, and all scripts but ours, even if a file's name injects HTML.
HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline';
 script-src 'sha256-@@HASH@@'">
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
button { all: unset; cursor: pointer; text-decoration: underline dotted; }
button:focus-visible { outline: 2px solid; }
#pairs img { display: block; max-width: none; }
</style>
</head>
<body>
""".replace("@@HASH@@", base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode())


def write(path: Path, run: "Run", rows: list[Row], summary: Summary) -> None:
    """Write the report: the summary, a histogram of the values, a table of all pairs, and pictures of the worst."""
    parts = [HEAD, "<h1>BlurSim report</h1>"]
    # A preset stands for what it sets.
    hidden = DEFAULTS if run.settings.preset else ()
    given = {
        f"--{name.replace('_', '-')}": value
        for name, value in run.settings._asdict().items()
        # Other options that are 0, None or False change nothing. An alpha of 0 does.
        if (value or name in DEFAULTS) and name not in hidden
    }
    options = " ".join(name if value is True else f"{name} {value}" for name, value in given.items())
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
        parts.append(f"<h2>{summary.failed} pair{'s' * (summary.failed > 1)} could not be compared</h2>")
        parts += _listed([(x["name"], x["error"]) for x in summary.errors], summary.failed)
    if summary.noted or run.notes:
        parts.append(f"<h2>{summary.noted} pair{'s' * (summary.noted != 1)} with notes</h2>")
        parts += [f"<p>{_text(note)}</p>" for note in run.notes]
        parts += _listed([(x["name"], x["notes"]) for x in summary.pair_notes], summary.noted)
    parts += _table_of_pairs(run, rows)
    parts.append("<h2>The worst pairs</h2>")
    of_name = {row.name: row for row in rows}
    for pair in summary.worst:
        caption = f"{pair['name']}: {pair['value']:.6g}"
        try:
            parts.append(_figure(caption, _comparison(run, of_name[pair["name"]])))
        except UserError as error:
            parts.append(f"<p>{_text(caption)}. No picture: {_text(error)}</p>")
    parts.append(f"<script>{SCRIPT}</script>\n</body>\n</html>\n")
    with replacing(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8", errors="backslashreplace")


def _listed(pairs: list[tuple[str, str]], total: int) -> Iterable[str]:
    """Yield a table of pairs and what is said of them, and how many more there are."""
    rows = (f"<tr><td>{_text(name)}</td><td>{_text(said)}</td></tr>" for name, said in pairs)
    yield f"<table>{''.join(rows)}</table>"
    if total > len(pairs):
        yield f"<p>and {total - len(pairs)} more, in the CSV</p>"


def _table_of_pairs(run: "Run", rows: list[Row]) -> Iterable[str]:
    """Yield a table of all pairs that were scored, the worst first."""
    scored = sorted((row for row in rows if not row.error), key=lambda row: -float(row.value))
    known = [name for name in ("value", *HEADS) if any(getattr(row, name) for row in scored)]
    yield "<h2>All pairs</h2><p>The worst first. A click on a head sorts the table.</p>"
    yield "<div class='wide'><table id='pairs'>"
    heads = ["", "pair", *(HEADS.get(name, run.settings.label) for name in known)]
    yield f"<thead><tr>{''.join(f'<th><button>{_text(head)}</button></th>' for head in heads)}</tr></thead><tbody>"
    for i, row in enumerate(scored):
        picture = _thumbnail(run, row.name) if i < THUMBNAILS else ""
        numbers = (f"{float(x):.6g}" if (x := getattr(row, name)) else "" for name in known)
        cells = "".join(f'<td class="number">{number}</td>' for number in numbers)
        yield f"<tr><td>{picture}</td><td>{_text(row.name)}</td>{cells}</tr>"
    yield "</tbody></table></div>"


def _thumbnail(run: "Run", name: str) -> str:
    """Return the prediction as a small picture, or nothing if it cannot be read any more."""
    from PIL import Image

    from blursim_jax.cli import images

    prediction, _ = run.files_of(name)
    try:
        picture = images.read(prediction, color=run.settings.color, max_pixels=run.settings.max_pixels)
    except UserError:
        return ""
    white = run.settings.data_range or picture.white
    image = Image.fromarray(np.clip(picture.pixels * (255 / white), 0, 255).astype(np.uint8))
    content = io.BytesIO()
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.save(content, "JPEG")
    return _image(name, content.getvalue())


def _comparison(run: "Run", row: Row) -> bytes:
    from blursim_jax.cli import figures, pairs, scores

    files = run.files_of(row.name)
    pair = pairs.read_pair(*files, run.settings)
    # Small images, and a run without it, have no SSIM.
    found = scores.Scores(*(float(getattr(row, name) or "nan") for name in scores.Scores._fields))
    figure = figures.draw_comparison(pair, run.settings, found, [file.name for file in files])
    return figures.to_bytes(figure, "jpeg")


def _histogram(rows: list[Row], label: str) -> bytes:
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
    return f"<figure><figcaption>{_text(caption)}</figcaption>{_image(caption, picture)}</figure>"


def _image(text: str, picture: bytes) -> str:
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f'<img src="data:image/{kind};base64,{base64.b64encode(picture).decode()}" alt="{_text(text)}">'


def _text(value: object) -> str:
    return html.escape(str(value))
