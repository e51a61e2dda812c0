"""Maps of where two images differ."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from blursim_jax import _checks
from blursim_jax._checks import ChannelAxis, Normalization, Options, SobelKernelSize, Spectrum
from blursim_jax._edges import edge_difference, specific_scale
from blursim_jax._loss import check_images, compute_dtype, to_planes
from blursim_jax._numerics import per_plane
from blursim_jax._planes import WHOLE_PLANES
from blursim_jax._spectrum import contrast, level_scale, spectrum_difference


class BlurSimMaps(NamedTuple):
    """Differences of the spectra, zero frequency in the middle, and of the edges, each (..., H, W)."""

    spectrum: jax.Array
    edges: jax.Array


def blursim_maps(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: float = 1.0,
    channel_axis: ChannelAxis = None,
) -> BlurSimMaps:
    r"""Maps of where two images differ: over frequencies, and along edges.

    For planes a and b, the maps are `|e|` over the full spectrum, where `norm(e)` is the norm in General (e = A - B for
    `"complex"`), and `|E(a) - E(b)|`. Under `normalization="relative"`, each is also divided by the contrast that
    its term is divided by. For a plane of N pixels,

    - `norm(edges) / N` is Specific,
    - `norm(spectrum) / N` is General for `"magnitude"`; so it is for `"complex"`, except for OpenCV's padding, and
      `norm(spectrum) / sqrt(N)` is General for `"log"`.

    With channels, the maps are means over them.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
        targets: Images of the same shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: The pixel value of white.
        channel_axis: None, -1 or -3.

    Returns:
        `BlurSimMaps(spectrum, edges)`, both `(..., H, W)`, float64 if either input is, else float32. The zero
        frequency stands at `[H // 2, W // 2]`.

    Raises:
        ValueError: As `blursim`.
        TypeError: As `blursim`.

    References:
        As `blursim`.

    >>> import jax.numpy as jnp
    >>> from blursim_jax import blursim_maps
    >>> targets = jnp.zeros((8, 8)).at[2:6, 2:6].set(1.0)
    >>> maps = blursim_maps(targets + 0.5, targets)
    >>> print(maps.spectrum[4, 4], maps.edges.max())
    32.0 0.0
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    predictions, targets, _ = check_images(predictions, targets, options)
    return _maps(predictions, targets, options)


@functools.partial(jax.jit, static_argnames=("options",))
def _maps(predictions: jax.Array, targets: jax.Array, options: Options) -> BlurSimMaps:
    dtype = compute_dtype(predictions, targets)
    a, b = to_planes(predictions, options, dtype), to_planes(targets, options, dtype)
    area = a.shape[-2] * a.shape[-1]
    spectrum = jnp.fft.fft2(a - b)
    if options.spectrum != "complex":
        spectrum, _ = spectrum_difference(jnp.fft.fft2(a), spectrum, options, area)
    edges, _, edges_b = edge_difference(a, b, options.sobel_kernel_size)
    squared_b = jnp.sum(edges_b.magnitude * edges_b.magnitude, axis=(-2, -1))
    spectrum_scale = level_scale(contrast(b, options, WHOLE_PLANES), b, options)
    maps = BlurSimMaps(
        spectrum=jnp.fft.fftshift(jnp.abs(spectrum), axes=(-2, -1)) * per_plane(spectrum_scale),
        edges=jnp.abs(edges) * per_plane(specific_scale(squared_b, b, options, WHOLE_PLANES) * area),
    )
    return jax.tree.map(lambda x: jnp.mean(x, axis=-3), maps)
