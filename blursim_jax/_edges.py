r"""Specific: the difference of two planes' Sobel gradient magnitudes.

Every function takes planes (..., H, W) of one floating dtype and works on each by itself. As in `_spectrum`, Specific
is a distance, symmetric in the two planes, times a scale that depends on the second alone.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from blursim_jax._checks import Options
from blursim_jax._numerics import divide_where, is_spread, per_plane, plane_sum, safe_divide, safe_sqrt
from blursim_jax._taps import DIFFERENCE, SMOOTHING, sobel_gain

# An edge of at most this many rounding errors has a magnitude, but no direction. In photos of 8 bits the derivatives of
# thousands of pixels cancel but for the rounding of the pixels, by 0.71 at the most, and were 1e-3 of the gradient.
DEAD_ZONE = 1
# On a CPU planes of some more than twice as many pixels go through in strips: that takes fewer arrays of their size,
# whose memory is had anew at every call, and what is left stays in cache.
STRIP_PIXELS = 2**18


class Edges(NamedTuple):
    """Horizontal and vertical derivative of planes, and their gradient magnitude, each (..., H, W)."""

    x: jax.Array
    y: jax.Array
    magnitude: jax.Array


def specific(a: jax.Array, b: jax.Array, options: Options) -> jax.Array:
    """Specific of every plane pair, (..., H, W) to (...)."""

    def squares(a: jax.Array, b: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
        e, _, edges_b = edge_difference(a, b, options.sobel_kernel_size)
        return _squares(e, edges_b), []

    squared, _ = in_strips(squares, a, b, options)
    return safe_sqrt(squared[0]) * scale(squared[-1], b, options)


def specific_gradient(a: jax.Array, b: jax.Array, options: Options, argument: int) -> tuple[jax.Array, jax.Array]:
    """Specific with its gradient by `a` (argument 0) or by `b` (argument 1)."""
    x, other = (a, b) if argument == 0 else (b, a)
    function = squares_and_gradients(rounding_error(x, options.sobel_kernel_size), options, argument)
    return value_and_gradient(*in_strips(function, x, other, options), b, options, argument)


def squares_and_gradients(least: jax.Array, options: Options, argument: int) -> Callable[..., tuple[list, list]]:
    """What `value_and_gradient` is put together from, as a function of the planes, which may be parts of planes."""
    size = options.sobel_kernel_size

    def function(x: jax.Array, other: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
        e, edges, others = edge_difference(x, other, size)
        weight = divide_where(edges.magnitude > least, e, edges.magnitude)
        images = [sobel_transpose(weight * edges.x, weight * edges.y, size)]
        if _by_scale(options, argument):
            images.append(sobel_transpose(edges.x, edges.y, size))
        return _squares(e, others if argument == 0 else edges), images

    return function


def value_and_gradient(
    squared: list[jax.Array], images: list[jax.Array], b: jax.Array, options: Options, argument: int
) -> tuple[jax.Array, jax.Array]:
    """Specific and its gradient, from the sums of squares over planes and the gradients of distance and scale."""
    gradient, *rest = images
    distance, factor = safe_sqrt(squared[0]), scale(squared[-1], b, options)
    value = distance * factor
    gradient *= per_plane(safe_divide(factor, distance))
    if _by_scale(options, argument):
        gradient -= rest[0] * per_plane(value * factor * factor)
    return value, gradient


def _by_scale(options: Options, argument: int) -> bool:
    return argument == 1 and options.normalization == "relative"


def scale(squared_b: jax.Array, b: jax.Array, options: Options) -> jax.Array:
    """What the distance is multiplied by, (..., H, W) to (...); under "relative" from the sum of b's squared edges."""
    area = b.shape[-2] * b.shape[-1]
    if options.normalization == "relative":
        floor = area * (sobel_gain(options.sobel_kernel_size) * options.grey_level()) ** 2
        return 1 / jnp.sqrt(squared_b + floor)
    return jnp.full(b.shape[:-2], 1 / (area * options.white), b.dtype)


def _squares(e: jax.Array, edges_b: Edges) -> list[jax.Array]:
    """What is to be summed over planes for the distance and for the scale."""
    return [e * e, edges_b.x * edges_b.x + edges_b.y * edges_b.y]


def in_strips(
    function: Callable[..., tuple[list[jax.Array], list[jax.Array]]],
    x: jax.Array,
    y: jax.Array,
    options: Options,
    total: Callable[[jax.Array, jax.Array | int], jax.Array] = lambda z, _: plane_sum(z),
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Apply `function` to planes, and sum its first results over each, on a CPU by strips of rows.

    A strip has margins, from which a border of its own, reflected where there is none, does not reach its rows.
    `total` sums over rows, of which it is told the first.
    """

    def whole(x: jax.Array, y: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
        squares, images = function(x, y)
        return [total(z, 0) for z in squares], images

    height, width = x.shape[-2:]
    margin = 2 * (options.sobel_kernel_size // 2)
    rows = max(STRIP_PIXELS // width, 4 * margin)
    if 0 in x.shape or height < 2 * (rows + 2 * margin) or is_spread(x) or is_spread(y):
        return whole(x, y)
    count = -(-height // rows)
    rows = -(-height // count)
    tall = rows + 2 * margin

    def by_strips(x: jax.Array, y: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
        def strip(images: list[jax.Array], i: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
            # The last strip goes over some rows once more, but counts them once.
            first = jnp.minimum(i * rows, height - rows)
            start = jnp.clip(first - margin, 0, height - tall)
            row = start + lax.broadcasted_iota(i.dtype, (*x.shape[:-2], tall, width), x.ndim - 2)
            counts = (row >= i * rows) & (row < first + rows)

            def write(image: jax.Array, part: jax.Array) -> jax.Array:
                part = lax.dynamic_slice_in_dim(part, first - start, rows, axis=-2)
                return lax.dynamic_update_slice_in_dim(image, part, first, axis=-2)

            squares, parts = function(*(lax.dynamic_slice_in_dim(z, start, tall, axis=-2) for z in (x, y)))
            sums = [total(jnp.where(counts, z, 0), start) for z in squares]
            return jax.tree.map(write, images, parts), sums

        _, shapes = jax.eval_shape(function, x, y)
        empty = [as_both(jnp.zeros(z.shape, z.dtype)) for z in shapes]
        images, sums = lax.scan(strip, empty, jnp.arange(count))
        return [jnp.sum(z, axis=0) for z in sums], images

    def at_once(x: jax.Array, y: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
        sums, images = whole(x, y)
        return sums, [as_both(z) for z in images]

    def as_both(z: jax.Array) -> jax.Array:
        # Under `shard_map`, the type says whether devices share an array; that of a loop's results must not change, nor
        # differ between platforms. XLA leaves nothing of it.
        return jnp.where((x[(0,) * x.ndim] > 0) & (y[(0,) * y.ndim] > 0), z, z)

    return lax.platform_dependent(x, y, cpu=by_strips, default=at_once)


def rounding_error(x: jax.Array, size: int) -> jax.Array:
    """Up to what magnitude the edges of a plane can be rounding errors, (..., H, W) to (..., 1, 1)."""
    largest = jnp.max(jnp.abs(lax.stop_gradient(x)), axis=(-2, -1), keepdims=True)
    return DEAD_ZONE * float(jnp.finfo(x.dtype).eps) * sobel_gain(size) * largest


def edge_difference(a: jax.Array, b: jax.Array, size: int) -> tuple[jax.Array, Edges, Edges]:
    """The difference e = E(a) - E(b) and the edges of both planes, from those of `a` and of a - b."""
    ax, ay = sobel(a, size)
    dx, dy = sobel(a - b, size)
    bx, by = ax - dx, ay - dy
    edges_a = Edges(ax, ay, safe_sqrt(ax * ax + ay * ay))
    edges_b = Edges(bx, by, safe_sqrt(bx * bx + by * by))
    # As for the spectra: E(a)^2 - E(b)^2 from the difference, over E(a) + E(b).
    e = safe_divide(dx * (ax + bx) + dy * (ay + by), edges_a.magnitude + edges_b.magnitude)
    return e, edges_a, edges_b


def sobel(x: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Horizontal and vertical Sobel derivative with raw integer taps and reflect-101 border."""
    # Differences first, which are exact where planes are smooth: sums would bring in rounding errors.
    padded = _reflect(x, -1, size // 2)
    horizontal = _smooth(_difference(padded, -1, size), -2, size)
    # Out of what is in memory: `x` may still be a part of a larger array, which takes several times longer to pad.
    x = lax.slice_in_dim(padded, size // 2, size // 2 + x.shape[-1], axis=-1)
    return horizontal, _smooth(_difference(_reflect(x, -2, size // 2), -2, size), -1, size)


def sobel_transpose(x: jax.Array, y: jax.Array, size: int) -> jax.Array:
    """The transpose of `sobel`, as a sum over pixels that reads, never scatters.

    Reflect-101 continues a plane as an even function about its first and last pixel, over whose period both smoothing
    and, but for its sign, difference are their own transposes. The end pixels stand in that period once and all others
    twice, hence their weight of one half; a difference is odd there, hence zero at the ends.
    """
    x = _weigh_ends(_smooth(_weigh_ends(x, -2, 2), -2, size), -2, 0.5)
    y = _weigh_ends(_difference(_reflect(_weigh_ends(y, -2, 0), -2, size // 2, odd=True), -2, size), -2, 0.5)
    x = _difference(_reflect(_weigh_ends(x, -1, 0), -1, size // 2, odd=True), -1, size)
    y = _smooth(_weigh_ends(y, -1, 2), -1, size)
    return -_weigh_ends(x + y, -1, 0.5)


def _smooth(x: jax.Array, axis: int, size: int) -> jax.Array:
    taps, padded = SMOOTHING[size], _reflect(x, axis, size // 2)
    if is_spread(padded):
        return smooth_by_slices(padded, axis, taps)
    return lax.platform_dependent(
        padded,
        tpu=lambda padded: smooth_by_convolution(padded, axis, taps),
        default=lambda padded: smooth_by_slices(padded, axis, taps),
    )


def smooth_by_slices(padded: jax.Array, axis: int, taps: tuple[int, ...]) -> jax.Array:
    """Symmetric `taps` along `axis` as shifted adds: on a CPU several times faster than a convolution."""
    middle = len(taps) // 2
    result = taps[middle] * _shifted(padded, axis, middle, 0)
    for j in range(1, middle + 1):
        result += taps[middle + j] * (_shifted(padded, axis, middle, j) + _shifted(padded, axis, middle, -j))
    return result


def smooth_by_convolution(padded: jax.Array, axis: int, taps: tuple[int, ...]) -> jax.Array:
    """The same sum as a convolution in full precision, for the matrix units of a TPU.

    Only the smoothing is convolved. A difference stays a difference: its taps as a kernel need not cancel exactly.
    """
    kernel = np.asarray(taps, padded.dtype).reshape((1, 1, -1, 1) if axis == -2 else (1, 1, 1, -1))
    images = padded.reshape((-1, 1, *padded.shape[-2:]))
    result = lax.conv_general_dilated(images, jnp.asarray(kernel), (1, 1), "VALID", precision=lax.Precision.HIGHEST)
    return result.reshape((*padded.shape[:-2], *result.shape[-2:]))


def _difference(padded: jax.Array, axis: int, size: int) -> jax.Array:
    middle = size // 2
    differences = [
        tap * (_shifted(padded, axis, middle, j) - _shifted(padded, axis, middle, -j))
        for j, tap in enumerate(DIFFERENCE[size], start=1)
    ]
    return functools.reduce(jnp.add, differences)


def _shifted(padded: jax.Array, axis: int, pad: int, shift: int) -> jax.Array:
    start = pad + shift
    return lax.slice_in_dim(padded, start, start + padded.shape[axis] - 2 * pad, axis=axis)


def _reflect(x: jax.Array, axis: int, pad: int, *, odd: bool = False) -> jax.Array:
    """Continue planes by `pad` pixels on both sides, mirrored about the end pixels, with the sign turned if `odd`."""
    axis += x.ndim
    size = x.shape[axis]
    before = lax.rev(lax.slice_in_dim(x, 1, pad + 1, axis=axis), (axis,))
    after = lax.rev(lax.slice_in_dim(x, size - 1 - pad, size - 1, axis=axis), (axis,))
    if odd:
        before, after = -before, -after
    # Fused into each of the shifted reads, the border's case distinction keeps a CPU from using vector instructions:
    # written out once, the whole of Specific with its gradient takes 60 % of the time.
    return lax.optimization_barrier(lax.concatenate([before, x, after], axis))


def _weigh_ends(x: jax.Array, axis: int, weight: float) -> jax.Array:
    weights = np.ones(x.shape[axis])
    weights[[0, -1]] = weight
    shape = [1] * x.ndim
    shape[axis] = -1
    return x * jnp.asarray(weights.reshape(shape), x.dtype)
