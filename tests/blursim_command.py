"""The command `blursim` for the tests: in a process of its own, or in this one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.exceptions import TyperException

from blursim_jax.cli.app import app

BLURSIM = [sys.executable, "-m", "blursim_jax"]
LUMA = np.array([0.299, 0.587, 0.114])


def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it as a user does."""
    return subprocess.run([*BLURSIM, *map(str, arguments)], capture_output=True, text=True, **options)


def call(*arguments: Any) -> int | None:
    """The same in this process, several times faster; errors are exceptions."""
    return app(list(map(str, arguments)), standalone_mode=False)


def refusal(*arguments: Any) -> str:
    """The message of bad input, which `run` shows as one line."""
    with pytest.raises((TyperException, OSError, ValueError)) as caught:
        call(*arguments)
    return caught.value.format_message() if isinstance(caught.value, TyperException) else str(caught.value)


def compared(capsys: pytest.CaptureFixture[str], *arguments: Any) -> dict[str, Any]:
    """What `compare --json` prints."""
    capsys.readouterr()
    call("compare", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def grey(path: Path) -> np.ndarray:
    """A picture of 8-bit colours in grey, 0..255."""
    with Image.open(path) as image:
        return (np.asarray(image) @ LUMA).astype(np.float32)
