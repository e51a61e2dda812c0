"""Functions of the test files, run in a process of their own: its memory, threads and environment are nobody else's."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
# The cores are chosen before anything counts them.
RUN = """
import json, os, sys
if {0}:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{0}])
sys.path.insert(0, {1!r})
from {2} import {3} as f
print(json.dumps(f(*json.loads(sys.argv[1]))))
"""


def in_new_process(
    function: Callable, *arguments: Any, timeout: float = 3600, cores: int = 0, **environment: str
) -> Any:
    """What `function`, of a module, returns there, on so many cores (0: all); arguments and result are as in JSON."""
    code = RUN.format(cores, str(TESTS), function.__module__, function.__name__)
    # One device, and one thread unless it is asked for more.
    settings = os.environ | {"XLA_FLAGS": "", "OMP_NUM_THREADS": str(cores or 1)} | environment
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
