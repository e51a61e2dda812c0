"""Neither package needs the other's framework, importing starts nothing, and these tests can fail."""

import os
import platform
import subprocess
import sys

import pytest
from frameworks import require
from processes import ROOT
from processes import run_code as run

# What a package may not load: the other framework, the other package, and what only examples and tests need.
FOREIGN = {
    "jax": {"torch", "blursim_torch", "flax", "optax", "cv2", "matplotlib", "scipy.ndimage", "skimage"},
    "torch": {"jax", "jaxlib", "blursim_jax", "flax", "optax", "torchmetrics", "cv2", "matplotlib", "scipy", "skimage"},
}
USE = {
    "jax": "import numpy as np; x = np.eye(8, dtype=np.float32); blursim_jax.blursim_maps(x, x); "
    "import jax; jax.grad(blursim_jax.blursim)(x, x)",
    "torch": "import torch; x = torch.eye(8, requires_grad=True); blursim_torch.blursim_maps(x, x); "
    "blursim_torch.blursim(x, x).backward()",
}
# Notes connections, and files opened for writing: an audit hook sees them whoever catches the exception.
WATCH = """
import os, sys
seen = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo") or event == "open" and arguments[2] & os.O_ACCMODE:
        seen.append(event)
sys.addaudithook(watch)
"""


def loaded_by(code: str, names: set[str]) -> set[str]:
    """Which of these modules a new process has loaded after running `code`."""
    result = run(f"{code}; import sys; print(*sorted({names!r} & set(sys.modules)))")
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def touched_by(name: str, code: str) -> list[str]:
    """What a new process that has imported the framework connects to, or opens for writing, in `code`."""
    # Without the cache that the tests have JAX write.
    environment = {key: value for key, value in os.environ.items() if key != "JAX_COMPILATION_CACHE_DIR"}
    program = f"import sys, {name}; sys.dont_write_bytecode = True{WATCH}\n{code}\nprint(*seen)"
    result = run(program, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_a_package_loads_nothing_foreign(name: str) -> None:
    require(name)
    assert not loaded_by(f"import blursim_{name}; from blursim_{name} import *; {USE[name]}", FOREIGN[name])


@pytest.mark.parametrize("name", ["jax", "torch"])
@pytest.mark.system
def test_a_package_works_where_nothing_foreign_is_installed(name: str) -> None:
    require(name)
    hidden = {module.partition(".")[0] for module in FOREIGN[name]} - {"scipy"}
    result = run(f"import blursim_{name}; {USE[name]}", hidden)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["jax", "torch"])
@pytest.mark.system
def test_a_package_opens_no_connection_and_no_file_for_writing(name: str) -> None:
    require(name)
    assert not touched_by(name, f"import blursim_{name}; {USE[name]}")


@pytest.mark.parametrize("name", ["jax", "torch"])
@pytest.mark.system
def test_importing_a_package_changes_nothing_of_the_process(name: str) -> None:
    require(name)
    result = run(f"""
import logging, os, random, signal, sys, threading, warnings, numpy, {name}
def state():
    return (
        dict(os.environ), os.getcwd(), list(sys.path), list(sys.meta_path), list(warnings.filters), random.getstate(),
        str(numpy.random.get_state()), numpy.geterr(), list(logging.root.handlers), threading.enumerate(),
        [signal.getsignal(number) for number in signal.valid_signals()],
    )
before = state()
from blursim_{name} import *
assert state() == before
""")
    assert result.returncode == 0, result.stderr


@pytest.mark.system
@pytest.mark.parametrize("name", ["jax", "torch"])
def test_these_tests_can_fail(name: str) -> None:
    require(name)
    # Port 9 of this machine, where nobody listens.
    connect = "import socket; socket.socket().connect_ex(('127.0.0.1', 9)); socket.getaddrinfo('127.0.0.1', 9)"
    write = "open(os.devnull, 'w'); os.open(os.devnull, os.O_RDWR); open(os.devnull)"
    assert touched_by(name, f"{connect}; {write}") == ["socket.connect", "socket.getaddrinfo", "open", "open"]
    (other,) = {"jax", "torch"} - {name}
    # A module of the other's name stands for one that is not installed.
    fake = f"import sys, types; sys.modules[{other!r}] = types.ModuleType({other!r})"
    assert loaded_by(f"{fake}; import blursim_{name}", FOREIGN[name]) == {other}
    result = run(f"from blursim_{name} import blursim", {name})
    assert result.returncode == 1
    assert f"No module named '{name}" in result.stderr
    assert result.stderr.rstrip().endswith(f": pip install 'blursim[{name}]'")


def test_importing_jax_starts_nothing() -> None:
    """No setting changed, no computation: not even the backend is started."""
    require("jax")
    code = (
        "import sys, jax; before = dict(jax.config.values); from blursim_jax import *; "
        "assert dict(jax.config.values) == before; assert not jax._src.xla_bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)


@pytest.mark.system
def test_importing_and_using_torch_changes_no_setting() -> None:
    require("torch")
    code = f"""
import torch
def settings():
    return (
        torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32,
        torch.get_rng_state().tolist(), torch.is_autocast_enabled("cpu"), torch.get_default_device(),
    )
before = settings()
import blursim_torch
{USE["torch"]}
assert settings() == before
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("use", ["eager", "compiled", "the user's own threshold"])
@pytest.mark.system
def test_torch_keeps_freed_memory(use: str) -> None:
    """Otherwise glibc returns the temporaries to the system after every call: half the time is that of page faults."""
    require("torch")
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the allocator of another C library")
    code = f"""
import resource, torch
from blursim_torch import blursim
loss = torch.compile(blursim, backend="eager") if {use == "compiled"} else blursim
loss(*torch.rand(2, 8, 8))
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    temporaries = [torch.ones(2**22) for _ in range(10)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
    own = {"MALLOC_TRIM_THRESHOLD_": str(2**17)} if use == "the user's own threshold" else {}
    result = run(code, env=os.environ | own)
    assert result.returncode == 0, result.stderr
    # Ten temporaries, of the size of a plane of 2048x2048, have 40960 pages.
    assert (int(result.stdout) < 10000) == (not own)
