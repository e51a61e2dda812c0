"""BlurSim on several devices: a batch sharded by images, or large images sharded by rows.

Both run the loss inside `jax.shard_map`. Otherwise XLA gathers the axes of a transform on every device.
"""

import functools
from collections.abc import Callable
from typing import Any

try:
    import jax
except ModuleNotFoundError as error:
    error.add_note("blursim_jax.sharding needs JAX: pip install 'blursim[jax]'")
    raise

import jax.numpy as jnp
from jax import lax
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jax.typing import ArrayLike

from blursim_jax import _checks
from blursim_jax._checks import ChannelAxis, DataRange, Normalization, Options, Reduction, SobelKernelSize, Spectrum
from blursim_jax._images import Images, Mask, check_alpha, check_images
from blursim_jax._loss import compare_images
from blursim_jax._rows import Rows

__all__ = ["blursim_data_parallel", "blursim_spatial_parallel"]


def blursim_data_parallel(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    mesh: Mesh | AbstractMesh,
    axis_name: str,
    alpha: ArrayLike = 0.9,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: DataRange = None,
    channel_axis: ChannelAxis = None,
    reduction: Reduction = "mean",
    mask: Mask | None = None,
) -> jax.Array:
    """`blursim` of a batch whose images are sharded over a mesh axis.

    Each device compares its own images, and only sums are communicated. Formulas, options, dtypes, value and gradient
    are those of `blursim`.

    Args:
        predictions: Images `(N, ..., H, W)`, or with channels at `channel_axis`, N a multiple of the number of
            devices. Arrays with another sharding are moved.
        targets: Images of the same shape.
        mesh: The devices. An `AbstractMesh` works only inside `jax.jit`, with arrays on these devices.
        axis_name: The mesh axis over which N is sharded. The computation is replicated along other axes.
        alpha: Weight of Specific, in [0, 1]: a number, or an array that broadcasts to the images' batch shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`.
        normalization: `"area"`, `"rms"` or `"relative"`.
        data_range: White, (black, white), or None for that of the dtype.
        channel_axis: None, -1 or -3.
        reduction: Over all images: `"mean"`, `"sum"` or `"none"`.
        mask: Pixels that count, sharded like the images, or None.

    Returns:
        A replicated scalar, or under `"none"` one value per image, sharded like the images.

    Raises:
        ValueError: As `blursim`; the mesh has no such axis; N is not a multiple of the axis' size.
        TypeError: As `blursim`; `mesh` is no mesh.

    References:
        As `blursim`.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from blursim_jax.sharding import blursim_data_parallel
        >>> mesh = jax.make_mesh((1,), ("batch",))
        >>> targets = jnp.zeros((2, 8, 8)).at[:, 2:6, 2:6].set(1.0)
        >>> options = {"mesh": mesh, "axis_name": "batch", "alpha": 0.8}
        >>> value = blursim_data_parallel(0.5 * targets, targets, **options)
        >>> print(f"{value:.4f}")
        1.5422
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    images, options, batch_shape = check_images(predictions, targets, mask, options)
    _checks.check_reduction(reduction, batch_shape)
    alpha = check_alpha(alpha, batch_shape)
    devices = _check_mesh(mesh, axis_name)
    if not batch_shape or batch_shape[0] % devices:
        raise ValueError(
            f"predictions: expected a number of images that mesh axis {axis_name!r} of size {devices} divides, got "
            f"batch shape {batch_shape}"
        )
    return _data_parallel(images, alpha, options, reduction, mesh, axis_name)


def blursim_spatial_parallel(
    predictions: ArrayLike,
    targets: ArrayLike,
    *,
    mesh: Mesh | AbstractMesh,
    axis_name: str,
    alpha: ArrayLike = 0.9,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: DataRange = None,
    channel_axis: ChannelAxis = None,
    reduction: Reduction = "mean",
    mask: Mask | None = None,
) -> jax.Array:
    """`blursim` of images whose rows are sharded over a mesh axis, for images too large for one device.

    No device holds a whole image. Sobel derivatives exchange some rows with neighbours. The Fourier transform runs
    along rows and, after an `all_to_all`, along columns. Formulas, options, dtypes, value and gradient are those of
    `blursim`.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`, H a multiple of the number of
            devices, with at least `4 * (sobel_kernel_size // 2)` rows for each. Arrays with another sharding are moved.
        targets: Images of the same shape.
        mesh: The devices. An `AbstractMesh` works only inside `jax.jit`, with arrays on these devices.
        axis_name: The mesh axis over which H is sharded. The computation is replicated along other axes.
        alpha: Weight of Specific, in [0, 1]: a number, or an array that broadcasts to the images' batch shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`.
        normalization: `"area"`, `"rms"` or `"relative"`.
        data_range: White, (black, white), or None for that of the dtype.
        channel_axis: None, -1 or -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.
        mask: Pixels that count, sharded like the images, or None.

    Returns:
        A replicated scalar, or under `"none"` replicated values per image. Gradients are sharded like the images.

    Raises:
        ValueError: As `blursim`; the mesh has no such axis; H is not a multiple of the axis' size, or each device
            would have too few rows. Rows are not padded, because that would change the image.
        TypeError: As `blursim`; `mesh` is no mesh.

    References:
        As `blursim`.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from blursim_jax.sharding import blursim_spatial_parallel
        >>> mesh = jax.make_mesh((1,), ("rows",))
        >>> targets = jnp.zeros((8, 8)).at[2:6, 2:6].set(1.0)
        >>> options = {"mesh": mesh, "axis_name": "rows", "alpha": 0.8}
        >>> value = blursim_spatial_parallel(0.5 * targets, targets, **options)
        >>> print(f"{value:.4f}")
        1.5422
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    images, options, batch_shape = check_images(predictions, targets, mask, options)
    _checks.check_reduction(reduction, batch_shape)
    alpha = check_alpha(alpha, batch_shape)
    devices = _check_mesh(mesh, axis_name)
    height, least = images.targets.shape[_row_axis(options)], 4 * (options.sobel_kernel_size // 2)
    if devices > 1 and (height % devices or height < least * devices):
        raise ValueError(
            f"predictions: expected a height that mesh axis {axis_name!r} of size {devices} divides, with at least "
            f"{least} rows each for sobel_kernel_size={options.sobel_kernel_size}, got height {height} from shape "
            f"{images.targets.shape}"
        )
    return _spatial_parallel(images, alpha, options, reduction, mesh, axis_name)


def _check_mesh(mesh: Mesh | AbstractMesh, axis_name: str) -> int:
    """Return the number of devices along the axis, or raise."""
    _checks.check_array("mesh", mesh, (Mesh, AbstractMesh), "a jax.sharding.Mesh")
    if axis_name not in mesh.axis_names:
        raise ValueError(f"axis_name: expected an axis of the mesh, {mesh.axis_names}, got {axis_name!r}")
    return mesh.shape[axis_name]


def _row_axis(options: Options) -> int:
    return -3 if options.channel_axis == -1 else -2


@functools.partial(jax.jit, static_argnames=("options", "reduction", "mesh", "axis_name"))
def _data_parallel(
    images: Images,
    alpha: jax.Array,
    options: Options,
    reduction: str,
    mesh: Mesh | AbstractMesh,
    axis_name: str,
) -> jax.Array:
    by_image = PartitionSpec(axis_name)

    def local(images: Images, alpha: jax.Array) -> jax.Array:
        (value,) = compare_images(*images, alpha, options, reduction)
        over_devices = {"mean": lax.pmean, "sum": lax.psum, "none": lambda x, _: x}
        return over_devices[reduction](value, axis_name)

    alpha = jnp.broadcast_to(alpha, _checks.check_shapes(images.predictions.shape, images.targets.shape, options))
    out = by_image if reduction == "none" else PartitionSpec()
    return _over_devices(local, (images, alpha), mesh, jax.tree.map(lambda _: by_image, (images, alpha)), out)


@functools.partial(jax.jit, static_argnames=("options", "reduction", "mesh", "axis_name"))
def _spatial_parallel(
    images: Images,
    alpha: jax.Array,
    options: Options,
    reduction: str,
    mesh: Mesh | AbstractMesh,
    axis_name: str,
) -> jax.Array:
    def local(images: Images, alpha: jax.Array) -> jax.Array:
        rows = Rows(axis_name, mesh.shape[axis_name])
        return compare_images(*images, alpha, options, reduction, rows)[0]

    # Rows have the same index in images and mask, unless channels come before them.
    ndim = images.targets.ndim
    by_row = PartitionSpec(*[None] * (ndim + _row_axis(options)), axis_name)
    by_mask_row = PartitionSpec(*[None] * (ndim - (options.channel_axis is not None) - 2), axis_name)
    specs = Images(by_row, by_row, None if images.mask is None else by_mask_row), PartitionSpec()
    return _over_devices(local, (images, alpha), mesh, specs, PartitionSpec())


def _over_devices(
    local: Callable[[Images, jax.Array], jax.Array],
    arrays: tuple[Images, jax.Array],
    mesh: Mesh | AbstractMesh,
    specs: Any,
    out: PartitionSpec,
) -> jax.Array:
    explicit = [name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == AxisType.Explicit]

    def move(x: jax.Array, spec: PartitionSpec) -> jax.Array:
        spec = PartitionSpec(*(name if name in explicit else None for name in spec))
        return jax.sharding.reshard(x, NamedSharding(mesh, spec))

    # Along explicit axes `shard_map` moves no array itself, and along others `reshard` does not.
    if explicit:
        arrays = jax.tree.map(move, arrays, specs)
    return jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=out)(*arrays)
