"""The mutants are of this code, and the tests notice each."""

import subprocess
import sys
from pathlib import Path

import pytest
from frameworks import require
from mutants import MUTANTS, ROOT, Mutant, mutate


def test_names_are_unique() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) >= 30


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place(mutant: Mutant) -> None:
    source = (ROOT / mutant.path).read_text()
    changed = mutate(mutant, source)
    assert changed != source
    compile(changed, mutant.path, "exec")


@pytest.mark.system
def test_the_tests_of_mutants_are_there() -> None:
    """By their whole ids, parameters included, as pytest collects them."""
    require("jax", "torch")
    files = sorted({mutant.test.partition("::")[0] for mutant in MUTANTS})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-m", "", *files]
    collected = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
    assert len(collected) > 500
    # A test of many parameters may be named as a whole.
    known = {*collected, *(name.partition("[")[0] for name in collected)}
    assert {mutant.test for mutant in MUTANTS} <= known


def test_a_stale_mutant_is_named() -> None:
    mutant = MUTANTS[0]
    for source, count in (("", 0), (2 * mutant.old, 2)):
        with pytest.raises(ValueError, match=rf"^{mutant.name}: expected its text once in .*, found it {count} times$"):
            mutate(mutant, source)


@pytest.mark.slow
def test_every_mutant_is_killed() -> None:
    require("jax", "torch")
    result = subprocess.run([sys.executable, Path(__file__).with_name("mutants.py")], capture_output=True, text=True)
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
