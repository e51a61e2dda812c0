"""Loss and gradient compiled and carried away: the same bits in a process that cannot import the package."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import NORMALIZATIONS, SPECTRA, noise
from frameworks import require
from processes import run_code

pytestmark = pytest.mark.system

A, B = noise(4, 3, 16, 20)
CASES = [
    pytest.param(*case, marks=() if case == ("magnitude", "relative") else pytest.mark.slow)
    for case in itertools.product(SPECTRA, NORMALIZATIONS)
]
cases = pytest.mark.parametrize(("spectrum", "normalization"), CASES)


def elsewhere(folder: Path, package: str, code: str) -> list[np.ndarray]:
    """The arrays `found` that `code` makes of `a` and `b` in a process where the package is not installed."""
    np.savez(folder / "images.npz", a=A, b=B)
    program = f"""
import numpy as np
try:
    import {package}
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("it can be imported")
a, b = np.load("images.npz").values()
{code}
np.savez("found.npz", *[np.asarray(x) for x in found])
"""
    result = run_code(program, {package}, cwd=folder)
    assert result.returncode == 0, result.stderr
    return list(np.load(folder / "found.npz").values())


def same_bits(found: list[np.ndarray], expected: Any) -> None:
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, np.asarray(y))


@cases
def test_jax_export(spectrum: Any, normalization: Any, tmp_path: Path) -> None:
    """Value and gradient, as StableHLO for three platforms, with alpha as data."""
    require("jax", "flatbuffers")
    import jax
    import jax.export

    from blursim_jax import blursim

    def loss(a: jax.Array, b: jax.Array, alpha: jax.Array) -> jax.Array:
        return blursim(a, b, alpha=alpha, spectrum=spectrum, normalization=normalization)

    arguments = A, B, np.float32(0.3)
    step = jax.jit(jax.value_and_grad(loss))
    exported = jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(*arguments)
    (tmp_path / "loss.bin").write_bytes(exported.serialize())
    code = """
import jax.export, pathlib
value, gradient = jax.export.deserialize(bytearray(pathlib.Path("loss.bin").read_bytes())).call(a, b, np.float32(0.3))
found = value, gradient
"""
    same_bits(elsewhere(tmp_path, "blursim_jax", code), step(*arguments))


@cases
def test_torch_export(spectrum: Any, normalization: Any, tmp_path: Path) -> None:
    """Value, and value and gradient, which `make_fx` writes out first."""
    require("torch")
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    from blursim_torch import BlurSim

    loss = BlurSim(0.3, spectrum=spectrum, normalization=normalization)
    images = torch.from_numpy(A), torch.from_numpy(B)
    step = torch.func.grad_and_value(loss)
    torch.export.save(torch.export.export(loss, images), tmp_path / "loss.pt2")
    written_out = make_fx(step, tracing_mode="symbolic")(*images)
    torch.export.save(torch.export.export(written_out, images), tmp_path / "step.pt2")
    code = """
import torch
images = torch.from_numpy(a), torch.from_numpy(b)
found = [torch.export.load("loss.pt2").module()(*images), *torch.export.load("step.pt2").module()(*images)]
"""
    same_bits(elsewhere(tmp_path, "blursim_torch", code), [loss(*images), *step(*images)])


MISCOUNTED = pytest.mark.xfail(raises=RuntimeError, reason="PyTorch 2.13 miscounts what it gives to complex operations")


@pytest.mark.slow
@pytest.mark.parametrize(
    "spectrum",
    ["complex", "complex_l1", *(pytest.param(spectrum, marks=MISCOUNTED) for spectrum in ("magnitude", "log"))],
)
# PyTorch warns of its own calls, and that it leaves complex operations to its kernels.
@pytest.mark.filterwarnings("ignore:.*deprecated", "ignore:Torchinductor does not support code generation for complex")
def test_torch_compiled_ahead_of_time(spectrum: Any, tmp_path: Path) -> None:
    require("torch")
    import torch

    from blursim_torch import BlurSim

    loss, images = BlurSim(spectrum=spectrum), (torch.from_numpy(A), torch.from_numpy(B))
    program = torch.export.export(loss, images)
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "loss.pt2"))
    torch.testing.assert_close(torch._inductor.aoti_load_package(package)(*images), loss(*images))
