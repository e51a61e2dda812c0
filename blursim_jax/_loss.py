"""The public functions: check, cut into planes, compare, mix, reduce."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jax.typing import ArrayLike

from blursim_jax import _checks
from blursim_jax._checks import ChannelAxis, Normalization, Options, Reduction, SobelKernelSize, Spectrum
from blursim_jax._edges import specific, specific_gradient
from blursim_jax._numerics import is_spread
from blursim_jax._spectrum import general, general_gradient

# On a CPU the planes go through in blocks of at most this many pixels, 1 MiB of float32, which stay in cache:
# less than half the time of all 24 planes of 256 x 256 at once.
BLOCK_PIXELS = 2**18


class BlurSimTerms(NamedTuple):
    """The two terms of BlurSim, each a scalar or one value an image, as the reduction says."""

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
    r"""How much two blurred images differ: in the frequency domain and along their edges.

    .. math::
        \text{BlurSim} = (1 - \alpha) \cdot \text{General} + \alpha \cdot \text{Specific}

    For a plane pair `a` (prediction) and `b` (target) of N = H * W pixels, divided by `data_range`, with unnormalised
    discrete Fourier transforms A and B, Sobel gradient magnitudes E, Frobenius norms over the full spectrum or plane:

    - General, `normalization="area"`: `norm(|A| - |B|) / N`
    - General, `normalization="relative"`: `norm(|A| - |B|) / (N * sqrt(var(b) + d**2))`, d = 1/255
    - Specific, `"area"`: `norm(E(a) - E(b)) / N`
    - Specific, `"relative"`: `norm(E(a) - E(b)) / sqrt(norm(E(b))**2 + N * (g * d)**2)`, g the sum of the positive taps

    `spectrum="complex"` takes A - B instead, which by Parseval is `norm(a - b) / sqrt(N')` under `"area"` (N' the
    area that OpenCV would pad to) and `norm(a - b) / sqrt(N * (var(b) + d**2))` under `"relative"`.
    `spectrum="log"` takes `norm(log(|A| + c) - log(|B| + c)) / sqrt(N)`, c = sqrt(N) / 255, under both.
    The value of an image is the mean over its channels. Identical images give exactly 0, with gradient exactly 0.

    Args:
        predictions: Images `(..., H, W)`, or with channels where `channel_axis` says, H and W at least
            `sobel_kernel_size`. JAX or NumPy, float16, bfloat16, float32, float64, or integers of at most 16 bits.
        targets: Images of the same shape; the dtype may differ.
        alpha: Weight of Specific, in [0, 1]: a number, or an array that broadcasts to the images' batch shape. It is
            data: changing it does not recompile. The value of an array on a device is not checked.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"`, the original's, or `"relative"`, which does not depend on resolution and contrast.
        data_range: What pixel value stands for white, 1.0 or 255 as a rule.
        channel_axis: None for images without channels, -1 for `(..., H, W, C)`, -3 for `(..., C, H, W)`. Under
            `"mean"`, `(N, C, H, W)` gives the same with None and -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.

    Returns:
        A scalar, or under `"none"` one value an image, of the batch shape `...`. float64 if either input is, else
        float32. Gradients have the dtype of the input they belong to.

    Raises:
        ValueError: Shapes differ or are too small, an option is unknown, a number is out of its range, the mean of no
            images.
        TypeError: An input is no array or of a dtype that float32 does not hold exactly (float64 excepted, which
            needs `jax_enable_x64`).

    References:
        The formula follows the description of BlurSim in the Python package `torch-blursim`; `spectrum="complex"`
        follows its code.

    >>> import jax, jax.numpy as jnp
    >>> from blursim_jax import blursim
    >>> targets = jnp.zeros((2, 8, 8)).at[:, 2:6, 2:6].set(1.0)
    >>> predictions = 0.5 * targets
    >>> loss, gradient = jax.value_and_grad(blursim)(predictions, targets, alpha=0.8)
    >>> print(f"{loss:.4f}", gradient.shape)
    1.5422 (2, 8, 8)
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    predictions, targets, batch_shape = check_images(predictions, targets, options)
    _checks.check_reduction(reduction, batch_shape)
    return _compare(predictions, targets, _check_alpha(alpha, batch_shape), options, reduction)


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
    """General and Specific by themselves, in one pass: for logging, or for weights of one's own.

    `(1 - alpha) * general + alpha * specific` is `blursim` with that alpha. Formulas, shapes, dtypes and errors are
    those of `blursim`.

    Args:
        predictions: Images `(..., H, W)`, or with channels where `channel_axis` says.
        targets: Images of the same shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: What pixel value stands for white.
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
    predictions, targets, batch_shape = check_images(predictions, targets, options)
    _checks.check_reduction(reduction, batch_shape)
    return _compare(predictions, targets, None, options, reduction)


def check_images(
    predictions: ArrayLike, targets: ArrayLike, options: Options
) -> tuple[jax.Array | np.ndarray, jax.Array | np.ndarray, tuple[int, ...]]:
    """Return both images as arrays and their batch shape, or raise."""
    predictions, targets = (_check_array(*named) for named in (("predictions", predictions), ("targets", targets)))
    return predictions, targets, _checks.check_shapes(predictions.shape, targets.shape, options)


def to_planes(images: jax.Array, options: Options, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Give images the shape (..., C, H, W), one channel if they have none, `dtype`, and white at 1."""
    if options.channel_axis is None:
        images = images[..., None, :, :]
    elif options.channel_axis == -1:
        images = jnp.moveaxis(images, -1, -3)
    planes = images.astype(dtype)
    return planes if options.data_range == 1 else planes / options.data_range


def compute_dtype(*images: jax.Array) -> np.dtype:
    """float64 if any of the images is, else float32."""
    return np.dtype("float64" if any(image.dtype == "float64" for image in images) else "float32")


def _check_array(name: str, value: Any) -> jax.Array | np.ndarray:
    value = _unwrap(name, value)
    _checks.check_array(name, value, (jax.Array, np.ndarray), "a JAX or NumPy array")
    _checks.check_dtype(name, value.dtype.name)
    if value.dtype.name == "float64" and jax.dtypes.canonicalize_dtype("float64") != "float64":
        raise TypeError(f"{name}: expected float32, or float64 with jax_enable_x64, got float64 in 32-bit mode")
    # JAX takes no foreign byte order, which image files may have.
    return value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("="))


def _check_alpha(alpha: Any, batch_shape: tuple[int, ...]) -> jax.Array | np.ndarray:
    alpha = _unwrap("alpha", alpha)
    if isinstance(alpha, (jax.Array, np.ndarray, np.generic)):
        _checks.check_alpha_array(alpha.shape, alpha.dtype.name, batch_shape)
        if isinstance(alpha, jax.Array):
            return alpha
        alpha = np.asarray(alpha, np.float64)
        for extreme in (alpha.min(initial=1), alpha.max(initial=0)):
            _checks.check_alpha(float(extreme))
    else:
        _checks.check_alpha(alpha)
    # Of one dtype whatever it came as, so that it compiles once.
    return np.asarray(alpha, np.float64)


def _unwrap(name: str, value: Any) -> Any:
    """Return the array that a Flax variable holds, anything else as it is, but raise for a masked array."""
    if isinstance(value, np.ma.MaskedArray):
        # JAX, and NumPy's own conversions, would now and then compute with what the mask hides.
        raise TypeError(f"{name}: expected an array without a mask, got numpy.ma.MaskedArray")
    if isinstance(value, (jax.Array, type)) or not hasattr(value, "__jax_array__"):
        return value
    return value.__jax_array__()


@functools.partial(jax.jit, static_argnames=("options", "reduction"))
def _compare(
    predictions: jax.Array, targets: jax.Array, alpha: jax.Array | None, options: Options, reduction: str
) -> Any:
    """The mixture for every image, or its terms where alpha is None, reduced."""
    dtype = compute_dtype(predictions, targets)
    a, b = to_planes(predictions, options, dtype), to_planes(targets, options, dtype)
    if alpha is not None:
        alpha = jnp.broadcast_to(alpha.astype(dtype)[..., None], a.shape[:-2])

    def reduce(values: jax.Array) -> jax.Array:
        images = jnp.mean(values, axis=-1)
        return {"mean": jnp.mean, "sum": jnp.sum, "none": lambda x: x}[reduction](images)

    return jax.tree.map(reduce, _compare_planes(options, a, b, alpha))


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _compare_planes(options: Options, a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
    """The mixture for every plane pair, (..., H, W) to (...), or its terms where alpha is None."""

    def values(a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
        return _mix(general(a, b, options), specific(a, b, options), alpha)

    return _in_blocks(values, a, b, alpha)


# The gradient is written out, because autodiff's is several times slower, and as the rule of a `custom_jvp`: the
# tangent is its inner product with the planes' tangents, from which JAX has forward and reverse mode, `vmap` and
# second order. In reverse mode the one image-sized array kept is the gradient itself.
@functools.partial(_compare_planes.defjvp, symbolic_zeros=True)
def _compare_planes_jvp(options: Options, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    arguments = [i for i in (0, 1) if not isinstance(tangents[i], SymbolicZero)]

    def values_and_gradients(a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> tuple[Any, list[Any], Any]:
        terms, gradients = None, []
        for argument in arguments:
            of_general, by_general = general_gradient(a, b, options, argument)
            of_specific, by_specific = specific_gradient(a, b, options, argument)
            terms = of_general, of_specific
            gradients.append(_mix(by_general, by_specific, alpha))
        if terms is None:
            terms = general(a, b, options), specific(a, b, options)
        return _mix(*terms, alpha), gradients, terms[1] - terms[0]

    values, gradients, by_alpha = _in_blocks(values_and_gradients, *primals)
    tangent = jax.tree.map(jnp.zeros_like, values)
    for argument, gradient in zip(arguments, gradients, strict=True):
        products = jax.tree.map(lambda g, t=tangents[argument]: jnp.sum(g * t, axis=(-2, -1)), gradient)
        tangent = jax.tree.map(jnp.add, tangent, products)
    if tangents[2] is not None and not isinstance(tangents[2], SymbolicZero):
        tangent += by_alpha * tangents[2]
    return values, tangent


def _mix(general: jax.Array, specific: jax.Array, alpha: jax.Array | None) -> Any:
    """Weigh the terms' values (...), or their gradients (..., H, W), by alpha (...); None keeps them apart."""
    if alpha is None:
        return BlurSimTerms(general, specific)
    alpha = alpha.reshape(alpha.shape + (1,) * (general.ndim - alpha.ndim))
    return (1 - alpha) * general + alpha * specific


def _in_blocks(function: Callable[..., Any], a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
    """Apply `function` to planes (..., H, W) and alpha (...), on a CPU by as many as stay in cache."""
    batch_shape, plane_shape = a.shape[:-2], a.shape[-2:]
    count, block = math.prod(batch_shape), max(1, BLOCK_PIXELS // math.prod(plane_shape))
    # Not an int: exported for batches of any size.
    if not isinstance(count, int) or count <= block or any(map(is_spread, jax.tree.leaves((a, b, alpha)))):
        return function(a, b, alpha)

    def in_blocks(a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
        planes = jax.tree.map(lambda x: x.reshape(count, *x.shape[len(batch_shape) :]), (a, b, alpha))
        results = lax.map(lambda plane: function(*plane), planes, batch_size=block)
        return jax.tree.map(lambda x: x.reshape(*batch_shape, *x.shape[1:]), results)

    return lax.platform_dependent(a, b, alpha, cpu=in_blocks, default=function)
