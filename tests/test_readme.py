"""The README's Python snippets run as they stand, one after the other, and print what stands below them."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SNIPPET = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)


def test_snippets_run_and_print_what_is_shown() -> None:
    snippets = SNIPPET.findall(README)
    assert len(snippets) >= 3
    # A line between them, so that each one's output is its own.
    program = "\nprint('----')\n".join(code for code, _ in snippets)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    for printed, (_, shown) in zip(result.stdout.split("----\n"), snippets, strict=True):
        assert printed == shown


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
