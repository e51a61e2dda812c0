"""Functions of the test files, run in a process of their own: its memory, threads and environment are nobody else's."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
RUN = (
    "import json, sys; sys.path.insert(0, {!r}); from {} import {} as f; print(json.dumps(f(*json.loads(sys.argv[1]))))"
)


def in_new_process(function: Callable, *arguments: Any, timeout: float = 3600, **environment: str) -> Any:
    """What `function`, of a module, returns there; arguments and result are as JSON has them."""
    code = RUN.format(str(TESTS), function.__module__, function.__name__)
    # One thread and one device unless it is asked for more.
    settings = os.environ | {"XLA_FLAGS": "", "OMP_NUM_THREADS": "1"} | environment
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, json.dumps(arguments)],
        capture_output=True,
        text=True,
        cwd=TESTS.parent,
        env=settings,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
