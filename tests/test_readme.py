"""Python snippets of README and docs run as they stand, a section's one after the other, and print what is below."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from frameworks import NAMES, require

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPET = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SECTIONS = {
    f"{page.stem}: {text.partition(chr(10))[0]}": SNIPPET.findall(text)
    for page in PAGES
    # The page on the command has commands among its snippets: a test of its own has it.
    if page.stem != "command_line"
    for text in re.split(r"^##+ ", page.read_text(), flags=re.MULTILINE)
}
NUMBER = re.compile(r"\d+(?:\.\d+)?")
# What a snippet imports, and the framework whose tests need it.
OPTIONAL = {"optax": "jax", "flax": "jax", "torchmetrics": "torch"}


@pytest.mark.parametrize("title", [title for title, snippets in SECTIONS.items() if snippets])
def test_snippets_run_and_print_what_is_shown(title: str) -> None:
    snippets = SECTIONS[title]
    # A line between them, so that each one's output is its own.
    program = "\nprint('----')\n".join(code for code, _ in snippets)
    for name in NAMES:
        others = [library for library, framework in OPTIONAL.items() if framework == name and library in program]
        if f"blursim_{name}" in program or others:
            require(name, *others)
    result = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    for printed, (_, shown) in zip(result.stdout.split("----\n"), snippets, strict=True):
        assert printed == shown


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
            assert numbers == pytest.approx(expected, rel=1e-4)
    assert compared >= 4


def test_there_are_snippets_of_both_packages() -> None:
    code = "".join(snippet for snippets in SECTIONS.values() for snippet, _ in snippets)
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
