r"""Specific: the difference of two planes' Sobel gradient magnitudes.

Every function takes planes (..., H, W) of one floating dtype and works on each by itself. As in `_spectrum`, Specific
is a distance, symmetric in the two planes, times a scale that depends on the second alone.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch._checks import Options
from blursim_torch._numerics import divide_above, least_magnitude, magnitude, norm, per_plane, safe_divide
from blursim_torch._spectrum import GREY_LEVEL
from blursim_torch._taps import sobel_gain

# An edge of at most this many rounding errors has a magnitude, but no direction. In photos of 8 bits the derivatives of
# thousands of pixels cancel but for the rounding of the pixels, by 0.71 at the most, and were 1e-3 of the gradient.
DEAD_ZONE = 1


class Edges(NamedTuple):
    """The derivatives of planes along both diagonals, and the length of these two, each (..., H, W)."""

    u: Tensor
    v: Tensor
    length: Tensor


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
    weight = divide_above(least, e, edges.length).mul_(per_plane(safe_divide(factor, distance)))
    if argument == 1 and options.normalization == "relative":
        weight = weight - per_plane(value * factor * factor)
    u, v = weight * edges.u, weight * edges.v
    # Memory that is let go before more is taken is still in cache, and stays with the process.
    del e, edges, others, weight
    return value, diagonals_transpose(u, v, size)


def scale(edges_b: Edges, options: Options) -> Tensor:
    """What the distance is multiplied by, (..., H, W) to (...)."""
    area = edges_b.u.shape[-2] * edges_b.u.shape[-1]
    if options.normalization == "relative":
        floor = area * (sobel_gain(options.sobel_kernel_size) * GREY_LEVEL) ** 2
        return 1 / torch.sqrt(torch.sum(edges_b.length * edges_b.length, dim=(-2, -1)) + floor / 2)
    return edges_b.u.new_full(edges_b.u.shape[:-2], 2**0.5) / area


def _rounding_error(x: Tensor, size: int) -> Tensor:
    """Up to what length the edges of a plane can be rounding errors, (..., H, W) to (..., 1, 1)."""
    x = x.detach()
    largest = torch.maximum(torch.amax(x, dim=(-2, -1), keepdim=True), -torch.amin(x, dim=(-2, -1), keepdim=True))
    least = DEAD_ZONE / 2**0.5 * torch.finfo(x.dtype).eps * sobel_gain(size) * largest
    return torch.clamp(least, min=least_magnitude(x.dtype))


def edge_difference(a: Tensor, b: Tensor, size: int) -> tuple[Tensor, Edges, Edges]:
    """The difference of the lengths of both planes' edges, and these, from the edges of `a` and of a - b."""
    au, av = diagonals(a, size)
    du, dv = diagonals(a - b, size)
    bu, bv = au - du, av - dv
    edges_a, edges_b = Edges(au, av, magnitude(au, av)), Edges(bu, bv, magnitude(bu, bv))
    # As for the spectra: |a|^2 - |b|^2 from the difference, over |a| + |b|.
    e = torch.addcmul(du.mul_(au + bu), dv, av + bv).div_(edges_a.length + edges_b.length)
    return e, edges_a, edges_b


def diagonals(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The derivatives along both diagonals, u and v, of which Sobel's are u + v and u - v.

    A Sobel kernel is a smoothing, of which half a pixel remains between both axes' pixels, and then differences of the
    four neighbours. Taken crosswise, these are two passes instead of four, and their length is that of Sobel's
    derivatives over sqrt(2).
    """
    x = _reflect(x, size // 2)
    # Differences first, which are exact where planes are smooth: sums would bring in rounding errors.
    u, v = _corner(x, 1, 1) - _corner(x, 0, 0), _corner(x, 0, 1) - _corner(x, 1, 0)
    return _smooth(_smooth(u, -2, size), -1, size), _smooth(_smooth(v, -2, size), -1, size)


def diagonals_transpose(u: Tensor, v: Tensor, size: int) -> Tensor:
    """The transpose of `diagonals`."""
    pad = size // 2
    u, v = (torch.nn.functional.pad(x, (2 * pad,) * 4) for x in (u, v))
    x = (_corner(u, 0, 0) - _corner(u, 1, 1)).add_(_corner(v, 1, 0)).sub_(_corner(v, 0, 1))
    del u, v
    x = _smooth(_smooth(x, -2, size), -1, size)
    return _fold(_fold(x, -2, pad), -1, pad)


def _corner(x: Tensor, row: int, column: int) -> Tensor:
    """Planes from that row and column on, one less in height and width."""
    return x.narrow(-2, row, x.shape[-2] - 1).narrow(-1, column, x.shape[-1] - 1)


def _smooth(x: Tensor, dim: int, size: int) -> Tensor:
    """(1, 1) along `dim`, `size` - 2 times at once: binomial weights. It takes off as many pixels."""
    last = size - 2
    length = x.shape[dim] - last
    result = x.narrow(dim, 0, length) + x.narrow(dim, last, length)
    for i in range(1, size // 2):
        result.add_(x.narrow(dim, i, length) + x.narrow(dim, last - i, length), alpha=math.comb(last, i))
    return result


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
