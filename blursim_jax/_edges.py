r"""Specific, the second term of BlurSim: the difference of the edges of a plane `a` and its target `b`.

Planes are (..., H, W), of one floating dtype, and each pair is compared by itself. E(a) is the Sobel gradient magnitude
of `a`. As in `_spectrum`, Specific is a distance, symmetric in `a` and `b`, times a scale that depends on `b` alone.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from blursim_jax._checks import Options
from blursim_jax._layout import Layout
from blursim_jax._numerics import divide_where, is_sharded, per_plane, safe_divide, safe_sqrt
from blursim_jax._taps import DIFFERENCE, SMOOTHING, sobel_gain

# An edge of at most this many rounding errors, eps times the largest pixel times the kernel's gain, has a magnitude but
# no direction. In 8-bit photos, the derivatives of thousands of pixels are rounding errors, at most 0.71 of this floor.
# They made a relative error of 1e-3 in the gradient.
DIRECTION_FLOOR = 1


class Edges(NamedTuple):
    """Horizontal and vertical derivative of planes and their gradient magnitude, each (..., H, W)."""

    x: jax.Array
    y: jax.Array
    magnitude: jax.Array


class Squares(NamedTuple):
    """The squares of E(a) - E(b) and of E(b), each (..., H, W), or their sums over planes, (...)."""

    difference: jax.Array
    target: jax.Array


class Gradients(NamedTuple):
    """Half the gradients of the sums of `Squares` with respect to one plane.

    `target` is None unless the plane is `b` and the scale depends on it.
    """

    difference: jax.Array
    target: jax.Array | None = None


def specific(a: jax.Array, b: jax.Array, options: Options, layout: Layout) -> jax.Array:
    """Specific of each plane pair, (..., H, W) to (...)."""
    size = options.sobel_kernel_size

    def squares(a: jax.Array, b: jax.Array) -> tuple[Squares, None]:
        e, _, edges_b = edge_difference(a, b, size)
        return _squares(e, edges_b), None

    sums, _ = layout.in_strips(squares, a, b, margin(size))
    return safe_sqrt(sums.difference) * specific_scale(sums.target, b, options, layout)


def specific_gradient(
    a: jax.Array, b: jax.Array, options: Options, argnum: int, layout: Layout
) -> tuple[jax.Array, jax.Array]:
    """Specific and its gradient with respect to `a` (argnum 0) or `b` (argnum 1)."""
    size = options.sobel_kernel_size
    plane, other = (a, b) if argnum == 0 else (b, a)
    floor = layout.largest(direction_floor(plane, size))
    differentiates_scale = argnum == 1 and options.normalization == "relative"

    def squares_and_gradients(plane: jax.Array, other: jax.Array) -> tuple[Squares, Gradients]:
        e, edges, other_edges = edge_difference(plane, other, size)
        weight = divide_where(edges.magnitude > floor, e, edges.magnitude)
        gradients = Gradients(
            sobel_transpose(weight * edges.x, weight * edges.y, size),
            sobel_transpose(edges.x, edges.y, size) if differentiates_scale else None,
        )
        return _squares(e, other_edges if argnum == 0 else edges), gradients

    sums, gradients = layout.in_strips(squares_and_gradients, plane, other, margin(size))
    distance, scale = safe_sqrt(sums.difference), specific_scale(sums.target, b, options, layout)
    value = distance * scale
    gradient = gradients.difference * per_plane(safe_divide(scale, distance))
    if gradients.target is not None:
        # The derivative of the scale 1 / sqrt(S) is -scale^3 / 2, and half of S's gradient is `target`.
        gradient -= gradients.target * per_plane(value * scale * scale)
    return value, gradient


def specific_scale(squared_b: jax.Array, b: jax.Array, options: Options, layout: Layout) -> jax.Array:
    """The factor of the distance, (..., H, W) to (...), where `squared_b` is the sum of E(b)^2, (...)."""
    area = math.prod(layout.shape(b))
    if options.normalization == "area":
        return jnp.full(b.shape[:-2], 1 / (area * options.white), b.dtype)
    if options.normalization == "rms":
        gain = sobel_gain(options.sobel_kernel_size)
        return jnp.full(b.shape[:-2], 1 / (math.sqrt(area) * gain * options.white), b.dtype)
    # The edges of a step of one grey level keep the scale of a flat target finite.
    offset = area * (sobel_gain(options.sobel_kernel_size) * options.grey_level()) ** 2
    return 1 / jnp.sqrt(squared_b + offset)


def _squares(e: jax.Array, edges_b: Edges) -> Squares:
    # XLA removes `target` where the scale does not depend on it.
    return Squares(e * e, edges_b.x * edges_b.x + edges_b.y * edges_b.y)


def margin(size: int) -> int:
    """How many more rows a strip needs on each side: `sobel` and its transpose each reach `size // 2` rows."""
    return 2 * (size // 2)


def direction_floor(x: jax.Array, size: int) -> jax.Array:
    """The largest magnitude at which an edge has no direction, (..., H, W) to (..., 1, 1)."""
    largest = jnp.max(jnp.abs(lax.stop_gradient(x)), axis=(-2, -1), keepdims=True)
    return DIRECTION_FLOOR * float(jnp.finfo(x.dtype).eps) * sobel_gain(size) * largest


def edge_difference(a: jax.Array, b: jax.Array, size: int) -> tuple[jax.Array, Edges, Edges]:
    """The difference e = E(a) - E(b) and the edges of both planes, computed from those of `a` and of a - b."""
    ax, ay = sobel(a, size)
    dx, dy = sobel(a - b, size)
    bx, by = ax - dx, ay - dy
    edges_a = Edges(ax, ay, safe_sqrt(ax * ax + ay * ay))
    edges_b = Edges(bx, by, safe_sqrt(bx * bx + by * by))
    # E(a) - E(b) = (E(a)^2 - E(b)^2) / (E(a) + E(b)), whose numerator is the inner product of the edges' difference and
    # sum.
    e = safe_divide(dx * (ax + bx) + dy * (ay + by), edges_a.magnitude + edges_b.magnitude)
    return e, edges_a, edges_b


def sobel(x: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Horizontal and vertical Sobel derivative with integer taps and reflect-101 border, as in OpenCV."""
    # Differences are taken before smoothing: they are exact where planes are smooth, whereas sums are rounded.
    padded = _reflect(x, -1, size // 2)
    horizontal = _smooth(_difference(padded, -1, size), -2, size)
    # `padded` is in memory, but `x` may be a slice of a larger array, which takes several times longer to pad.
    x = lax.slice_in_dim(padded, size // 2, size // 2 + x.shape[-1], axis=-1)
    return horizontal, _smooth(_difference(_reflect(x, -2, size // 2), -2, size), -1, size)


def sobel_transpose(x: jax.Array, y: jax.Array, size: int) -> jax.Array:
    """The transpose of `sobel`, computed by shifted reads like `sobel` itself.

    Reflect-101 extends a plane to an even periodic function. On one period, smoothing is its own transpose, and the
    transpose of a difference is its negative. A period contains each end pixel once and every other pixel twice. So
    end pixels have weight 1/2, by which the input is divided and the output multiplied. The difference of an even
    function is odd: it is 0 at the ends, and its extension is negated.
    """
    x = _weigh_ends(_smooth(_weigh_ends(x, -2, 2), -2, size), -2, 0.5)
    y = _weigh_ends(_difference(_reflect(_weigh_ends(y, -2, 0), -2, size // 2, odd=True), -2, size), -2, 0.5)
    x = _difference(_reflect(_weigh_ends(x, -1, 0), -1, size // 2, odd=True), -1, size)
    y = _smooth(_weigh_ends(y, -1, 2), -1, size)
    return -_weigh_ends(x + y, -1, 0.5)


def _smooth(x: jax.Array, axis: int, size: int) -> jax.Array:
    """Smooth along `axis`, with the border padded."""
    taps, padded = SMOOTHING[size], _reflect(x, axis, size // 2)
    if is_sharded(padded):
        return smooth_by_slices(padded, axis, taps)
    return lax.platform_dependent(
        padded,
        tpu=lambda padded: smooth_by_convolution(padded, axis, taps),
        default=lambda padded: smooth_by_slices(padded, axis, taps),
    )


def smooth_by_slices(padded: jax.Array, axis: int, taps: tuple[int, ...]) -> jax.Array:
    """Convolve with symmetric `taps` along `axis` by shifted adds, several times faster than `lax.conv` on a CPU."""
    middle = len(taps) // 2
    result = taps[middle] * _shifted(padded, axis, middle, 0)
    for j in range(1, middle + 1):
        result += taps[middle + j] * (_shifted(padded, axis, middle, j) + _shifted(padded, axis, middle, -j))
    return result


def smooth_by_convolution(padded: jax.Array, axis: int, taps: tuple[int, ...]) -> jax.Array:
    """The same by `lax.conv` in full precision, for the matrix units of a TPU.

    Differences are never convolved, because the products of opposite taps might not cancel exactly.
    """
    kernel = np.asarray(taps, padded.dtype).reshape((1, 1, -1, 1) if axis == -2 else (1, 1, 1, -1))
    images = padded.reshape((-1, 1, *padded.shape[-2:]))
    result = lax.conv_general_dilated(images, jnp.asarray(kernel), (1, 1), "VALID", precision=lax.Precision.HIGHEST)
    return result.reshape((*padded.shape[:-2], *result.shape[-2:]))


def _difference(padded: jax.Array, axis: int, size: int) -> jax.Array:
    """The derivative along `axis` of planes that are padded there."""
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
    """Pad both sides by `pad` pixels mirrored about the end pixels, and negated if `odd`. The axis is negative."""
    axis += x.ndim
    size = x.shape[axis]
    before = lax.rev(lax.slice_in_dim(x, 1, pad + 1, axis=axis), (axis,))
    after = lax.rev(lax.slice_in_dim(x, size - 1 - pad, size - 1, axis=axis), (axis,))
    if odd:
        before, after = -before, -after
    # The barrier writes the padded plane to memory. Otherwise XLA fuses the test for the border into each shifted read,
    # which prevents vector instructions: without it, Specific and its gradient take 1.7 times as long on a CPU.
    return lax.optimization_barrier(lax.concatenate([before, x, after], axis))


def _weigh_ends(x: jax.Array, axis: int, weight: float) -> jax.Array:
    weights = np.ones(x.shape[axis])
    weights[[0, -1]] = weight
    shape = [1] * x.ndim
    shape[axis] = -1
    return x * jnp.asarray(weights.reshape(shape), x.dtype)
