"""The public functions: check, split into planes, compare, reduce."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from blursim_jax import _checks
from blursim_jax._checks import ChannelAxis, Normalization, Options, Reduction, SobelKernelSize, Spectrum
from blursim_jax._layout import Layout
from blursim_jax._planes import WHOLE_PLANES, compare_planes

# The name of an image or a batch of alphas in messages.
ARRAY = "a JAX or NumPy array"


class BlurSimTerms(NamedTuple):
    """The two terms of BlurSim, each a scalar, or one value per image under `reduction="none"`."""

    general: jax.Array
    specific: jax.Array


def blursim(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    alpha: ArrayLike = 0.9,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: float = 1.0,
    channel_axis: ChannelAxis = None,
    reduction: Reduction = "mean",
) -> jax.Array:
    """The difference of two blurred images, in the frequency domain and along edges.

        BlurSim = (1 - alpha) * General + alpha * Specific

    For planes `a` (prediction) and `b` (target) of N = H * W pixels, divided by `data_range`, with unnormalised
    discrete Fourier transforms A and B, Sobel gradient magnitudes E, Frobenius norms over the full spectrum or plane:

    - General, `normalization="area"`: `norm(|A| - |B|) / N`
    - General, `normalization="relative"`: `norm(|A| - |B|) / (N * sqrt(var(b) + d**2))`, d = 1/255
    - Specific, `"area"`: `norm(E(a) - E(b)) / N`
    - Specific, `"relative"`: `norm(E(a) - E(b)) / sqrt(norm(E(b))**2 + N * (g * d)**2)`, g the sum of the positive taps

    `spectrum="complex"` uses A - B, whose norm by Parseval is `norm(a - b) / sqrt(N')` under `"area"` (N' the
    area that OpenCV would pad to) and `norm(a - b) / sqrt(N * (var(b) + d**2))` under `"relative"`.
    `spectrum="log"` uses `norm(log(|A| + c) - log(|B| + c)) / sqrt(N)`, c = sqrt(N) / 255, under both.
    The value of an image is the mean over its channels. Identical images give exactly 0, with gradient exactly 0.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`, H and W at least
            `sobel_kernel_size`. JAX or NumPy, float16, bfloat16, float32, float64, or integers of at most 16 bits.
        targets: Images of the same shape; the dtype may differ.
        alpha: Weight of Specific, in [0, 1]: a number, or an array that broadcasts to the images' batch shape. It is
            data: changing it does not recompile. Values of arrays on a device are not checked.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"`, the original's, or `"relative"`, over the target's own contrast and edges.
        data_range: The pixel value of white, usually 1.0 or 255.
        channel_axis: None for images without channels, -1 for `(..., H, W, C)`, -3 for `(..., C, H, W)`. Under
            `"mean"`, `(N, C, H, W)` gives the same with None and -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.

    Returns:
        A scalar, or under `"none"` one value per image, of the batch shape `...`. float64 if either input is, else
        float32. Gradients have the dtype of the input they belong to.

    Raises:
        ValueError: Shapes differ or are too small, an option is unknown, a number is out of range, the mean of no
            images.
        TypeError: An input is no array or of a dtype that float32 does not hold exactly (float64 excepted, which
            needs `jax_enable_x64`).

    References:
        The formula follows the description of the Python package `torch-blursim`; `spectrum="complex"` follows its
        code.

    >>> import jax, jax.numpy as jnp
    >>> from blursim_jax import blursim
    >>> targets = jnp.zeros((2, 8, 8)).at[:, 2:6, 2:6].set(1.0)
    >>> predictions = 0.5 * targets
    >>> loss, gradient = jax.value_and_grad(blursim)(predictions, targets, alpha=0.8)
    >>> print(f"{loss:.4f}", gradient.shape)
    1.5422 (2, 8, 8)
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    return mixture(predictions, targets, alpha, options, reduction)


def blursim_terms(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: float = 1.0,
    channel_axis: ChannelAxis = None,
    reduction: Reduction = "mean",
) -> BlurSimTerms:
    """General and Specific separately, in one pass, for logging or for other weights.

    `(1 - alpha) * general + alpha * specific` equals `blursim` with this alpha. Formulas, shapes, dtypes and errors
    are those of `blursim`.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
        targets: Images of the same shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: The pixel value of white.
        channel_axis: None, -1 or -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.

    Returns:
        `BlurSimTerms(general, specific)`, two scalars, or under `"none"` two arrays of the batch shape.

    Raises:
        ValueError: As `blursim`.
        TypeError: As `blursim`.

    References:
        As `blursim`.

    >>> import jax.numpy as jnp
    >>> from blursim_jax import blursim_terms
    >>> targets = jnp.zeros((8, 8)).at[2:6, 2:6].set(1.0)
    >>> terms = blursim_terms(0.5 * targets, targets)
    >>> print(f"{terms.general:.4f} {terms.specific:.4f}")
    0.2500 1.8652
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    return terms(predictions, targets, options, reduction)


def mixture(
    predictions: ArrayLike, targets: ArrayLike, alpha: ArrayLike, options: Options, reduction: Reduction
) -> jax.Array:
    """`blursim` under checked options."""
    predictions, targets, batch_shape = check_images(predictions, targets, options)
    _checks.check_reduction(reduction, batch_shape)
    return _compare_jitted(predictions, targets, check_alpha(alpha, batch_shape), options, reduction)[0]


def terms(predictions: ArrayLike, targets: ArrayLike, options: Options, reduction: Reduction) -> BlurSimTerms:
    """`blursim_terms` under checked options."""
    predictions, targets, batch_shape = check_images(predictions, targets, options)
    _checks.check_reduction(reduction, batch_shape)
    return BlurSimTerms(*_compare_jitted(predictions, targets, None, options, reduction))


def check_images(
    predictions: ArrayLike, targets: ArrayLike, options: Options
) -> tuple[jax.Array | np.ndarray, jax.Array | np.ndarray, tuple[int, ...]]:
    """Return both images as arrays and their batch shape, or raise."""
    predictions, targets = _check_array("predictions", predictions), _check_array("targets", targets)
    return predictions, targets, _checks.check_shapes(predictions.shape, targets.shape, options)


def to_planes(images: jax.Array, options: Options, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Convert images to (..., C, H, W), with one channel if they have none, and pixels to units of `options`."""
    if options.channel_axis is None:
        images = images[..., None, :, :]
    elif options.channel_axis == -1:
        images = jnp.moveaxis(images, -1, -3)
    planes = images.astype(dtype)
    return planes if options.unit == 1 else planes / options.unit


def compute_dtype(*images: jax.Array) -> np.dtype:
    """float64 if any of the images is, else float32."""
    return np.dtype("float64" if any(image.dtype == "float64" for image in images) else "float32")


def _check_array(name: str, value: Any) -> jax.Array | np.ndarray:
    value = unwrap(name, value)
    _checks.check_array(name, value, (jax.Array, np.ndarray), ARRAY)
    _checks.check_dtype(name, value.dtype.name)
    if value.dtype.name == "float64" and jax.dtypes.canonicalize_dtype("float64") != "float64":
        raise TypeError(f"{name}: expected float32, or float64 with jax_enable_x64, got float64 in 32-bit mode")
    # JAX rejects a foreign byte order, which image files may have.
    return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))


def check_alpha(alpha: Any, batch_shape: tuple[int, ...]) -> jax.Array | np.ndarray:
    """Return alpha as an array that can weigh images of `batch_shape`, or raise."""
    alpha = unwrap("alpha", alpha)
    if isinstance(alpha, (jax.Array, np.ndarray, np.generic)):
        _checks.check_alpha_array(alpha.shape, alpha.dtype.name, batch_shape)
        if isinstance(alpha, jax.Array):
            return alpha
        alpha = np.asarray(alpha, np.float64)
        for extreme in (alpha.min(initial=1), alpha.max(initial=0)):
            _checks.check_alpha(float(extreme), ARRAY)
    else:
        _checks.check_alpha(alpha, ARRAY)
    # One dtype for every number, so that one program serves all.
    return np.asarray(alpha, np.float64)


def unwrap(name: str, value: Any) -> Any:
    """Return the array inside a Flax variable, any other value unchanged, or raise for a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        # JAX and some conversions of NumPy would ignore the mask.
        raise TypeError(f"{name}: expected an array without a mask, got numpy.ma.MaskedArray")
    if isinstance(value, (jax.Array, type)) or not hasattr(value, "__jax_array__"):
        return value
    return value.__jax_array__()


def compare_images(
    predictions: jax.Array,
    targets: jax.Array,
    alpha: jax.Array | None,
    options: Options,
    reduction: str,
    layout: Layout = WHOLE_PLANES,
) -> tuple[jax.Array, ...]:
    """The reduced mixture, or both terms where alpha is None."""
    dtype = compute_dtype(predictions, targets)
    a, b = to_planes(predictions, options, dtype), to_planes(targets, options, dtype)
    if alpha is not None:
        alpha = jnp.broadcast_to(alpha.astype(dtype)[..., None], a.shape[:-2])

    def reduce(values: jax.Array) -> jax.Array:
        images = jnp.mean(values, axis=-1)
        return {"mean": jnp.mean, "sum": jnp.sum, "none": lambda x: x}[reduction](images)

    return jax.tree.map(reduce, compare_planes(a, b, alpha, options, layout))


_compare_jitted = jax.jit(compare_images, static_argnames=("options", "reduction"))
