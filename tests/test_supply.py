"""What is installed by hash has the versions that the tests are known to pass with."""

import re
from pathlib import Path

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


def test_hashed_requirements_agree_with_the_constraints() -> None:
    locked, constraints = pins("requirements-test.txt"), pins("constraints.txt")
    assert [name for name in constraints if name not in locked] == ["torch"]
    for name, (version, hashes) in locked.items():
        assert hashes, name
        # What builds the package is locked too, and not in the constraints.
        assert constraints.get(name, (version,))[0] == version, name


def test_hashed_requirements_name_no_index() -> None:
    lines = (ROOT / "requirements-test.txt").read_text().splitlines()
    assert all(re.match(r"#|$|[\w.-]+==|    --hash=sha256:", line) for line in lines)
