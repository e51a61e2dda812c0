"""Square root, division and norm whose gradient at 0 is 0, not NaN or inf; sums over planes."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class ScaledPlanes(NamedTuple):
    """Planes (..., H, W) to be multiplied by a factor per plane (...). One pass then applies several factors."""

    planes: Tensor
    factor: Tensor


def safe_sqrt(x: Tensor) -> Tensor:
    """The square root, with gradient 0 (not inf) at 0."""
    return safe_divide(x, torch.sqrt(_inf_for_zero(x)))


def safe_divide(x: Tensor, y: Tensor) -> Tensor:
    """The quotient by a nonnegative divisor, with value and gradients 0 where the divisor is 0."""
    return x / _inf_for_zero(y)


def divide_above(floor: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The quotient, with value and gradients 0 where the divisor does not exceed its floor."""
    # On a CPU, comparing by a difference is several times faster than by boolean masks.
    return x / torch.threshold_(y - floor, 0, torch.inf).add_(floor)


def magnitude(x: Tensor, y: Tensor) -> Tensor:
    """The magnitude of vectors, at least `least_magnitude`."""
    # The gradient of `hypot` at 0 is NaN.
    return floored_sqrt_(torch.addcmul(x * x, y, y))


def floored_sqrt_(x: Tensor) -> Tensor:
    """The square root, in place, at least `least_magnitude`: a divisor with gradient 0 at 0."""
    tiny = torch.finfo(x.dtype).tiny
    return torch.threshold_(x, tiny, tiny).sqrt_()


def least_magnitude(dtype: torch.dtype) -> float:
    """The value of `magnitude` for zero vectors."""
    return torch.finfo(dtype).tiny ** 0.5


def plane_sum(x: Tensor, *, keepdim: bool = False) -> Tensor:
    """The sum over each plane, (..., H, W) to (...)."""
    if is_compiling():
        return torch.sum(x, dim=(-2, -1), keepdim=keepdim)
    # A sum over both axes at once would be split among threads, and its rounding would depend on their number.
    return torch.sum(torch.sum(x, dim=-1, keepdim=keepdim), dim=-2 if keepdim else -1, keepdim=keepdim)


def plane_mean(x: Tensor) -> Tensor:
    """The mean of each plane, (..., H, W) to (..., 1, 1)."""
    return plane_sum(x, keepdim=True) / plane_area(x)


def plane_area(x: Tensor) -> int | Tensor:
    """The number of pixels of a plane."""
    area: Any = x.shape[-2] * x.shape[-1]
    # `torch.jit.trace` gives sizes as integer tensors, whose powers are float32.
    return area.double() if is_tracing() else area


def is_tracing() -> bool:
    """Whether `torch.jit.trace` records."""
    return torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def is_compiling() -> bool:
    """Whether `torch.compile` traces. `torch.export` keeps the operations of eager mode, which give the same bits."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


def has_symbolic_sizes() -> bool:
    """Whether sizes are symbols, because a program is compiled or traced that is to serve all."""
    return torch.compiler.is_compiling() or is_tracing()


def in_memory(x: Tensor) -> Tensor:
    """`x` itself. A compiled program writes it to memory, and does not compute it anew at each of its reads."""
    return torch.as_strided(x, x.shape, x.stride()) if is_compiling() else x


def norm(x: Tensor) -> Tensor:
    """The Frobenius norm of each plane, (..., H, W) to (...), with gradient 0 at 0."""
    return safe_sqrt(plane_sum(x * x))


def per_plane(x: Tensor) -> Tensor:
    """Reshape one number per plane, (...), to (..., 1, 1), which broadcasts over planes."""
    return x[..., None, None]


def _inf_for_zero(x: Tensor) -> Tensor:
    """Replace numbers that are not positive by inf: a quotient by inf is 0, and so are all its derivatives."""
    # On a CPU several times faster than two `where`s or `masked_fill`.
    return torch.nn.functional.threshold(x, 0, torch.inf)
