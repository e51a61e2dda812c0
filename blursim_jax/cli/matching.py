"""Which prediction belongs to which target: files of two folders, matched by name."""

import collections
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from blursim_jax.cli.files import UserError, printable
from blursim_jax.cli.formats import KNOWN

# The predictions and the targets of every name. Anything but one of each is an error of that pair.
Names = dict[str, tuple[list[Path], list[Path]]]


class Matches(NamedTuple):
    """Pairs by name, and what the user should know about the folders."""

    pairs: Names
    notes: list[str]


class _Left(NamedTuple):
    """Files and folders that are left out."""

    others: list[Path]
    hidden: list[Path]
    links: list[Path]


def match_folders(predictions: Path, targets: Path) -> Matches:
    """Match the images of two folders by path without suffix. Unicode forms of one name are one name.

    Raises:
        UserError: If a folder cannot be read or has no image, or if the folders have no name in common.
    """
    names: Names = collections.defaultdict(lambda: ([], []))
    left = _Left([], [], [])
    for i, folder in enumerate((predictions, targets)):
        for path in _images(folder, left):
            names[name_of(path.relative_to(folder))][i].append(path)
        if not any(pair[i] for pair in names.values()):
            raise UserError(f"no images ({', '.join(sorted(KNOWN))}) in {printable(folder)}{_ending(left)}")
    if not any(predictions and targets for predictions, targets in names.values()):
        raise UserError(f"no names in common between {printable(predictions)} and {printable(targets)}{_ending(left)}")
    return Matches(names, _notes(left))


def name_of(path: Path) -> str:
    """Return a path without suffix, in the composed form of Unicode: a Mac decomposes names, and others do not."""
    return unicodedata.normalize("NFC", path.with_suffix("").as_posix())


def one_each(name: str, matches: Matches, folders: tuple[Path, Path]) -> tuple[Path, Path]:
    """Return the paths of both images of a pair.

    Raises:
        UserError: If an image is missing, or if there are several of this name.
    """
    for folder, paths in zip(folders, matches.pairs[name], strict=True):
        if len(paths) != 1:
            found = [path.name for path in paths]
            # Names that look alike differ in their Unicode form.
            alike = len({unicodedata.normalize("NFC", x) for x in found}) < len(found)
            shown = ", ".join(ascii(x) if alike else printable(x) for x in found) or "none"
            raise UserError(f"expected one image of this name in {printable(folder)}, found {shown}")
    (prediction,), (target,) = matches.pairs[name]
    return prediction, target


def _images(folder: Path, left: _Left) -> Iterator[Path]:
    """Yield the images in a folder and its subfolders. Collect what is left out."""

    def fail(error: OSError) -> None:
        raise UserError(f"{printable(error.filename)}: {error.strerror}")

    for here, folders, files in os.walk(folder, onerror=fail):
        inside = [Path(here, name) for name in folders]
        left.links.extend(path for path in inside if path.is_symlink())
        left.hidden.extend(path for path in inside if path.name.startswith(".") and not path.is_symlink())
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(here, name) for name in files):
            if path.suffix.lower() not in KNOWN:
                left.others.append(path)
            elif path.name.startswith("."):
                left.hidden.append(path)
            else:
                yield path


def _notes(left: _Left) -> list[str]:
    kinds = {
        "file{s} of other kinds, by suffix": [path for path in left.others if not path.name.startswith(".")],
        "link{s} to a folder": left.links,
        "hidden image{s} or folder{s}": left.hidden,
    }
    return [
        f"left out {len(paths)} {kind.replace('{s}', 's' * (len(paths) > 1))}, as {printable(min(paths))}"
        for kind, paths in kinds.items()
        if paths
    ]


def _ending(left: _Left) -> str:
    return "".join(f"; {note}" for note in _notes(left))
