"""Python snippets of README and docs run as they stand, a section's one after the other, and print what is below."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from frameworks import NAMES, require

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPET = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)
PAGES = README, *(path.read_text() for path in sorted((ROOT / "docs").glob("*.md")))
SECTIONS = {
    text.partition("\n")[0]: SNIPPET.findall(text)
    for page in PAGES
    for text in re.split(r"^##+ ", page, flags=re.MULTILINE)
}
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


def test_there_are_snippets_of_both_packages() -> None:
    code = "".join(snippet for snippets in SECTIONS.values() for snippet, _ in snippets)
    for name in NAMES:
        assert code.count(f"from blursim_{name}") >= 2


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README


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
