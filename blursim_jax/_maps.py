"""Maps of where two images differ."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from blursim_jax import _checks
from blursim_jax._checks import ChannelAxis, DataRange, Normalization, Options, SobelKernelSize, Spectrum
from blursim_jax._edges import edge_difference, specific_scale
from blursim_jax._images import Mask, check_images, to_plane_pair
from blursim_jax._numerics import per_plane
from blursim_jax._planes import WHOLE_PLANES
from blursim_jax._spectrum import contrast, level_scale, spectrum_difference


class BlurSimMaps(NamedTuple):
    """Differences of the spectra, zero frequency in the middle, and of the edges, each `(..., H, W)`."""

    spectrum: jax.Array
    edges: jax.Array


def blursim_maps(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: DataRange = None,
    channel_axis: ChannelAxis = None,
    mask: Mask | None = None,
) -> BlurSimMaps:
    r"""Maps of where two images differ: over frequencies, and along edges.

    For planes a and b of N pixels, `edges` is the absolute value of `E(a) - E(b)`. `spectrum` is the absolute value of
    the difference of the full spectra: `|A| - |B|` for `"magnitude"`, `A - B` for `"complex"` and
    `"complex_l1"`, `log(|A| + c) - log(|B| + c)` for `"log"`. The maps are scaled so that Specific is
    `norm(edges) / N` and General is

    - `norm(spectrum) / N` for `"magnitude"`, and for `"complex"` except for OpenCV's padding,
    - `sum(spectrum) / N**1.5` for `"complex_l1"`,
    - `norm(spectrum) / sqrt(N)` for `"log"`.

    With channels, the maps are means over them.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
        targets: Images of the same shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`.
        normalization: `"area"`, `"rms"` or `"relative"`.
        data_range: White, (black, white), or None for that of the dtype.
        channel_axis: None, -1 or -3.
        mask: Pixels that count, or None.

    Returns:
        `BlurSimMaps(spectrum, edges)`, both `(..., H, W)`, float64 if either input is, else float32. The zero
        frequency stands at `[H // 2, W // 2]`.

    Raises:
        ValueError: As `blursim`.
        TypeError: As `blursim`.

    References:
        As `blursim`.

    Examples:
        >>> import jax.numpy as jnp
        >>> from blursim_jax import blursim_maps
        >>> targets = jnp.zeros((8, 8)).at[2:6, 2:6].set(1.0)
        >>> maps = blursim_maps(targets + 0.5, targets)
        >>> print(maps.spectrum[4, 4], maps.edges.max())
        32.0 0.0
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    images, options, _ = check_images(predictions, targets, mask, options)
    return _maps(*images, options)


@functools.partial(jax.jit, static_argnames=("options",))
def _maps(predictions: jax.Array, targets: jax.Array, mask: jax.Array | None, options: Options) -> BlurSimMaps:
    a, b = to_plane_pair(predictions, targets, mask, options)
    area = a.shape[-2] * a.shape[-1]
    spectrum = jnp.fft.rfft2(a - b)
    if options.spectrum not in ("complex", "complex_l1"):
        spectrum, _ = spectrum_difference(jnp.fft.rfft2(a), spectrum, options, area)
    edges, _, edges_b = edge_difference(a, b, options.sobel_kernel_size)
    squared_b = jnp.sum(edges_b.magnitude * edges_b.magnitude, axis=(-2, -1))
    spectrum_scale = level_scale(contrast(b, options, WHOLE_PLANES), b, options)
    maps = BlurSimMaps(
        spectrum=_full_spectrum(jnp.abs(spectrum), a.shape[-1]) * per_plane(spectrum_scale),
        edges=jnp.abs(edges) * per_plane(specific_scale(squared_b, b, options, WHOLE_PLANES) * area),
    )
    return jax.tree.map(lambda x: jnp.mean(x, axis=-3), maps)


def _full_spectrum(half: jax.Array, width: int) -> jax.Array:
    """The full spectrum (..., H, W), zero frequency in the middle, from its half (..., H, W // 2 + 1).

    The frequencies k and -k of a real image have the same magnitude.
    """
    mirrored = jnp.roll(jnp.flip(half[..., 1 : (width + 1) // 2], axis=(-2, -1)), 1, axis=-2)
    return jnp.fft.fftshift(jnp.concatenate([half, mirrored], axis=-1), axes=(-2, -1))
