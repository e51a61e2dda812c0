r"""Specific, the second term of BlurSim: the difference of the edges of a plane `a` and its target `b`.

Planes are (..., H, W), of one floating dtype, and each pair is compared by itself. E(a) is the Sobel gradient magnitude
of `a`. As in `_spectrum`, Specific is a distance, symmetric in `a` and `b`, times a scale that depends on `b` alone.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch._checks import Options
from blursim_torch._numerics import (
    ScaledPlanes,
    divide_above,
    in_memory,
    is_compiling,
    least_magnitude,
    magnitude,
    per_plane,
    plane_area,
    safe_divide,
    safe_sqrt,
)
from blursim_torch._taps import DIFFERENCE, SMOOTHING, sobel_gain
from blursim_torch._tiles import in_strips

# An edge of at most this many rounding errors, eps times the largest pixel times the kernel's gain, has a magnitude but
# no direction. In 8-bit photos, the derivatives of thousands of pixels are rounding errors, at most 0.71 of this floor.
# They made a relative error of 1e-3 in the gradient.
DIRECTION_FLOOR = 1


class Edges(NamedTuple):
    """Horizontal and vertical derivative of planes and their gradient magnitude, each (..., H, W)."""

    x: Tensor
    y: Tensor
    magnitude: Tensor


class Squares(NamedTuple):
    """The squares of E(a) - E(b) and of E(b), each (..., H, W), or their sums over planes, (...).

    `target` is None where the scale does not depend on it.
    """

    difference: Tensor
    target: Tensor | None


class Gradients(NamedTuple):
    """Half the gradients of the sums of `Squares` with respect to one plane.

    `target` is None unless the plane is `b` and the scale depends on it.
    """

    difference: Tensor
    target: Tensor | None = None


def specific(a: Tensor, b: Tensor, options: Options) -> Tensor:
    """Specific of each plane pair, (..., H, W) to (...)."""
    size = options.sobel_kernel_size

    def squares(a: Tensor, b: Tensor) -> tuple[Squares, tuple]:
        e, _, edges_b = edge_difference(a, b, size)
        return _squares(e, edges_b, options), ()

    sums, _ = in_strips(squares, a, b, margin(size))
    return safe_sqrt(sums.difference) * specific_scale(sums.target, b, options)


def specific_gradient(a: Tensor, b: Tensor, options: Options, argnum: int) -> tuple[Tensor, ScaledPlanes]:
    """Specific and its gradient with respect to `a` (argnum 0) or `b` (argnum 1)."""
    size = options.sobel_kernel_size
    plane, other = (a, b) if argnum == 0 else (b, a)
    floor = direction_floor(plane, size)
    differentiates_scale = argnum == 1 and options.normalization == "relative"

    def squares_and_gradients(plane: Tensor, other: Tensor) -> tuple[Squares, Gradients]:
        e, edges, other_edges = edge_difference(plane, other, size)
        squares = _squares(e, other_edges if argnum == 0 else edges, options)
        weight = divide_above(floor, e, edges.magnitude)
        of_target = sobel_transpose(edges.x, edges.y, size) if differentiates_scale else None
        weighted_x, weighted_y = weight * edges.x, weight * edges.y
        # Freed now, the memory is reused while it is in cache.
        del e, edges, other_edges, weight
        return squares, Gradients(sobel_transpose(weighted_x, weighted_y, size), of_target)

    sums, gradients = in_strips(squares_and_gradients, plane, other, margin(size))
    distance, scale = safe_sqrt(sums.difference), specific_scale(sums.target, b, options)
    value, factor = distance * scale, safe_divide(scale, distance)
    if gradients.target is None:
        return value, ScaledPlanes(gradients.difference, factor)
    # The derivative of the scale 1 / sqrt(S) is -scale^3 / 2, and half of S's gradient is `target`.
    gradient = gradients.difference * per_plane(factor) - gradients.target * per_plane(value * scale * scale)
    return value, ScaledPlanes(gradient, torch.ones_like(factor))


def specific_scale(squared_b: Tensor | None, b: Tensor, options: Options) -> Tensor:
    """The factor of the distance, (..., H, W) to (...), where `squared_b` is the sum of E(b)^2, (...)."""
    area = plane_area(b)
    if options.normalization == "area":
        return b.new_full(b.shape[:-2], 1 / options.white) / area
    if options.normalization == "rms":
        return b.new_full(b.shape[:-2], 1 / (options.white * sobel_gain(options.sobel_kernel_size))) / area**0.5
    # The edges of a step of one grey level keep the scale of a flat target finite.
    offset = area * (sobel_gain(options.sobel_kernel_size) * options.grey_level()) ** 2
    return 1 / torch.sqrt(squared_b + offset)  # type: ignore[operator]


def _squares(e: Tensor, edges_b: Edges, options: Options) -> Squares:
    # Eager mode would compute `target` even if it is unused.
    return Squares(e * e, edges_b.magnitude * edges_b.magnitude if options.normalization == "relative" else None)


def margin(size: int) -> int:
    """How many more rows a strip needs on each side: `sobel` and its transpose each reach `size // 2` rows."""
    return 2 * (size // 2)


def direction_floor(x: Tensor, size: int) -> Tensor:
    """The largest magnitude at which an edge has no direction, (..., H, W) to (..., 1, 1)."""
    x = x.detach()
    largest = torch.maximum(torch.amax(x, dim=(-2, -1), keepdim=True), -torch.amin(x, dim=(-2, -1), keepdim=True))
    floor = DIRECTION_FLOOR * torch.finfo(x.dtype).eps * sobel_gain(size) * largest
    return torch.clamp(floor, min=least_magnitude(x.dtype))


def edge_difference(a: Tensor, b: Tensor, size: int) -> tuple[Tensor, Edges, Edges]:
    """The difference e = E(a) - E(b) and the edges of both planes, computed from those of `a` and of a - b."""
    ax, ay = sobel(a, size)
    dx, dy = sobel(a - b, size)
    bx, by = ax - dx, ay - dy
    edges_a, edges_b = Edges(ax, ay, magnitude(ax, ay)), Edges(bx, by, magnitude(bx, by))
    # E(a) - E(b) = (E(a)^2 - E(b)^2) / (E(a) + E(b)), whose numerator is the inner product of the edges' difference and
    # sum.
    e = torch.addcmul(dx.mul_(ax + bx), dy, ay + by).div_(edges_a.magnitude + edges_b.magnitude)
    return e, edges_a, edges_b


def sobel(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Horizontal and vertical Sobel derivative with integer taps and reflect-101 border, as in OpenCV."""
    padded = _reflect(_reflect(x, -1, size // 2), -2, size // 2)
    # Differences are taken before smoothing: they are exact where planes are smooth, whereas sums are rounded.
    horizontal = _smooth(in_memory(_difference(padded, -1, size)), -2, size)
    return horizontal, _smooth(in_memory(_difference(padded, -2, size)), -1, size)


def sobel_transpose(x: Tensor, y: Tensor, size: int) -> Tensor:
    """The transpose of `sobel`, computed by shifted reads like `sobel` itself.

    Reflect-101 extends a plane to an even periodic function. On one period, smoothing is its own transpose, and the
    transpose of a difference is its negative. A period contains each end pixel once and every other pixel twice. So
    end pixels have weight 1/2, by which the input is divided and the output multiplied. The difference of an even
    function is odd: it is 0 at the ends, and its extension is negated.
    """
    pad = size // 2
    x = _smooth(_reflect(in_memory(x), -2, pad, ends=2), -2, size)
    y = _difference(_reflect(in_memory(y), -2, pad, ends=0, odd=True), -2, size)
    x = _difference(_reflect(x, -1, pad, ends=0, odd=True), -1, size)
    y = _smooth(_reflect(y, -1, pad, ends=2), -1, size)
    half_at_ends = [in_memory(torch.nn.functional.pad(x.new_ones(n - 2), (1, 1), value=0.5)) for n in x.shape[-2:]]
    return x.add_(y).neg_() * (half_at_ends[0].unsqueeze(-1) * half_at_ends[1])


def _smooth(padded: Tensor, dim: int, size: int) -> Tensor:
    """Smooth along `dim` planes that are padded there."""
    taps, middle = SMOOTHING[size], size // 2
    result = torch.add(_shifted(padded, dim, middle, -middle), _shifted(padded, dim, middle, middle))
    for j in range(1, middle):
        result.add_(_shifted(padded, dim, middle, -j) + _shifted(padded, dim, middle, j), alpha=taps[middle + j])
    return result.add_(_shifted(padded, dim, middle, 0), alpha=taps[middle])


def _difference(padded: Tensor, dim: int, size: int) -> Tensor:
    """The derivative along `dim` of planes that are padded there."""
    taps, middle = DIFFERENCE[size], size // 2
    result = _shifted(padded, dim, middle, middle) - _shifted(padded, dim, middle, -middle)
    for j in range(1, middle):
        result.add_(_shifted(padded, dim, middle, j) - _shifted(padded, dim, middle, -j), alpha=taps[j - 1])
    return result


def _shifted(padded: Tensor, dim: int, pad: int, shift: int) -> Tensor:
    return padded.narrow(dim, pad + shift, padded.shape[dim] - 2 * pad)


def _reflect(x: Tensor, dim: int, pad: int, *, ends: int = 1, odd: bool = False) -> Tensor:
    """Pad both sides along `dim` by `pad` pixels mirrored about the end pixels, and negated if `odd`.

    The end pixels themselves are multiplied by `ends`.
    """
    last = x.shape[dim] - 1
    if dim == -2 and is_compiling():
        # A compiled program reads rows by their index, and does not write a padded plane to memory.
        index = last - (torch.arange(-pad, last + 1 + pad, device=x.device).abs() - last).abs()
        padded = torch.index_select(x, dim, index)
        return padded if ends == 1 else padded * _weights(last + 1, pad, ends, -1 if odd else 1, x).unsqueeze(-1)
    before, after = x.narrow(dim, 1, pad).flip(dim), x.narrow(dim, last - pad, pad).flip(dim)
    if odd:
        before, after = -before, -after
    if ends == 1:
        return torch.cat([before, x, after], dim)
    first_pixel, middle, last_pixel = x.narrow(dim, 0, 1), x.narrow(dim, 1, last - 1), x.narrow(dim, last, 1)
    return torch.cat([before, ends * first_pixel, middle, ends * last_pixel, after], dim)


def _weights(size: int, pad: int, ends: float, outside: float, x: Tensor) -> Tensor:
    """`ends` at the two end pixels, `outside` beyond them, and 1 between."""
    position = torch.arange(-pad, size + pad, device=x.device)
    distance = torch.minimum(position, size - 1 - position)
    return torch.where(distance == 0, ends, torch.where(distance < 0, outside, 1)).to(x.dtype)
