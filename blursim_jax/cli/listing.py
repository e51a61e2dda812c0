"""Which prediction belongs to which target: pairs that a CSV lists."""

import csv
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from blursim_jax.cli.files import UserError, printable
from blursim_jax.cli.matching import Matches, name_of

COLUMNS = "prediction", "target"


def match_listed(table: Path, predictions: Path, targets: Path) -> Matches:
    """Return the pairs of a CSV with the columns `prediction` and `target`, paths in the two folders.

    A pair has the name of its prediction, as in folders. If two predictions would have one name, all have long names.

    Raises:
        UserError: If the CSV cannot be read, lacks a column or has no pair, if a line has an absent file, a path out
            of its folder or the pair of another line.
    """
    seen: dict[tuple[Path, ...], int] = {}
    listed = []
    for line, cells in _lines(table):
        files = tuple(
            _inside(folder, cell, f"{printable(table)}, line {line}")
            for folder, cell in zip((predictions, targets), cells, strict=True)
        )
        if files in seen:
            raise UserError(f"{printable(table)}, line {line}: the same pair as in line {seen[files]}")
        seen[files] = line
        short = name_of(files[0].relative_to(predictions))
        listed.append((short, f"{files[0].relative_to(predictions)} against {files[1].relative_to(targets)}", files))
    if not listed:
        raise UserError(f"{printable(table)}: lists no pairs")
    unique = max(Counter(short for short, _, _ in listed).values()) == 1
    pairs = {short if unique else long: ([files[0]], [files[1]]) for short, long, files in listed}
    return Matches(pairs, [])


def _lines(table: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield the number of each line, and the paths in it."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            heads = [head.strip().lower() for head in next(rows, [])]
            if any(heads.count(column) != 1 for column in COLUMNS):
                got = printable(", ".join(heads)) or "none"
                raise UserError(f"{printable(table)}: expected the columns {' and '.join(COLUMNS)}, got {got}")
            places = [heads.index(column) for column in COLUMNS]
            for row in rows:
                if row and (len(row) != len(heads) or not all(row[place].strip() for place in places)):
                    raise UserError(
                        f"{printable(table)}, line {rows.line_num}: expected {len(heads)} cells, with a prediction and "
                        f"a target, got {printable(','.join(row))}"
                    )
                if row:
                    prediction, target = (row[place].strip() for place in places)
                    yield rows.line_num, (prediction, target)
    except OSError as error:
        raise UserError(f"{printable(table)}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{printable(table)}: expected a CSV in UTF-8 ({printable(error)})") from error


def _inside(folder: Path, cell: str, where: str) -> Path:
    """Return the file of this path in a folder, in whatever Unicode form its name is there."""
    path = os.path.normpath(cell)
    if os.path.isabs(path) or path.split(os.sep)[0] == os.pardir or "\0" in path:
        raise UserError(f"{where}: expected a path in {printable(folder)}, got {printable(cell)}")
    for form in (path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)):
        if (folder / form).is_file():
            return folder / form
    raise UserError(f"{where}: {printable(folder / path)} is not there")
