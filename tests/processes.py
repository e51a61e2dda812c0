"""Functions of the test files, run in a process of their own: its memory, threads and environment are nobody else's."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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
print(json.dumps(f(*json.loads(sys.argv[1]))), flush=True)
if "torch" in sys.modules:
    # The threads of gloo abort, now and then, a process that ends by itself.
    os._exit(0)
"""


def in_new_process(
    function: Callable, *arguments: Any, timeout: float = 3600, cores: int = 0, **environment: str
) -> Any:
    """What `function`, of a module, returns there, on so many cores (0: all); arguments and result are as in JSON."""
    process = _start(function, arguments, cores, environment)
    with process:
        return _result(process, timeout)


def in_new_processes(function: Callable, count: int, *arguments: Any, timeout: float = 300) -> list[Any]:
    """What `function` returns in each of so many processes."""
    with new_processes(function, count, *arguments) as processes:
        end = time.monotonic() + timeout
        return [_result(process, end - time.monotonic()) for process in processes]


@contextlib.contextmanager
def new_processes(function: Callable, count: int, *arguments: Any) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that call `function` with their rank, their count and where they meet.

    They meet in a file that is not there yet (PyTorch), or at a port of this machine that nobody uses (JAX).
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        meeting = {"file": f"{folder}/meeting", "address": address}
        processes = [
            stack.enter_context(_start(function, (rank, count, meeting, *arguments), 0, {})) for rank in range(count)
        ]
        # Before they are waited for, which the stack does last.
        stack.callback(lambda: [process.kill() for process in processes])
        yield processes


def _start(function: Callable, arguments: tuple, cores: int, environment: dict[str, str]) -> subprocess.Popen[str]:
    code = RUN.format(cores, str(TESTS), function.__module__, function.__name__)
    # One device, and one thread unless it is asked for more.
    settings = os.environ | {"XLA_FLAGS": "", "OMP_NUM_THREADS": str(cores or 1)} | environment
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=TESTS.parent,
        env=settings,
    )


def _result(process: subprocess.Popen[str], timeout: float) -> Any:
    try:
        output, errors = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        raise
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])
