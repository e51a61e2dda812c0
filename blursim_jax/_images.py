"""Images: checked, and converted to planes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike

from blursim_jax import _checks
from blursim_jax._checks import Options
from blursim_jax._numerics import is_sharded

# The name of an image or a batch of alphas in messages.
ARRAY = "a JAX or NumPy array"

Mask = jax.Array | np.ndarray


class Images(NamedTuple):
    """Predictions, targets, and which of their pixels count, each an array of JAX or NumPy, or a sharding of it."""

    predictions: Any
    targets: Any
    mask: Any


def check_images(
    predictions: ArrayLike, targets: ArrayLike, mask: Mask | None, options: Options
) -> tuple[Images, Options, tuple[int, ...]]:
    """Return images and mask as arrays, the options with the images' data range, and the batch shape, or raise."""
    a, b = _check_array("predictions", predictions), _check_array("targets", targets)
    batch_shape = _checks.check_shapes(a.shape, b.shape, options)
    options = _checks.resolve_data_range(options, a.dtype.name, b.dtype.name)
    if mask is not None:
        mask = check_mask(mask, _checks.shape_of_pixels(a.shape, options))
    return Images(a, b, mask), options, batch_shape


def check_mask(mask: Any, *expected: tuple[int, ...]) -> Mask:
    """Return the mask as an array, or raise unless it is one of bool, of one of the expected shapes."""
    mask = unwrap("mask", mask)
    _checks.check_array("mask", mask, (jax.Array, np.ndarray), ARRAY)
    _checks.check_mask(mask.shape, mask.dtype.name, *expected)
    return mask


def to_plane_pair(
    predictions: jax.Array, targets: jax.Array, mask: jax.Array | None, options: Options
) -> tuple[jax.Array, jax.Array]:
    """The planes of both images, in the prediction those of the target where the mask is False."""
    dtype = compute_dtype(predictions, targets)
    a, b = to_planes(predictions, options, dtype), to_planes(targets, options, dtype)
    if mask is None:
        return a, b
    counts = jnp.asarray(mask)[..., None, :, :]
    if is_sharded(a) or is_sharded(counts):
        # JAX selects only from arrays of one sharding; the mask has a single channel.
        *batch, _, rows, columns = (*jax.typeof(a).sharding.spec, *[None] * a.ndim)[: a.ndim]
        counts = jax.sharding.reshard(counts, PartitionSpec(*batch, None, rows, columns))
    return jnp.where(counts, a, b), b


def to_planes(images: jax.Array, options: Options, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Convert images to (..., C, H, W), with one channel if they have none, and pixels to units of `options`."""
    if options.channel_axis is None:
        images = images[..., None, :, :]
    elif options.channel_axis == -1:
        images = jnp.moveaxis(images, -1, -3)
    planes = images.astype(dtype)
    if options.black:
        planes = planes - options.black
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
