"""Work in processes of its own: functions of the test files, code without certain modules, commands with their cost."""

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
from typing import Any, NamedTuple

TESTS = Path(__file__).parent
ROOT = TESTS.parent
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
# Modules that an import may not find, as if they were not installed.
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""
# Starts a command and reports its cost. On Linux the peak memory of a process, as `wait4` reports it, includes that of
# the process that started it: 500 MiB for a test process, 10 MiB for this launcher.
MEASURE = """
import json, os, sys
report = int(sys.argv[1])
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ, file_actions=[(os.POSIX_SPAWN_CLOSE, report)])
_, status, usage = os.wait4(pid, 0)
seconds = usage.ru_utime + usage.ru_stime
os.write(report, json.dumps([os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss]).encode())
"""


class Measured(NamedTuple):
    """How a command ended and what it took: seconds of the processor, and MiB at the most."""

    status: int
    output: str
    errors: str
    seconds: float
    memory: float


def measured(*command: Any, timeout: float = 600, **options: Any) -> Measured:
    """Run a command; unlike wall-clock time, that of the processor hardly depends on what else the machine does.

    XLA compiles as it does for users. With the flags of conftest.py, programs take more memory.
    """
    options["env"] = options.get("env", os.environ) | {"XLA_FLAGS": ""}
    read, write = os.pipe()
    launcher = [sys.executable, "-I", "-S", "-c", MEASURE, str(write), *map(str, command)]
    try:
        found = subprocess.run(
            launcher, capture_output=True, text=True, pass_fds=[write], timeout=timeout, check=True, **options
        )
    finally:
        os.close(write)
    with os.fdopen(read) as file:
        status, seconds, kilobytes = json.load(file)
    return Measured(status, found.stdout, found.stderr, seconds, kilobytes / 1024)


def run_code(code: str, hidden: set[str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in a new process, where the `hidden` modules seem not to be installed."""
    head = HIDE.format(hidden=hidden) if hidden else ""
    return subprocess.run(
        [sys.executable, "-c", f"{head}{code}"], capture_output=True, text=True, **{"cwd": ROOT, **options}
    )


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
            # A process that is killed may leave a truncated entry in the cache.
            stack.enter_context(
                _start(function, (rank, count, meeting, *arguments), 0, {"JAX_COMPILATION_CACHE_DIR": ""})
            )
            for rank in range(count)
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
        cwd=ROOT,
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
