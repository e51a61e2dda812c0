"""Complex numbers: tensors of a complex dtype, or in a compiled program pairs of tensors, real and imaginary part.

Half spectra consist of them. `torch.compile` generates no code for complex dtypes.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from blursim_torch._numerics import floored_sqrt_, in_memory, is_compiling, safe_sqrt

Complex = Tensor | tuple[Tensor, Tensor]


# PyTorch warns when it compiles a transform, because it generates no code for complex dtypes. These operators, which it
# does not look into, take and return real tensors. They have no derivative.
@torch.library.custom_op("blursim::rfft2", mutates_args=())
def _rfft2(x: Tensor) -> Tensor:
    return torch.view_as_real(torch.fft.rfft2(x)).contiguous()


@torch.library.custom_op("blursim::irfft2", mutates_args=())
def _irfft2(real: Tensor, imag: Tensor, height: int, width: int) -> Tensor:
    return torch.fft.irfft2(torch.complex(real, imag), s=(height, width)).contiguous()


@_rfft2.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], x.shape[-1] // 2 + 1, 2)


@_irfft2.register_fake
def _(real: Tensor, imag: Tensor, height: int, width: int) -> Tensor:
    return real.new_empty(*real.shape[:-2], height, width)


@_rfft2.register_vmap
def _(_: Any, in_dims: tuple, x: Tensor) -> tuple[Tensor, int]:
    return _rfft2(x.movedim(in_dims[0], 0)), 0


@_irfft2.register_vmap
def _(_: Any, in_dims: tuple, real: Tensor, imag: Tensor, height: int, width: int) -> tuple[Tensor, int]:
    return _irfft2(real.movedim(in_dims[0], 0), imag.movedim(in_dims[1], 0), height, width), 0


def rfft2(x: Tensor) -> Complex:
    """The half spectrum (..., H, W // 2 + 1) of planes. In a compiled program, it has no reverse mode."""
    if not is_compiling() or _has_tangents():
        return to_pair(torch.fft.rfft2(x))
    return _planar(_rfft2(x))


def irfft2(z: Complex, shape: tuple[int, int]) -> Tensor:
    """The planes of this height and width whose half spectrum is `z`. In a compiled program, it has no reverse mode."""
    if isinstance(z, Tensor):
        return torch.fft.irfft2(z, s=shape)
    return torch.fft.irfft2(torch.complex(*z), s=shape) if _has_tangents() else _irfft2(*z, *shape)


def to_pair(z: Tensor) -> Complex:
    """The same numbers, in a compiled program as a pair."""
    return _planar(torch.view_as_real(z)) if is_compiling() else z


def _planar(z: Tensor) -> tuple[Tensor, Tensor]:
    real, imag = z.unbind(-1)
    return in_memory(real.clone()), in_memory(imag.clone())


def _has_tangents() -> bool:
    """Whether forward mode is traced, for which custom operators have no rule."""
    return forward_ad._current_level >= 0


# Without a guard: a program traced in forward mode is never run outside it.
_has_tangents._dynamo_marked_constant = True  # type: ignore[attr-defined]


def rows_of(z: Complex, rows: slice) -> Complex:
    """These rows of half spectra (..., H, W // 2 + 1)."""
    return z[..., rows, :] if isinstance(z, Tensor) else (z[0][..., rows, :], z[1][..., rows, :])


def add(z: Complex, w: Complex) -> Complex:
    """The sum z + w."""
    return z + w if isinstance(z, Tensor) else (z[0] + w[0], z[1] + w[1])  # type: ignore[operator]


def subtract(z: Complex, w: Complex) -> Complex:
    """The difference z - w."""
    return z - w if isinstance(z, Tensor) else (z[0] - w[0], z[1] - w[1])  # type: ignore[operator]


def multiply_(z: Complex, w: Complex) -> Complex:
    """The product z w. If `z` is a tensor, it is overwritten."""
    if isinstance(z, Tensor):
        return z.mul_(w)  # type: ignore[arg-type]
    return z[0] * w[0] - z[1] * w[1], z[0] * w[1] + z[1] * w[0]


def scale(z: Complex, weight: Tensor) -> Complex:
    """The product of z and a real weight."""
    # PyTorch multiplies complex by complex numbers several times faster than complex by real ones.
    return z * weight.to(z.dtype) if isinstance(z, Tensor) else (z[0] * weight, z[1] * weight)


def dot(z: Complex, w: Complex) -> Tensor:
    """Re(z conj(w)), the inner product of complex numbers as vectors."""
    if not isinstance(z, Tensor):
        return z[0] * w[0] + z[1] * w[1]
    # On a CPU, this is faster than `z.real` and `z.imag`, which are strided.
    products = torch.view_as_real(z) * torch.view_as_real(w)  # type: ignore[arg-type]
    return products[..., 0] + products[..., 1]


def bin_magnitude(z: Complex) -> Tensor:
    """The magnitude of each bin, at least `least_magnitude`, with gradient 0 at 0."""
    return floored_sqrt_(dot(z, z))


def modulus(z: Complex) -> Tensor:
    """The magnitude of each bin, exactly 0 at 0 with gradient 0: to be summed, not to divide by."""
    return safe_sqrt(dot(z, z))
