"""Python snippets of README and docs run as they stand, a section's one after the other, and print what is below."""

import ast
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from cases import PRINTED
from frameworks import EXTRAS, NAMES, require

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
# Those in tabs are indented.
SNIPPET = re.compile(r"^( *)```python\n(.*?)^\1```\n(?:\n\1```text\n(.*?)^\1```\n)?", flags=re.DOTALL | re.MULTILINE)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Characters of code that fit beside both side bars of the site.
WIDTH = 85
# The snippets of a section or a tab, each with what it prints.
Section = list[tuple[str, str]]


def sections_of(page: str) -> list[Section]:
    """The snippets of each section, and in a section with tabs of each tab."""
    parts = re.split(r"^(?:##+|===) ", page, flags=re.MULTILINE)
    return [[(textwrap.dedent(x[1]), textwrap.dedent(x[2])) for x in SNIPPET.findall(part)] for part in parts]


SECTIONS = {
    page.stem: sections_of(page.read_text())
    for page in PAGES
    # The page on the command has commands among its snippets: a test of its own has it.
    if page.stem != "command_line"
}
# A page's sections run in one process, but those that say on how many devices, and that of a library in no extra.
ALONE = ("jax_num_cpu_devices", "import lightning")


def processes_of(sections: list[Section]) -> list[list[Section]]:
    """What runs in one process, and what runs alone."""
    alone = [[x] for x in sections if any(word in str(x) for word in ALONE)]
    return [[x for x in sections if [x] not in alone], *alone]


PARTS = [
    pytest.param(part, id=f"{page}-{i}", marks=() if page == "README" else pytest.mark.system)
    for page, sections in SECTIONS.items()
    for i, part in enumerate(processes_of(sections))
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


def imported(code: str) -> set[str]:
    """The packages that a snippet imports."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


# README at every run, the documentation with the system tests.
@pytest.mark.parametrize("part", PARTS)
def test_snippets_run_and_print_what_is_shown(part: list[Section]) -> None:
    modules = set().union(*(imported(code) for code, _ in itertools.chain(*part)))
    require(*NAMES, *sorted(modules & EXTRAS.keys()))
    # In no extra, because it brings a dozen packages for one snippet: so this one runs where it is installed.
    if "lightning" in modules and importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning not installed: pip install lightning")
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


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem in SECTIONS], ids=lambda page: page.stem)
def test_no_snippet_is_left_out(page: Path) -> None:
    assert sum(map(len, SECTIONS[page.stem])) == page.read_text().count("```python\n")


@pytest.mark.parametrize("page", [*PAGES[1:], *sorted((ROOT / "docs").glob("*.ipynb"))], ids=lambda page: page.name)
def test_code_fits_the_column(page: Path) -> None:
    """Its width on the site: docs/site.css."""
    if page.suffix == ".ipynb":
        cells = [cell["source"] for cell in json.loads(page.read_text())["cells"] if cell["cell_type"] == "code"]
        lines = [line.rstrip("\n") for cell in cells for line in cell]
    else:
        blocks = re.findall(r"^( *)```(?:python|bash)\n(.*?)^\1```$", page.read_text(), re.DOTALL | re.MULTILINE)
        lines = [line for _, code in blocks for line in textwrap.dedent(code).splitlines()]
    assert [line for line in lines if len(line) > WIDTH] == []


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
