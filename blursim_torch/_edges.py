r"""Specific: the difference of two planes' Sobel gradient magnitudes.

Every function takes planes (..., H, W) of one floating dtype and works on each by itself. As in `_spectrum`, Specific
is a distance, symmetric in the two planes, times a scale that depends on the second alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch._checks import Options
from blursim_torch._numerics import (
    add_strips,
    divide_above,
    join_strips,
    least_magnitude,
    magnitude,
    per_plane,
    plane_sum,
    safe_divide,
    safe_sqrt,
    strips_of,
)
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

    def squares(a: Tensor, b: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        e, _, edges_b = edge_difference(a, b, options.sobel_kernel_size)
        return _squares(e, edges_b, options), []

    squared, _ = _in_strips(squares, a, b, options)
    return safe_sqrt(squared[0]) * scale(squared[-1], b, options)


def specific_gradient(a: Tensor, b: Tensor, options: Options, argument: int) -> tuple[Tensor, Tensor, Tensor]:
    """Specific, and its gradient by `a` (argument 0) or by `b` (argument 1): planes, and a factor each, to multiply."""
    size = options.sobel_kernel_size
    x, other = (a, b) if argument == 0 else (b, a)
    least = rounding_error(x, size)
    by_scale = argument == 1 and options.normalization == "relative"

    def squares_and_gradients(x: Tensor, other: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        e, edges, others = edge_difference(x, other, size)
        squares = _squares(e, others if argument == 0 else edges, options)
        weight = divide_above(least, e, edges.magnitude)
        images = [sobel_transpose(edges.x, edges.y, size)] if by_scale else []
        by_x, by_y = weight * edges.x, weight * edges.y
        # Memory that is let go before more is taken is still in cache, and stays with the process.
        del e, edges, others, weight
        return squares, [sobel_transpose(by_x, by_y, size), *images]

    squared, (gradient, *rest) = _in_strips(squares_and_gradients, x, other, options)
    distance, factor = safe_sqrt(squared[0]), scale(squared[-1], b, options)
    value, slope = distance * factor, safe_divide(factor, distance)
    if by_scale:
        gradient = gradient * per_plane(slope) - rest[0] * per_plane(value * factor * factor)
        slope = torch.ones_like(slope)
    return value, gradient, slope


def scale(squared_b: Tensor, b: Tensor, options: Options) -> Tensor:
    """What the distance is multiplied by, (..., H, W) to (...); under "relative" from the sum of b's squared edges."""
    area = b.shape[-2] * b.shape[-1]
    if options.normalization == "relative":
        floor = area * (sobel_gain(options.sobel_kernel_size) * options.grey_level()) ** 2
        return 1 / torch.sqrt(squared_b + floor)
    return b.new_full(b.shape[:-2], 1 / options.white) / area


def _squares(e: Tensor, edges_b: Edges, options: Options) -> list[Tensor]:
    """What is to be summed over planes for the distance, and for the scale if that depends on the plane."""
    # Only then, because eager mode computes also what goes unused.
    return [e * e, edges_b.magnitude * edges_b.magnitude] if options.normalization == "relative" else [e * e]


def _in_strips(
    function: Callable[[Tensor, Tensor], tuple[list[Tensor], list[Tensor]]], x: Tensor, y: Tensor, options: Options
) -> tuple[list[Tensor], list[Tensor]]:
    """Apply `function` to planes, and sum its first results over each, on a CPU by strips of rows.

    A strip has margins, from which a border of its own, reflected where there is none, does not reach its rows.
    """
    height, margin = x.shape[-2], 2 * (options.sobel_kernel_size // 2)
    all_rows = strips_of(x, margin)
    if len(all_rows) == 1:
        squares, images = function(x, y)
        return [plane_sum(z) for z in squares], images
    strips = []
    for rows in all_rows:
        start, stop = max(rows.start - margin, 0), min(rows.stop + margin, height)
        squares, images = function(x[..., start:stop, :], y[..., start:stop, :])
        inner = slice(rows.start - start, rows.stop - start)
        strips.append(([plane_sum(z[..., inner, :]) for z in squares], [z[..., inner, :] for z in images]))
    sums, images = (zip(*parts, strict=True) for parts in zip(*strips, strict=True))
    return [add_strips(parts) for parts in sums], [join_strips(parts) for parts in images]


def rounding_error(x: Tensor, size: int) -> Tensor:
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
    x = _reflect(_reflect(x, -2, size // 2), -1, size // 2)
    # Differences first, which are exact where planes are smooth: sums would bring in rounding errors.
    horizontal = _smooth(_difference(x, -1), -2)
    vertical = _smooth(_difference(x, -2), -1)
    return _blur(horizontal, size), _blur(vertical, size)


def sobel_transpose(x: Tensor, y: Tensor, size: int) -> Tensor:
    """The transpose of `sobel`, as a sum over pixels that reads, never scatters.

    Reflect-101 continues a plane as an even function about its first and last pixel, over whose period both smoothing
    and, but for its sign, difference are their own transposes. The end pixels stand in that period once and all others
    twice, hence their weight of one half; a difference is odd there, hence zero at the ends.
    """
    pad = size // 2
    x = _reflect(_reflect(x, -2, pad, ends=2), -1, pad, ends=0, sign=-1)
    y = _reflect(_reflect(y, -2, pad, ends=0, sign=-1), -1, pad, ends=2)
    result = _blur(_smooth(_difference(x, -1), -2).add_(_smooth(_difference(y, -2), -1)).neg_(), size)
    half_at_ends = [torch.nn.functional.pad(x.new_ones(n - 2), (1, 1), value=0.5) for n in result.shape[-2:]]
    return result * (half_at_ends[0].unsqueeze(-1) * half_at_ends[1])


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


def _reflect(x: Tensor, dim: int, pad: int, ends: int = 1, sign: int = 1) -> Tensor:
    """Continue planes along `dim` by `pad` pixels on both sides, mirrored about the end pixels, which are weighed."""
    last = x.shape[dim] - 1
    before, after = x.narrow(dim, 1, pad).flip(dim), x.narrow(dim, last - pad, pad).flip(dim)
    if ends == 1:
        return torch.cat([before, x, after], dim)
    first_pixel, middle, last_pixel = x.narrow(dim, 0, 1), x.narrow(dim, 1, last - 1), x.narrow(dim, last, 1)
    return torch.cat([sign * before, ends * first_pixel, middle, ends * last_pixel, sign * after], dim)
