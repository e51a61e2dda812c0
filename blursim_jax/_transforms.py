"""Half spectra of planes (..., H, W), and which of their bins have a phase.

A half spectrum is (..., H, W // 2 + 1), or this device's part of its columns where rows are sharded.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from blursim_jax._layout import Layout
from blursim_jax._numerics import bin_magnitude, norm, per_plane, safe_divide

# A bin of at most this many rounding errors, eps times the norm of the transformed plane, has a magnitude but no phase.
PHASE_FLOOR = 64
# The upper limit of rho, the autocorrelation in pre-emphasis. A higher limit hardly improves the phases of photos.
MAX_RHO = 0.9
# The autocorrelation is estimated from every seventh row. 7 is coprime to powers of 2, so patterns with such periods do
# not bias the estimate.
ROW_STRIDE = 7


def half_spectrum(a: jax.Array, layout: Layout) -> jax.Array:
    """The half spectrum. The mean is added afterwards, so that its rounding errors do not reach other bins."""
    mean = _mean(a, layout)
    return layout.add_zero_frequency(layout.transform(a - mean), mean * math.prod(layout.shape(a)))


def _mean(a: jax.Array, layout: Layout) -> jax.Array:
    """The mean of each plane, (..., H, W) to (..., 1, 1)."""
    # XLA fuses the last multiplication of `jnp.mean` into some of the subtractions that follow, which rounds them
    # differently from others: a flat plane would get several values.
    return per_plane(layout.total(a / math.prod(layout.shape(a))))


def half_spectrum_with_phase(a: jax.Array, layout: Layout) -> tuple[jax.Array, jax.Array]:
    """The half spectrum, and which of its bins have a phase, that is, exceed `PHASE_FLOOR` rounding errors.

    A transform spreads its rounding errors evenly over all bins. The mean and the low frequencies of a blurred photo
    would drown the phases of its high frequencies: the relative error of the gradient was 1e-4. Therefore the mean is
    subtracted and the plane pre-emphasized before the transform: x[j] - rho x[j - 1] along both axes, where rho is the
    lag-1 autocorrelation. De-emphasis then divides each bin by the frequency response of this filter.
    """
    height, width = layout.shape(a)
    mean = _mean(a, layout)
    x = a - mean
    # Neighbours across the border are left out of the estimate.
    rho_x = _autocorrelation(x[..., ::ROW_STRIDE, 1:], x[..., ::ROW_STRIDE, :-1], layout)
    rho_y = _autocorrelation(x[..., 1::ROW_STRIDE, :], x[..., :-1:ROW_STRIDE, :], layout)
    x = layout.pre_emphasize(x, rho_x, rho_y)
    zero_frequency = mean * (height * width) * (1 - rho_x) * (1 - rho_y)
    transform = layout.add_zero_frequency(layout.transform(x), zero_frequency)
    eps = float(jnp.finfo(a.dtype).eps)
    # The second term covers flat planes, where x is the rounding error of the mean.
    floor = PHASE_FLOOR * eps * (per_plane(norm(x, layout.total)) + eps * height * width * jnp.abs(mean))
    has_phase = bin_magnitude(transform) > floor
    de_emphasis_x = layout.columns(_de_emphasis(rho_x, width, width // 2 + 1))
    return transform * (de_emphasis_x * _de_emphasis(rho_y, height, height).mT), has_phase


def _autocorrelation(x: jax.Array, previous: jax.Array, layout: Layout) -> jax.Array:
    """The lag-1 autocorrelation of planes, in [0, MAX_RHO], from pixels and their predecessors: (..., 1, 1).

    It adapts the pre-emphasis to the plane: on white noise, a fixed rho would drown the low frequencies.
    """
    rho = safe_divide(layout.total(x * previous), layout.total(previous * previous))
    # No gradient, because de-emphasis cancels rho.
    return per_plane(lax.stop_gradient(jnp.clip(rho, 0, MAX_RHO)))


def _de_emphasis(rho: jax.Array, size: int, count: int) -> jax.Array:
    """The first `count` of `size` bins of 1 / (1 - rho exp(-2 pi i k / size)), (..., 1, count)."""
    dtype = np.result_type(rho.dtype, "complex64")
    delay = np.exp(-2j * np.pi * np.arange(count) / size).reshape((1,) * (rho.ndim - 1) + (-1,))
    return 1 / (1 - rho.astype(dtype) * jnp.asarray(delay, dtype))
