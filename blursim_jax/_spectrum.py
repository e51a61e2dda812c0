r"""General: the difference of two planes in the frequency domain.

Every function takes planes (..., H, W) of one floating dtype and works on each by itself. General is the product of a
distance, symmetric in the two planes, and a scale, which depends on the second alone, so each gradient is a line of
the product rule.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from blursim_jax._checks import Options
from blursim_jax._numerics import divide_where, norm, per_plane, plane_sum, safe_divide, safe_sqrt
from blursim_jax._taps import optimal_dft_size

# A bin at most this many rounding errors above zero holds round-off alone: it has a magnitude, but no phase.
DEAD_ZONE = 64
# Nearer to 1, photos gain little.
HIGH_PASS = 0.9
# One row of so many tells how alike neighbours are: no power of 2, as of which images may be built.
SAMPLE = 7


def general(a: jax.Array, b: jax.Array, options: Options) -> jax.Array:
    """General of every plane pair, (..., H, W) to (...)."""
    return _distance(a, b, options) * scale(b, options)


def general_gradient(a: jax.Array, b: jax.Array, options: Options, argument: int) -> tuple[jax.Array, jax.Array]:
    """General with its gradient by `a` (argument 0) or by `b` (argument 1)."""
    # By `b`, the roles are exchanged, not the sign: b's phases out of a's transform would carry a's rounding errors.
    distance, gradient = _distance_gradient(*((a, b) if argument == 0 else (b, a)), options)
    factor = scale(b, options)
    value, gradient = distance * factor, gradient * per_plane(factor)
    if argument == 1 and options.normalization == "relative" and options.spectrum != "log":
        centred = b - jnp.mean(b, axis=(-2, -1), keepdims=True)
        gradient -= centred * per_plane(value / (b.shape[-2] * b.shape[-1] * _variance(b, options)))
    return value, gradient


def scale(b: jax.Array, options: Options) -> jax.Array:
    """What the distance is multiplied by, (..., H, W) to (...)."""
    height, width = b.shape[-2:]
    if options.spectrum == "magnitude":
        return inverse_contrast(b, options) / (height * width)
    # The complex distance is taken on pixels, where Parseval leaves a factor sqrt(N) out.
    if options.spectrum == "complex" and options.normalization == "area":
        height, width = optimal_dft_size(height), optimal_dft_size(width)
    return inverse_contrast(b, options) / math.sqrt(height * width)


def inverse_contrast(b: jax.Array, options: Options) -> jax.Array:
    """The part of the scale that is not of the area, (..., H, W) to (...)."""
    if options.spectrum == "log":
        return jnp.ones(b.shape[:-2], b.dtype)
    if options.normalization == "area":
        return jnp.full(b.shape[:-2], 1 / options.white, b.dtype)
    return 1 / jnp.sqrt(_variance(b, options))


def spectrum_difference(
    transform: jax.Array, difference: jax.Array, options: Options, area: int
) -> tuple[jax.Array, jax.Array]:
    """The difference e of two spectra and the first one's magnitude, from the transforms of `a` and of a - b.

    The other transform is the first less the difference: of two magnitudes that are nearly equal, subtracting would
    leave only their rounding errors.
    """
    other = transform - difference
    magnitude, other_magnitude = bin_magnitude(transform), bin_magnitude(other)
    # |A| - |B| = (|A|^2 - |B|^2) / (|A| + |B|) = Re((A - B) conj(A + B)) / (|A| + |B|)
    total = transform + other
    e = safe_divide(difference.real * total.real + difference.imag * total.imag, magnitude + other_magnitude)
    if options.spectrum == "log":
        smaller = jnp.minimum(magnitude, other_magnitude)
        # Not sign and abs: their derivatives at 0 are 0, and second order would miss the bins that agree.
        sign = jnp.where(e < 0, -jnp.ones_like(e), jnp.ones_like(e))
        e = sign * jnp.log1p(sign * e / (smaller + _log_offset(area, options)))
    return e, magnitude


def _distance(a: jax.Array, b: jax.Array, options: Options) -> jax.Array:
    if options.spectrum == "complex":
        return norm(a - b)
    height, width = a.shape[-2:]
    e, _ = spectrum_difference(_transform(a), _transform(a - b), options, height * width)
    return _half_norm(e, width)


def _distance_gradient(a: jax.Array, b: jax.Array, options: Options) -> tuple[jax.Array, jax.Array]:
    """The distance and its gradient by `a`: for e = f(|A|) - f(|B|) it is N ifft2(e f'(|A|) A / |A|) / norm(e)."""
    if options.spectrum == "complex":
        distance = norm(a - b)
        return distance, safe_divide(a - b, per_plane(distance))
    height, width = a.shape[-2:]
    area = height * width
    transform, has_phase = _transform_with_phase(a)
    e, magnitude = spectrum_difference(transform, jnp.fft.rfft2(a - b), options, area)
    distance = _half_norm(e, width)
    gradient = spectrum_gradient(transform, has_phase, e, magnitude, distance, options, area)
    # One inverse real transform; the automatic transpose of rfft2 is a full complex one.
    return distance, jnp.fft.irfft2(gradient, s=(height, width))


def spectrum_gradient(
    transform: jax.Array,
    has_phase: jax.Array,
    e: jax.Array,
    magnitude: jax.Array,
    distance: jax.Array,
    options: Options,
    area: int,
) -> jax.Array:
    """The transform of the distance's gradient, from that of `a`: N e f'(|A|) A / |A| / norm(e)."""
    slope = magnitude if options.spectrum == "magnitude" else magnitude * (magnitude + _log_offset(area, options))
    weight = divide_where(has_phase, e, slope)
    # Scaled here and not after the transform: it is one factor less for every pixel.
    weight *= per_plane(safe_divide(jnp.full_like(distance, area), distance))
    return lax.complex(weight * transform.real, weight * transform.imag)


def _transform(a: jax.Array) -> jax.Array:
    """The half spectrum of planes, with their means left out of the rounding errors."""
    mean = _mean(a)
    return _with_zero_frequency(jnp.fft.rfft2(a - mean), mean * (a.shape[-2] * a.shape[-1]))


def _mean(a: jax.Array) -> jax.Array:
    """The mean of planes, (..., H, W) to (..., 1, 1), for subtracting it from them."""
    # Not `jnp.mean`: XLA fuses its last step, a product, with some of the subtractions, in one rounding instead of two,
    # which gives a flat plane several values.
    return jnp.sum(a / (a.shape[-2] * a.shape[-1]), axis=(-2, -1), keepdims=True)


def _with_zero_frequency(transform: jax.Array, zero_frequency: jax.Array) -> jax.Array:
    """Add (..., 1, 1) to the bin of frequency 0."""
    beside = [(0, n - m, 0) for n, m in zip(transform.shape, zero_frequency.shape, strict=True)]
    return transform + lax.pad(zero_frequency.astype(transform.dtype), jnp.zeros((), transform.dtype), beside)


def _transform_with_phase(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The half spectrum of planes, and which of its bins have a phase, being more than rounding errors.

    A transform spreads its rounding errors over all bins alike, so that the mean and the low frequencies of a blurred
    photo drown the phases of its high ones: they were 1e-4 of the gradient. Hence the transform is that of a plane
    without its mean and with its low frequencies weakened, and what this took away is given back bin by bin.
    """
    height, width = a.shape[-2:]
    mean = _mean(a)
    x = a - mean
    # Without what goes round.
    share = foretold_share(x[..., ::SAMPLE, 1:], x[..., ::SAMPLE, :-1])
    other_share = foretold_share(x[..., 1::SAMPLE, :], x[..., :-1:SAMPLE, :])
    x = _high_pass(x, share, other_share)
    transform = _with_zero_frequency(jnp.fft.rfft2(x), mean * (height * width) * (1 - share) * (1 - other_share))
    eps = float(jnp.finfo(a.dtype).eps)
    # Of a flat plane, x is the rounding error of the mean.
    least = DEAD_ZONE * eps * (per_plane(norm(x)) + eps * height * width * jnp.abs(mean))
    has_phase = bin_magnitude(transform) > least
    inverse = inverse_of_weakening(share, width, width // 2 + 1) * inverse_of_weakening(other_share, height, height).mT
    return transform * inverse, has_phase


def foretold_share(x: jax.Array, before: jax.Array, total: Callable[[jax.Array], jax.Array] = plane_sum) -> jax.Array:
    """What of a pixel the one before it foretells, (..., H, W) to (..., 1, 1); `total` sums over a plane.

    Of noise nothing, of which a fixed share would drown low frequencies.
    """
    correlation = safe_divide(total(x * before), total(before * before))
    # No gradient, because the result does not depend on it.
    return per_plane(lax.stop_gradient(jnp.clip(correlation, 0, HIGH_PASS)))


def _high_pass(x: jax.Array, share: jax.Array, other_share: jax.Array) -> jax.Array:
    """x[i, j] - share * x[i, j - 1], and of that the same along the other axis; both go round."""
    height, width = x.shape[-2:]
    # A plane in one line, behind its last row and the pixel before that: the pixel to the left of each is the same line
    # one earlier, but for the first column. Padding a plane by a column is several times slower, as it moves all rows.
    line = x.reshape(*x.shape[:-2], height * width)
    end = lax.slice_in_dim(line, (height - 1) * width - 1, height * width, axis=-1)
    line = lax.optimization_barrier(lax.concatenate([end, line], line.ndim - 1))
    first_column = lax.broadcasted_iota(np.int32, x.shape, x.ndim - 1) == 0

    def plane(start: int) -> jax.Array:
        return lax.slice_in_dim(line, start, start + height * width, axis=-1).reshape(x.shape)

    def along_rows(start: int) -> jax.Array:
        x = plane(start)
        return weaken(x, jnp.where(first_column, x[..., -1:], plane(start - 1)), share)

    return weaken(along_rows(width + 1), along_rows(1), other_share)


def weaken(x: jax.Array, before: jax.Array, share: jax.Array) -> jax.Array:
    # The difference first: where a plane is smooth it is exact, and a product would round as the transform does.
    return (x - before) + (1 - share) * before


def inverse_of_weakening(share: jax.Array, size: int, count: int) -> jax.Array:
    """What undoes x[j] - share * x[j - 1] around `size` pixels in the first `count` bins, (..., 1, count)."""
    dtype = np.result_type(share.dtype, "complex64")
    turn = np.exp(-2j * np.pi * np.arange(count) / size).reshape((1,) * (share.ndim - 1) + (-1,))
    return 1 / (1 - share.astype(dtype) * jnp.asarray(turn, dtype))


def bin_magnitude(z: jax.Array) -> jax.Array:
    return safe_sqrt(z.real * z.real + z.imag * z.imag)


def _half_norm(e: jax.Array, width: int) -> jax.Array:
    """Norm over the full spectrum from its half: every column but DC and, for even widths, Nyquist counts twice."""
    return safe_sqrt(jnp.sum(e * e * _per_column(column_weights(width), e), axis=(-2, -1)))


def column_weights(width: int) -> np.ndarray:
    """How many columns of the full spectrum each one of its half stands for."""
    weights = np.full(width // 2 + 1, 2.0)
    weights[0] = 1
    if width % 2 == 0:
        weights[-1] = 1
    return weights


def _per_column(values: np.ndarray, spectrum: jax.Array) -> jax.Array:
    """Give one number a column the rank and dtype of a spectrum (..., H, W)."""
    return jnp.asarray(values.reshape((1,) * (spectrum.ndim - 1) + (-1,)), spectrum.dtype)


def _log_offset(area: int, options: Options) -> float:
    """One grey level, in every pixel at random, has about this magnitude in every bin."""
    return math.sqrt(area) * options.grey_level()


def _variance(b: jax.Array, options: Options) -> jax.Array:
    """The variance of every plane, plus that of one grey level so that a flat one is not divided by 0."""
    return jnp.var(b, axis=(-2, -1)) + options.grey_level() ** 2
