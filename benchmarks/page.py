"""Read and write the tables that commands put into pages of the documentation."""

from pathlib import Path
from typing import Any

from blursim_jax.cli.files import replacing

DOCS = Path(__file__).resolve().parents[1] / "docs"
# How Matplotlib saves a picture of the pages: with the same margin at every side.
MARGIN: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.12}


def read(page: str, name: str) -> str:
    """Return the text of a page between `<!-- name -->` and `<!-- end of name -->`."""
    return _cut(page, name)[1]


def write(page: str, name: str, text: str) -> None:
    """Replace the text that `read` returns, in full or not at all."""
    before, _, after = _cut(page, name)
    with replacing(DOCS / page) as new:
        new.write_text(f"{before}{text}{after}")


def _cut(page: str, name: str) -> tuple[str, str, str]:
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, start_found, rest = (DOCS / page).read_text().partition(start)
    text, end_found, after = rest.partition(end)
    if not (start_found and end_found):
        raise ValueError(f"{DOCS / page}: expected its marks, {start.strip()} and {end}")
    return before + start, text, end + after
