"""What is installed by hash has the versions that the tests are known to pass with."""

import re
import tomllib
from pathlib import Path

from frameworks import EXTRAS

ROOT = Path(__file__).parent.parent
# A requirement, and the lines of hashes that continue it.
PIN = re.compile(r"^([\w.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)


def pins(file: str) -> dict[str, tuple[str, str]]:
    """Version and hashes of each name, written as the registry has it."""
    found = {
        re.sub(r"[-_.]+", "-", name).lower(): (version, hashes)
        for name, version, hashes in PIN.findall((ROOT / file).read_text())
    }
    assert found
    return found


def extras() -> dict[str, list[str]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def wanted(extra: str) -> set[str]:
    """The packages that an extra names, those of other extras that it takes among them."""
    names = set()
    for requirement in extras()[extra]:
        name, others = re.findall(r"^([\w-]+)(?:\[(.*?)\])?", requirement)[0]
        if name == "blursim":
            names.update(*map(wanted, others.split(",")))
        else:
            names.add(name)
    return names


def test_hashed_requirements_agree_with_the_constraints() -> None:
    locked, constraints = pins("requirements-test.txt"), pins("constraints.txt")
    assert wanted("test") - set(locked) == {"torch"}
    for name, (version, hashes) in locked.items():
        assert hashes, name
        # What builds the package is locked too, and not in the constraints.
        assert constraints.get(name, (version,))[0] == version, name


def test_hashed_requirements_name_no_index() -> None:
    lines = (ROOT / "requirements-test.txt").read_text().splitlines()
    assert all(re.match(r"#|$|[\w.-]+==|    --hash=sha256:", line) for line in lines)


def test_every_module_that_a_test_requires_has_an_extra() -> None:
    """Which the reason of a skip names."""
    assert set(EXTRAS.values()) <= set(extras())
    sources = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    required = set(re.findall(r'"(\w+)"', " ".join(re.findall(r"\brequire\(([^()]*)\)", sources))))
    assert len(required) > 15 and required <= set(EXTRAS)
