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

from blursim_jax._checks import Options
from blursim_jax._numerics import norm, per_plane, safe_divide, safe_sqrt
from blursim_jax._taps import optimal_dft_size

GREY_LEVEL = 1 / 255
# A bin at most this many rounding errors above zero holds round-off alone: it has a magnitude, but no phase.
DEAD_ZONE = 64


def general(a: jax.Array, b: jax.Array, options: Options) -> jax.Array:
    """General of every plane pair, (..., H, W) to (...)."""
    return _distance(a, b, options.spectrum) * scale(b, options)


def general_gradient(a: jax.Array, b: jax.Array, options: Options, argument: int) -> tuple[jax.Array, jax.Array]:
    """General with its gradient by `a` (argument 0) or by `b` (argument 1)."""
    # By `b`, the roles are exchanged, not the sign: b's phases out of a's transform would carry a's rounding errors.
    distance, gradient = _distance_gradient(*((a, b) if argument == 0 else (b, a)), options.spectrum)
    factor = scale(b, options)
    value, gradient = distance * factor, gradient * per_plane(factor)
    if argument == 1 and options.normalization == "relative" and options.spectrum != "log":
        centred = b - jnp.mean(b, axis=(-2, -1), keepdims=True)
        gradient -= centred * per_plane(value / (b.shape[-2] * b.shape[-1] * _variance(b)))
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
    """The part of the scale that depends on pixels, (..., H, W) to (...): 1 unless relative."""
    if options.normalization == "area" or options.spectrum == "log":
        return jnp.ones(b.shape[:-2], b.dtype)
    return 1 / jnp.sqrt(_variance(b))


def spectrum_difference(
    a: jax.Array, b: jax.Array, spectrum: str, transform: Callable[[jax.Array], jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The difference e of two real spectra readings, with the transform of `a` and its magnitude.

    Everything comes from the transform of a - b: subtracting two magnitudes that are nearly equal would leave only
    their rounding errors.
    """
    transform_a, difference = transform(a), transform(a - b)
    transform_b = transform_a - difference
    magnitude_a, magnitude_b = _magnitude(transform_a), _magnitude(transform_b)
    # |A| - |B| = (|A|^2 - |B|^2) / (|A| + |B|) = Re((A - B) conj(A + B)) / (|A| + |B|)
    total = transform_a + transform_b
    e = safe_divide(difference.real * total.real + difference.imag * total.imag, magnitude_a + magnitude_b)
    if spectrum == "log":
        smaller = jnp.minimum(magnitude_a, magnitude_b)
        # Not sign and abs: their derivatives at 0 are 0, and second order would miss the bins that agree.
        sign = jnp.where(e < 0, -jnp.ones_like(e), jnp.ones_like(e))
        e = sign * jnp.log1p(sign * e / (smaller + _log_offset(a)))
    return e, transform_a, magnitude_a


def _distance(a: jax.Array, b: jax.Array, spectrum: str) -> jax.Array:
    if spectrum == "complex":
        return norm(a - b)
    e, _, _ = spectrum_difference(a, b, spectrum, jnp.fft.rfft2)
    return _half_norm(e, a.shape[-1])


def _distance_gradient(a: jax.Array, b: jax.Array, spectrum: str) -> tuple[jax.Array, jax.Array]:
    """The distance and its gradient by `a`: for e = f(|A|) - f(|B|) it is N ifft2(e f'(|A|) A / |A|) / norm(e)."""
    if spectrum == "complex":
        distance = norm(a - b)
        return distance, safe_divide(a - b, per_plane(distance))
    height, width = a.shape[-2:]
    e, transform_a, magnitude = spectrum_difference(a, b, spectrum, jnp.fft.rfft2)
    distance = _half_norm(e, width)
    has_phase = magnitude > DEAD_ZONE * float(jnp.finfo(a.dtype).eps) * per_plane(norm(a))
    slope = magnitude if spectrum == "magnitude" else magnitude * (magnitude + _log_offset(a))
    weight = jnp.where(has_phase, e / jnp.where(has_phase, slope, 1), 0)
    # Scaled here and not after the transform: it is one factor less for every pixel.
    weight *= per_plane(safe_divide(jnp.full_like(distance, height * width), distance))
    spectrum_gradient = jax.lax.complex(weight * transform_a.real, weight * transform_a.imag)
    # One inverse real transform; the automatic transpose of rfft2 is a full complex one.
    return distance, jnp.fft.irfft2(spectrum_gradient, s=(height, width))


def _magnitude(z: jax.Array) -> jax.Array:
    return safe_sqrt(z.real * z.real + z.imag * z.imag)


def _half_norm(e: jax.Array, width: int) -> jax.Array:
    """Norm over the full spectrum from its half: every column but DC and, for even widths, Nyquist counts twice."""
    weights = np.full(width // 2 + 1, 2.0)
    weights[0] = 1
    if width % 2 == 0:
        weights[-1] = 1
    return safe_sqrt(jnp.sum(e * e * jnp.asarray(weights.reshape((1,) * (e.ndim - 1) + (-1,)), e.dtype), axis=(-2, -1)))


def _log_offset(a: jax.Array) -> float:
    """One grey level, in every pixel at random, has about this magnitude in every bin."""
    return math.sqrt(a.shape[-2] * a.shape[-1]) * GREY_LEVEL


def _variance(b: jax.Array) -> jax.Array:
    """The variance of every plane, plus that of one grey level so that a flat one is not divided by 0."""
    return jnp.var(b, axis=(-2, -1)) + GREY_LEVEL**2
