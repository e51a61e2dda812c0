"""Square root, division and norm that are 0, never NaN, where the plain ones have no value or gradient; and strips."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

# On a CPU planes of more than twice as many pixels go through in strips: that takes fewer tensors of a plane's size,
# whose memory is had anew at every call, and what is left stays in cache.
STRIP_PIXELS = 2**18


def safe_sqrt(x: Tensor) -> Tensor:
    """The square root, with gradient 0 (not inf) at 0."""
    return safe_divide(x, torch.sqrt(_positive(x)))


def safe_divide(x: Tensor, y: Tensor) -> Tensor:
    """The quotient by what is at least 0, with value and gradients 0 where that is 0."""
    return x / _positive(y)


def divide_above(least: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The quotient, with value and gradients 0 where the divisor is not above its least."""
    # By way of the difference, because masks of bool are several times slower on a CPU.
    return x / torch.threshold_(y - least, 0, torch.inf).add_(least)


def magnitude(x: Tensor, y: Tensor) -> Tensor:
    """The length of vectors, no shorter than `least_magnitude`."""
    # Not hypot, whose gradient at 0 is NaN.
    return square_root_(torch.addcmul(x * x, y, y))


def square_root_(x: Tensor) -> Tensor:
    """The square root, in place, no smaller than `least_magnitude`, so that it divides and has gradient 0 at 0."""
    tiny = torch.finfo(x.dtype).tiny
    return torch.threshold_(x, tiny, tiny).sqrt_()


def least_magnitude(dtype: torch.dtype) -> float:
    """What `magnitude` gives for vectors of no length."""
    return torch.finfo(dtype).tiny ** 0.5


def norm(x: Tensor) -> Tensor:
    """The Frobenius norm of every plane, (..., H, W) to (...), with gradient 0 at 0."""
    return safe_sqrt(plane_sum(x * x))


def plane_sum(x: Tensor, *, keepdim: bool = False) -> Tensor:
    """The sum of every plane, (..., H, W) to (...)."""
    # Not both at once: PyTorch would split a large plane among its threads, and round by how many there are.
    return torch.sum(torch.sum(x, dim=-1, keepdim=keepdim), dim=-2 if keepdim else -1, keepdim=keepdim)


def plane_mean(x: Tensor) -> Tensor:
    """The mean of every plane, (..., H, W) to (..., 1, 1)."""
    return plane_sum(x, keepdim=True) / (x.shape[-2] * x.shape[-1])


def per_plane(x: Tensor) -> Tensor:
    """Give one number a plane, (...), the shape (..., 1, 1) that multiplies planes."""
    return x[..., None, None]


def strips_of(x: Tensor, margin: int = 0) -> list[slice]:
    """The rows by which to go through planes (..., H, W), not few beside the margins that they will be given."""
    height, width = x.shape[-2:]
    if torch.compiler.is_compiling() or x.device.type != "cpu" or height * width <= 2 * STRIP_PIXELS:
        return [slice(None)]
    rows = max(1, STRIP_PIXELS // width, 4 * margin)
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def join_strips(parts: Sequence[Tensor]) -> Tensor:
    """Planes out of strips of their rows."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=-2)


def add_strips(parts: Sequence[Tensor]) -> Tensor:
    """Sums over planes out of sums over strips of their rows."""
    return functools.reduce(torch.add, parts)


def _positive(x: Tensor) -> Tensor:
    """Put inf in place of 0: a quotient by it is 0, and so are all its derivatives."""
    # On a CPU several times faster than two `where`s, and than `masked_fill`.
    return torch.nn.functional.threshold(x, 0, torch.inf)
