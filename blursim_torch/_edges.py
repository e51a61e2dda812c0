r"""Specific: the difference of two planes' Sobel gradient magnitudes.

Every function takes planes (..., H, W) of one floating dtype and works on each by itself. As in `_spectrum`, Specific
is a distance, symmetric in the two planes, times a scale that depends on the second alone.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch._checks import Options
from blursim_torch._numerics import divide_above, least_magnitude, magnitude, norm, per_plane, plane_sum, safe_divide
from blursim_torch._taps import sobel_gain

# An edge of at most this many rounding errors has a magnitude, but no direction. In photos of 8 bits the derivatives of
# thousands of pixels cancel but for the rounding of the pixels, by 0.71 at the most, and were 1e-3 of the gradient.
DEAD_ZONE = 1


class Edges(NamedTuple):
    """Horizontal and vertical derivative of planes, and their gradient magnitude, each (..., H, W)."""

    x: Tensor
    y: Tensor
    magnitude: Tensor


def specific(a: Tensor, b: Tensor, options: Options) -> Tensor:
    """Specific of every plane pair, (..., H, W) to (...)."""
    e, _, edges_b = edge_difference(a, b, options.sobel_kernel_size)
    return norm(e) * scale(edges_b, options)


def specific_gradient(a: Tensor, b: Tensor, options: Options, argument: int) -> tuple[Tensor, Tensor]:
    """Specific with its gradient by `a` (argument 0) or by `b` (argument 1)."""
    size = options.sobel_kernel_size
    e, edges, others = edge_difference(*((a, b) if argument == 0 else (b, a)), size)
    distance, factor = norm(e), scale(others if argument == 0 else edges, options)
    value = distance * factor
    least = _rounding_error(a if argument == 0 else b, size)
    weight = divide_above(least, e, edges.magnitude).mul_(per_plane(safe_divide(factor, distance)))
    if argument == 1 and options.normalization == "relative":
        weight = weight - per_plane(value * factor * factor)
    x, y = weight * edges.x, weight * edges.y
    # Memory that is let go before more is taken is still in cache, and stays with the process.
    del e, edges, others, weight
    return value, sobel_transpose(x, y, size)


def scale(edges_b: Edges, options: Options) -> Tensor:
    """What the distance is multiplied by, (..., H, W) to (...)."""
    area = edges_b.x.shape[-2] * edges_b.x.shape[-1]
    if options.normalization == "relative":
        floor = area * (sobel_gain(options.sobel_kernel_size) * options.grey_level()) ** 2
        return 1 / torch.sqrt(plane_sum(edges_b.magnitude * edges_b.magnitude) + floor)
    return edges_b.x.new_full(edges_b.x.shape[:-2], 1 / options.white) / area


def _rounding_error(x: Tensor, size: int) -> Tensor:
    """Up to what magnitude the edges of a plane can be rounding errors, (..., H, W) to (..., 1, 1)."""
    x = x.detach()
    largest = torch.maximum(torch.amax(x, dim=(-2, -1), keepdim=True), -torch.amin(x, dim=(-2, -1), keepdim=True))
    least = DEAD_ZONE * torch.finfo(x.dtype).eps * sobel_gain(size) * largest
    return torch.clamp(least, min=least_magnitude(x.dtype))


def edge_difference(a: Tensor, b: Tensor, size: int) -> tuple[Tensor, Edges, Edges]:
    """The difference e = E(a) - E(b) and the edges of both planes, from those of `a` and of a - b."""
    ax, ay = sobel(a, size)
    dx, dy = sobel(a - b, size)
    bx, by = ax - dx, ay - dy
    edges_a, edges_b = Edges(ax, ay, magnitude(ax, ay)), Edges(bx, by, magnitude(bx, by))
    # As for the spectra: E(a)^2 - E(b)^2 from the difference, over E(a) + E(b).
    e = torch.addcmul(dx.mul_(ax + bx), dy, ay + by).div_(edges_a.magnitude + edges_b.magnitude)
    return e, edges_a, edges_b


def sobel(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical Sobel derivative with raw integer taps and reflect-101 border.

    A kernel of size 5 or 7 is that of size 3 after smoothing both ways by (1, 2, 1) once or twice.
    """
    x = _reflect(x, size // 2)
    # Differences first, which are exact where planes are smooth: sums would bring in rounding errors.
    horizontal = _smooth(_difference(x, -1), -2)
    vertical = _smooth(_difference(x, -2), -1)
    return _blur(horizontal, size), _blur(vertical, size)


def sobel_transpose(x: Tensor, y: Tensor, size: int) -> Tensor:
    """The transpose of `sobel`."""
    pad = size // 2
    # Beyond the borders, where no derivative was taken, are zeros; a difference turned round is its negative.
    x, y = (torch.nn.functional.pad(z, (2 * pad,) * 4) for z in (x, y))
    result = _blur(_smooth(_difference(x, -1), -2).neg_().sub_(_smooth(_difference(y, -2), -1)), size)
    return _fold(_fold(result, -2, pad), -1, pad)


def _blur(x: Tensor, size: int) -> Tensor:
    for _ in range(size // 2 - 1):
        x = _smooth(_smooth(x, -1), -2)
    return x


def _smooth(x: Tensor, dim: int) -> Tensor:
    """(1, 2, 1) along `dim`, which takes a pixel off both ends."""
    size = x.shape[dim] - 2
    return torch.add(x.narrow(dim, 0, size), x.narrow(dim, 2, size)).add_(x.narrow(dim, 1, size), alpha=2)


def _difference(x: Tensor, dim: int) -> Tensor:
    """(-1, 0, 1) along `dim`, which takes a pixel off both ends."""
    size = x.shape[dim] - 2
    return x.narrow(dim, 2, size) - x.narrow(dim, 0, size)


def _reflect(x: Tensor, pad: int) -> Tensor:
    """Continue planes by `pad` pixels on all sides, mirrored about the end pixels."""
    for dim in (-2, -1):
        before, after = x.narrow(dim, 1, pad), x.narrow(dim, x.shape[dim] - 1 - pad, pad)
        x = torch.cat([before.flip(dim), x, after.flip(dim)], dim)
    return x


def _fold(x: Tensor, dim: int, pad: int) -> Tensor:
    """The transpose of `_reflect`: what lies beyond the end pixels is added to what it mirrors."""
    size = x.shape[dim] - 2 * pad
    result = x.narrow(dim, pad, size)
    result.narrow(dim, 1, pad).add_(x.narrow(dim, 0, pad).flip(dim))
    result.narrow(dim, size - 1 - pad, pad).add_(x.narrow(dim, pad + size, pad).flip(dim))
    return result
