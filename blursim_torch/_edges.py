r"""Specific: the difference of two planes' Sobel gradient magnitudes.

Every function takes planes (..., H, W) of one floating dtype and works on each by itself. As in `_spectrum`, Specific
is a distance, symmetric in the two planes, times a scale that depends on the second alone.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch._checks import Options
from blursim_torch._numerics import divide_where, least_magnitude, magnitude, norm, per_plane, safe_divide
from blursim_torch._spectrum import GREY_LEVEL
from blursim_torch._taps import sobel_gain

# An edge at most this many rounding errors above zero has a magnitude, but no direction. In photos of 8 bits the
# derivatives of thousands of pixels cancel but for rounding, and they were 1e-3 of the gradient.
DEAD_ZONE = 2


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
    has_direction = edges.magnitude > _rounding_error(a if argument == 0 else b, size)
    weight = divide_where(has_direction, e, edges.magnitude) * per_plane(safe_divide(factor, distance))
    if argument == 1 and options.normalization == "relative":
        weight = weight - per_plane(value * factor * factor)
    x, y = weight * edges.x, weight * edges.y
    # Memory that is let go before more is taken is still in cache, and stays with the process.
    del e, edges, others, has_direction, weight
    return value, sobel_transpose(x, y, size)


def scale(edges_b: Edges, options: Options) -> Tensor:
    """What the distance is multiplied by, (..., H, W) to (...)."""
    area = edges_b.x.shape[-2] * edges_b.x.shape[-1]
    if options.normalization == "relative":
        floor = area * (sobel_gain(options.sobel_kernel_size) * GREY_LEVEL) ** 2
        return 1 / torch.sqrt(torch.sum(edges_b.x * edges_b.x + edges_b.y * edges_b.y, dim=(-2, -1)) + floor)
    return edges_b.x.new_ones(edges_b.x.shape[:-2]) / area


def _rounding_error(x: Tensor, size: int) -> Tensor:
    """Up to what magnitude the edges of a plane can be rounding errors, (..., H, W) to (..., 1, 1)."""
    largest = torch.amax(torch.abs(x.detach()), dim=(-2, -1), keepdim=True)
    least = DEAD_ZONE * torch.finfo(x.dtype).eps * sobel_gain(size) * largest
    return torch.clamp(least, min=least_magnitude(x.dtype))


def edge_difference(a: Tensor, b: Tensor, size: int) -> tuple[Tensor, Edges, Edges]:
    """The difference e = E(a) - E(b) and the edges of both planes, from those of `a` and of a - b."""
    ax, ay = sobel(a, size)
    dx, dy = sobel(a - b, size)
    bx, by = ax - dx, ay - dy
    edges_a = Edges(ax, ay, magnitude(ax, ay))
    edges_b = Edges(bx, by, magnitude(bx, by))
    # As for the spectra: E(a)^2 - E(b)^2 from the difference, over E(a) + E(b).
    e = torch.addcmul(dx * (ax + bx), dy, ay + by) / (edges_a.magnitude + edges_b.magnitude)
    return e, edges_a, edges_b


def sobel(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical Sobel derivative with raw integer taps and reflect-101 border.

    A Sobel kernel of size 5 or 7 is that of size 3 after smoothing both ways by (1, 2, 1) once or twice.
    """
    x = _blur(_reflect(_reflect(x, -1, size // 2), -2, size // 2), size)
    return _difference(_smooth(x, -2), -1), _difference(_smooth(x, -1), -2)


def sobel_transpose(x: Tensor, y: Tensor, size: int) -> Tensor:
    """The transpose of `sobel`, as a sum over pixels that reads, never scatters.

    Of edges: `x` is 0 in the first and last column, `y` in the first and last row.

    Reflect-101 continues a plane as an even function about its first and last pixel, over whose period both smoothing
    and, but for its sign, difference are their own transposes. The end pixels stand in that period once and all others
    twice, hence their weight of one half; a difference is odd there.
    """
    pad = size // 2
    x = _reflect(_reflect(x, -2, pad, ends=2), -1, pad, sign=-1)
    y = _reflect(_reflect(y, -1, pad, ends=2), -2, pad, sign=-1)
    result = _blur(_smooth(_difference(x, -1), -2).neg_() - _smooth(_difference(y, -2), -1), size)
    for dim in (-1, -2):
        _ends(result, dim, 0).mul_(0.5)
    return result


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


def _reflect(x: Tensor, dim: int, pad: int, *, ends: int = 1, sign: int = 1) -> Tensor:
    """Continue planes by `pad` pixels on both sides, mirrored about the end pixels, times `sign`; weigh the `ends`."""
    size = x.shape[dim]
    before, after = x.narrow(dim, 1, pad).flip(dim), x.narrow(dim, size - 1 - pad, pad).flip(dim)
    if sign == -1:
        before, after = before.neg_(), after.neg_()
    result = torch.cat([before, x, after], dim)
    if ends != 1:
        _ends(result, dim, pad).mul_(ends)
    return result


def _ends(x: Tensor, dim: int, pad: int) -> Tensor:
    """The first and the last pixel along `dim` between paddings."""
    size = x.shape[dim] - 2 * pad
    return x.transpose(dim, -1)[..., pad : pad + size : size - 1]
