"""Python snippets of README and docs run as they stand, a section's one after the other, and print what is below."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cases import PRINTED
from frameworks import NAMES, require

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPET = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Of every page the snippets of each section, each with what it prints.
SECTIONS = {
    page.stem: [SNIPPET.findall(text) for text in re.split(r"^##+ ", page.read_text(), flags=re.MULTILINE)]
    for page in PAGES
    # The page on the command has commands among its snippets: a test of its own has it.
    if page.stem != "command_line"
}
# A page's sections run in one process, but where they say on how many devices.
ALONE = "jax_num_cpu_devices"
PARTS = [
    pytest.param(part, id=f"{page}-{i}", marks=() if page == "README" else pytest.mark.system)
    for page, sections in SECTIONS.items()
    for i, part in enumerate([[x] for x in sections] if ALONE in str(sections) else [sections])
    if any(part)
]
# Runs them with the names of their section, and a line after each, so that each one's output is its own.
RUN = """
import json, sys
for section in json.load(sys.stdin):
    names = {"__name__": "__main__"}
    for code in section:
        exec(code, names)
        print("----", flush=True)
"""
NUMBER = re.compile(r"\d+(?:\.\d+)?")


# README at every run, the documentation with the system tests.
@pytest.mark.parametrize("part", PARTS)
def test_snippets_run_and_print_what_is_shown(part: list[list[tuple[str, str]]]) -> None:
    require(*NAMES, "flax", "optax", "torchmetrics")
    sections = [[code for code, _ in section] for section in part]
    command = [sys.executable, "-W", "error", "-c", RUN]
    result = subprocess.run(command, input=json.dumps(sections), capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    *printed, end = result.stdout.split("----\n")
    assert not end
    for found, (_, shown) in zip(printed, itertools.chain(*part), strict=True):
        assert found == shown


@pytest.mark.system
def test_the_page_on_the_command_line_prints_what_is_shown(tmp_path: Path) -> None:
    """Its snippets and commands in their order in one folder, but those that install."""
    require("jax", "typer", "skimage", "matplotlib", "PIL")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
    page = (ROOT / "docs" / "command_line.md").read_text()
    blocks = re.findall(r"```(python|bash)\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", page, re.DOTALL)
    compared = 0
    for language, code, shown in blocks:
        if "pip install" in code:
            continue
        command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euc", code]
        result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert result.returncode == 0, result.stderr
        if shown:
            compared += 1
            printed = [line.rstrip() for line in result.stdout.splitlines()]
            assert [NUMBER.sub("#", line) for line in printed] == [NUMBER.sub("#", line) for line in shown.splitlines()]
            # The last digits are the processor's.
            numbers, expected = ([float(x) for x in NUMBER.findall(text)] for text in (result.stdout, shown))
            assert numbers == pytest.approx(expected, rel=PRINTED)
    assert compared >= 4


def test_there_are_snippets_of_both_packages() -> None:
    code = "".join(snippet for sections in SECTIONS.values() for snippet, _ in itertools.chain(*sections))
    for name in NAMES:
        assert code.count(f"from blursim_{name}") >= 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    text = page.read_text()
    assert "@@" not in text
    for name in re.findall(r"<!-- end of (.*?) -->", text):
        assert re.search(rf"<!-- {name} -->\n[^<]+<!-- end of {name} -->", text), name


def test_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    for target in targets:
        if not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def test_the_two_commands_stand_under_their_marks() -> None:
    """`.ci/run` reads them from here."""
    for mark in ("demo", "test"):
        assert len(re.findall(rf"^<!-- {mark} -->\n```bash\n.*?\n```$", README, re.MULTILINE | re.DOTALL)) == 1
