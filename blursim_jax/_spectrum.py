r"""General, the first term of BlurSim: the difference of a plane `a` and its target `b` in the frequency domain.

Planes are (..., H, W), of one floating dtype, and each pair is compared by itself. N is H * W. A and B are the
transforms of `a` and `b`, and f(m) is m, or log(m + c) for "log". General is a distance, symmetric in `a` and `b`,
times a scale that depends on `b` alone, so its gradient follows from the product rule.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from blursim_jax._checks import Options
from blursim_jax._layout import Layout
from blursim_jax._numerics import bin_magnitude, divide_where, norm, per_plane, safe_divide, safe_sqrt
from blursim_jax._taps import optimal_dft_size
from blursim_jax._transforms import half_spectrum, half_spectrum_with_phase


class Contrast(NamedTuple):
    """A target minus its mean, (..., H, W), and its squared contrast: variance plus one grey level squared, (...)."""

    centred: jax.Array
    squared: jax.Array


def general(a: jax.Array, b: jax.Array, options: Options, layout: Layout) -> jax.Array:
    """General of each plane pair, (..., H, W) to (...)."""
    return _distance(a, b, options, layout) * general_scale(contrast(b, options, layout), b, options, layout)


def general_gradient(
    a: jax.Array, b: jax.Array, options: Options, argnum: int, layout: Layout
) -> tuple[jax.Array, jax.Array]:
    """General and its gradient with respect to `a` (argnum 0) or `b` (argnum 1)."""
    # The distance is symmetric, so the planes are swapped for `b`. Computing B as A - (A - B) instead would give its
    # phases the rounding errors of A.
    distance, gradient = _distance_gradient(*((a, b) if argnum == 0 else (b, a)), options, layout)
    target = contrast(b, options, layout)
    scale = general_scale(target, b, options, layout)
    value, gradient = distance * scale, gradient * per_plane(scale)
    if argnum == 1 and target is not None:
        gradient -= target.centred * per_plane(value / (math.prod(layout.shape(b)) * target.squared))
    return value, gradient


def general_scale(target: Contrast | None, b: jax.Array, options: Options, layout: Layout) -> jax.Array:
    """The factor of the distance, (..., H, W) to (...)."""
    height, width = layout.shape(b)
    if options.spectrum == "magnitude":
        return level_scale(target, b, options) / (height * width)
    if options.spectrum == "complex_l1":
        # 1 / N for the mean over bins, and 1 / sqrt(N) for the orthonormal transform.
        return level_scale(target, b, options) / (height * width) ** 1.5
    # For "complex", the distance is computed on pixels. By Parseval, that of the spectra is sqrt(N) times as large.
    # Under "area", N is that of the original, which pads planes. For "log", 1 / sqrt(N) makes a root mean square.
    if options.spectrum == "complex" and options.normalization == "area":
        height, width = optimal_dft_size(height), optimal_dft_size(width)
    return level_scale(target, b, options) / math.sqrt(height * width)


def level_scale(target: Contrast | None, b: jax.Array, options: Options) -> jax.Array:
    """The part of the scale that is independent of the area, (..., H, W) to (...)."""
    if options.spectrum == "log":
        return jnp.ones(b.shape[:-2], b.dtype)
    if target is None:
        return jnp.full(b.shape[:-2], 1 / options.white, b.dtype)
    return 1 / jnp.sqrt(target.squared)


def contrast(b: jax.Array, options: Options, layout: Layout) -> Contrast | None:
    """The contrast that General is divided by under "relative", or None. For "log", it is None, too."""
    if options.normalization != "relative" or options.spectrum == "log":
        return None
    area = math.prod(layout.shape(b))
    centred = b - per_plane(layout.total(b) / area)
    # One grey level keeps the variance of a flat target from being 0.
    return Contrast(centred, layout.total(centred * centred) / area + options.grey_level() ** 2)


def spectrum_difference(
    transform: jax.Array, difference: jax.Array, options: Options, area: int
) -> tuple[jax.Array, jax.Array]:
    """The difference e = f(|A|) - f(|B|) and the magnitude |A|, from the transforms A and A - B.

    Subtracting two nearly equal magnitudes would leave only their rounding errors. Both differences are therefore
    computed from A - B, the transform of a - b.
    """
    other = transform - difference
    magnitude, other_magnitude = bin_magnitude(transform), bin_magnitude(other)
    # |A| - |B| = (|A|^2 - |B|^2) / (|A| + |B|) = Re((A - B) conj(A + B)) / (|A| + |B|).
    both = transform + other
    e = safe_divide(difference.real * both.real + difference.imag * both.imag, magnitude + other_magnitude)
    if options.spectrum == "log":
        smaller = jnp.minimum(magnitude, other_magnitude)
        # log(|A| + c) - log(|B| + c) = sign(e) log1p(|e| / (min(|A|, |B|) + c)). The functions `sign` and `abs` have
        # derivative 0 at 0, which would drop second derivatives of bins that agree.
        sign = jnp.where(e < 0, -jnp.ones_like(e), jnp.ones_like(e))
        e = sign * jnp.log1p(sign * e / (smaller + _log_offset(area, options)))
    return e, magnitude


def _distance(a: jax.Array, b: jax.Array, options: Options, layout: Layout) -> jax.Array:
    if options.spectrum == "complex":
        return norm(a - b, layout.total)
    height, width = layout.shape(a)
    difference = half_spectrum(a - b, layout)
    if options.spectrum == "complex_l1":
        return _sum_from_half(bin_magnitude(difference), width, layout)
    e, _ = spectrum_difference(half_spectrum(a, layout), difference, options, height * width)
    return safe_sqrt(_sum_from_half(e * e, width, layout))


def _distance_gradient(a: jax.Array, b: jax.Array, options: Options, layout: Layout) -> tuple[jax.Array, jax.Array]:
    """The distance and its gradient with respect to `a`.

    For e = f(|A|) - f(|B|), the gradient is N ifft2(e f'(|A|) A / |A|) / norm(e).
    """
    if options.spectrum == "complex":
        distance = norm(a - b, layout.total)
        return distance, safe_divide(a - b, per_plane(distance))
    if options.spectrum == "complex_l1":
        return _sum_of_moduli_gradient(a - b, layout)
    height, width = layout.shape(a)
    area = height * width
    # The mean of a - b is not transformed separately here, which would take two more passes.
    transform, has_phase = half_spectrum_with_phase(a, layout)
    e, magnitude = spectrum_difference(transform, layout.transform(a - b), options, area)
    distance = safe_sqrt(_sum_from_half(e * e, width, layout))
    divisor = magnitude if options.spectrum == "magnitude" else magnitude * (magnitude + _log_offset(area, options))
    weight = divide_where(has_phase, e, divisor)
    # Scaling the weights of half a spectrum is cheaper than scaling pixels.
    weight *= per_plane(safe_divide(jnp.full_like(distance, area), distance))
    # This takes one real inverse transform. Autodiff would transpose rfft2 into a full complex transform.
    gradient = layout.inverse(lax.complex(weight * transform.real, weight * transform.imag), (height, width))
    return distance, gradient


def _sum_of_moduli_gradient(difference: jax.Array, layout: Layout) -> tuple[jax.Array, jax.Array]:
    """The sum of |D| over the full spectrum D of a - b, and its gradient with respect to `a`: N ifft2(D / |D|)."""
    height, width = layout.shape(difference)
    # Every bin weighs the same in the gradient, the weak ones of a smooth difference included, so all need a phase.
    transform, has_phase = half_spectrum_with_phase(difference, layout)
    magnitude = bin_magnitude(transform)
    weight = divide_where(has_phase, jnp.full_like(magnitude, height * width), magnitude)
    gradient = layout.inverse(lax.complex(weight * transform.real, weight * transform.imag), (height, width))
    return _sum_from_half(magnitude, width, layout), gradient


def _sum_from_half(x: jax.Array, width: int, layout: Layout) -> jax.Array:
    """The sum over the full spectrum, from its half (..., H, W // 2 + 1).

    Each column counts twice, except those of frequency 0 and, for even widths, of the Nyquist frequency.
    """
    weights = np.full(width // 2 + 1, 2.0)
    weights[0] = 1
    if width % 2 == 0:
        weights[-1] = 1
    weights = jnp.asarray(weights.reshape((1,) * (x.ndim - 1) + (-1,)), x.dtype)
    return layout.total(x * layout.columns(weights))


def _log_offset(area: int, options: Options) -> float:
    """The c of log(m + c): the root mean square magnitude of bins of white noise with deviation one grey level."""
    return math.sqrt(area) * options.grey_level()
