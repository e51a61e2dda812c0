"""The comparison of planes whose rows are spread over the devices of a mesh axis, inside `jax.shard_map`.

Every function takes planes (..., R, W), the same number R of rows on each device. Formulas are those of `_spectrum` and
`_edges`; here stands what changes where no device holds a whole plane: sums go over devices, a transform goes along
rows, then, after every device has given its columns to the others, along columns, and the rows next to a device's own
come from its neighbours.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from blursim_jax._checks import Options
from blursim_jax._edges import in_strips, rounding_error, squares_and_gradients, value_and_gradient
from blursim_jax._numerics import norm, per_plane, plane_sum, safe_divide, safe_sqrt
from blursim_jax._planes import mix, tangent_of
from blursim_jax._spectrum import (
    DEAD_ZONE,
    SAMPLE,
    bin_magnitude,
    column_weights,
    foretold_share,
    inverse_of_weakening,
    scale,
    spectrum_difference,
    spectrum_gradient,
    weaken,
)


@dataclasses.dataclass(frozen=True)
class _Axis:
    """The mesh axis over which rows are spread, and how many devices it has."""

    name: Any
    size: int

    def index(self) -> jax.Array:
        """Which of the devices this one is; the first holds the first rows."""
        return lax.axis_index(self.name)

    def total(self, x: jax.Array) -> jax.Array:
        """The sum over every plane, (..., R, W) to (...)."""
        return lax.psum(plane_sum(x), self.name)

    def from_above(self, x: jax.Array) -> jax.Array:
        """The `x` of the device with the rows above; the first has that of the last."""
        return lax.ppermute(x, self.name, [(i, (i + 1) % self.size) for i in range(self.size)])

    def from_below(self, x: jax.Array) -> jax.Array:
        """The `x` of the device with the rows below; the last has that of the first."""
        return lax.ppermute(x, self.name, [(i, (i - 1) % self.size) for i in range(self.size)])

    def transform(self, x: jax.Array) -> jax.Array:
        """Some columns of the half spectrum, (..., R, W) to (..., H, ceil((W // 2 + 1) / size)), filled up with 0."""
        z = self._filled(jnp.fft.rfft(x))
        return jnp.fft.fft(lax.all_to_all(z, self.name, z.ndim - 1, z.ndim - 2, tiled=True), axis=-2)

    def inverse(self, z: jax.Array, width: int) -> jax.Array:
        """What `transform` transformed."""
        z = lax.all_to_all(jnp.fft.ifft(z, axis=-2), self.name, z.ndim - 2, z.ndim - 1, tiled=True)
        return jnp.fft.irfft(z[..., : width // 2 + 1], n=width)

    def columns_of(self, values: jax.Array) -> jax.Array:
        """Of one number a column of the half spectrum, (..., n), those of the columns of `transform`."""
        values = self._filled(values)
        each = values.shape[-1] // self.size
        return lax.dynamic_slice_in_dim(values, self.index() * each, each, axis=-1)

    def _filled(self, z: jax.Array) -> jax.Array:
        """Columns filled up with 0, for each device to have as many."""
        return jnp.pad(z, [(0, 0)] * (z.ndim - 1) + [(0, -z.shape[-1] % self.size)])


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def compare_rows(
    a: jax.Array, b: jax.Array, alpha: jax.Array | None, options: Options, axis_name: Any
) -> tuple[jax.Array, ...]:
    """What `compare_planes` gives for the planes put together; every device has the same result."""
    axis = _Axis(axis_name, lax.axis_size(axis_name))
    # Of the gradient, which nobody takes, the compiler leaves nothing.
    general, specific, _ = _terms_and_gradient(a, b, alpha, options, 0, axis)
    return mix(general, specific, alpha)


@functools.partial(compare_rows.defjvp, symbolic_zeros=True)
def _compare_rows_jvp(options: Options, axis_name: Any, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    axis = _Axis(axis_name, lax.axis_size(axis_name))
    arguments = [i for i in (0, 1) if not isinstance(tangents[i], SymbolicZero)]
    a, b, alpha = primals
    results = {i: _terms_and_gradient(a, b, alpha, options, i, axis) for i in arguments or [0]}
    general, specific, _ = results[max(results)]
    values, gradients = mix(general, specific, alpha), {i: results[i][2] for i in arguments}
    return values, tangent_of(values, gradients, specific - general, tangents, axis.total)


def _terms_and_gradient(
    a: jax.Array, b: jax.Array, alpha: jax.Array | None, options: Options, argument: int, axis: _Axis
) -> tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]:
    """Both terms, and the gradient of their mixture, or of each where alpha is None."""
    general, by_general = _general_gradient(a, b, options, argument, axis)
    specific, by_specific = _specific_gradient(a, b, options, argument, axis)
    return general, specific, mix(by_general, by_specific, alpha)


def _general_gradient(
    a: jax.Array, b: jax.Array, options: Options, argument: int, axis: _Axis
) -> tuple[jax.Array, jax.Array]:
    """General with its gradient by `a` (argument 0) or by `b` (argument 1)."""
    height, width = a.shape[-2] * axis.size, a.shape[-1]
    area = height * width
    x, other = (a, b) if argument == 0 else (b, a)
    if options.spectrum == "complex":
        distance = norm(x - other, axis.total)
        gradient = safe_divide(x - other, per_plane(distance))
    else:
        transform, has_phase = _transform_with_phase(x, axis)
        e, magnitude = spectrum_difference(transform, axis.transform(x - other), options, area)
        weights = axis.columns_of(jnp.asarray(column_weights(width), e.dtype))
        distance = safe_sqrt(axis.total(e * e * weights.reshape((1,) * (e.ndim - 1) + (-1,))))
        spectrum = spectrum_gradient(transform, has_phase, e, magnitude, distance, options, area)
        gradient = axis.inverse(spectrum, width)
    if options.normalization == "area" or options.spectrum == "log":
        factor = scale(_whole(a, axis), options)
        return distance * factor, gradient * per_plane(factor)
    centred = b - per_plane(axis.total(b) / area)
    variance = axis.total(centred * centred) / area + options.grey_level() ** 2
    factor = 1 / (jnp.sqrt(variance) * (area if options.spectrum == "magnitude" else math.sqrt(area)))
    value, gradient = distance * factor, gradient * per_plane(factor)
    if argument == 1:
        gradient -= centred * per_plane(value / (area * variance))
    return value, gradient


def _transform_with_phase(x: jax.Array, axis: _Axis) -> tuple[jax.Array, jax.Array]:
    height, width = x.shape[-2] * axis.size, x.shape[-1]
    area = height * width
    mean = per_plane(axis.total(x / area))
    x = x - mean
    # Without what goes round, also from one device to the next.
    share = foretold_share(x[..., ::SAMPLE, 1:], x[..., ::SAMPLE, :-1], axis.total)
    other_share = foretold_share(x[..., 1::SAMPLE, :], x[..., :-1:SAMPLE, :], axis.total)
    x = weaken(x, jnp.roll(x, 1, axis=-1), share)
    x = weaken(x, jnp.concatenate([axis.from_above(x[..., -1:, :]), x[..., :-1, :]], axis=-2), other_share)
    transform = axis.transform(x)
    zero_frequency = mean * area * (1 - share) * (1 - other_share)
    row, column = (lax.broadcasted_iota(np.int32, transform.shape, transform.ndim - i) for i in (2, 1))
    is_zero_frequency = (row == 0) & (column == 0) & (axis.index() == 0)
    transform += jnp.where(is_zero_frequency, zero_frequency, 0).astype(transform.dtype)
    eps = float(jnp.finfo(x.dtype).eps)
    least = DEAD_ZONE * eps * (per_plane(norm(x, axis.total)) + eps * area * jnp.abs(mean))
    has_phase = bin_magnitude(transform) > least
    inverse = axis.columns_of(inverse_of_weakening(share, width, width // 2 + 1))
    return transform * (inverse * inverse_of_weakening(other_share, height, height).mT), has_phase


def _specific_gradient(
    a: jax.Array, b: jax.Array, options: Options, argument: int, axis: _Axis
) -> tuple[jax.Array, jax.Array]:
    """Specific with its gradient by `a` (argument 0) or by `b` (argument 1)."""
    rows = a.shape[-2]
    x, other = (a, b) if argument == 0 else (b, a)
    least = lax.pmax(rounding_error(x, options.sobel_kernel_size), axis.name)
    function = squares_and_gradients(least, options, argument)
    # A border of the device's own rows, reflected where the plane goes on, does not reach beyond its first and last
    # ones. These are computed once more, between their true neighbours.
    margin = 2 * (options.sobel_kernel_size // 2)
    has_above, has_below = axis.index() > 0, axis.index() < axis.size - 1

    def total(z: jax.Array, first: jax.Array | int) -> jax.Array:
        row = jnp.asarray(first, np.int32) + lax.broadcasted_iota(np.int32, z.shape, z.ndim - 2)
        counts = (row >= jnp.where(has_above, margin, 0)) & (row < jnp.where(has_below, rows - margin, rows))
        return plane_sum(jnp.where(counts, z, 0))

    squared, images = in_strips(function, x, other, options, total)

    def above(z: jax.Array) -> jax.Array:
        return jnp.concatenate([axis.from_above(z[..., rows - margin :, :]), z[..., : 2 * margin, :]], axis=-2)

    def below(z: jax.Array) -> jax.Array:
        return jnp.concatenate([z[..., rows - 2 * margin :, :], axis.from_below(z[..., :margin, :])], axis=-2)

    ends = (above, has_above, np.s_[..., :margin, :]), (below, has_below, np.s_[..., -margin:, :])
    # A device by itself has no neighbour, and may have fewer rows than margins.
    for side, goes_on, own in ends if axis.size > 1 else ():
        squares, parts = jax.tree.map(lambda z: z[..., margin : 2 * margin, :], function(side(x), side(other)))
        squared = [z + jnp.where(goes_on, plane_sum(part), 0) for z, part in zip(squared, squares, strict=True)]
        images = [
            image.at[own].set(jnp.where(goes_on, part, image[own])) for image, part in zip(images, parts, strict=True)
        ]
    squared = [lax.psum(z, axis.name) for z in squared]
    return value_and_gradient(squared, images, _whole(a, axis), options, argument)


def _whole(a: jax.Array, axis: _Axis) -> Any:
    """Shape and dtype of the planes put together, where no more is asked of them."""
    return jax.ShapeDtypeStruct((*a.shape[:-2], a.shape[-2] * axis.size, a.shape[-1]), a.dtype)
