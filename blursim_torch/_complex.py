"""Complex numbers: tensors of a complex dtype, or in a compiled program pairs of tensors, real and imaginary part.

Half spectra consist of them. `torch.compile` generates no code for complex dtypes.
"""

import torch
from torch import Tensor

from blursim_torch._numerics import floored_sqrt_, in_memory, is_compiling, safe_sqrt

Complex = Tensor | tuple[Tensor, Tensor]


def to_pair(z: Tensor) -> Complex:
    """The same numbers, in a compiled program as a pair."""
    if not is_compiling():
        return z
    real, imag = torch.view_as_real(z).unbind(-1)
    return in_memory(real.clone()), in_memory(imag.clone())


def from_pair(z: Complex) -> Tensor:
    """The same numbers as a tensor of a complex dtype."""
    return z if isinstance(z, Tensor) else torch.complex(*z)


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
