"""BlurSim as an object that carries its options."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
from jax.typing import ArrayLike

from blursim_jax import _checks
from blursim_jax._checks import ChannelAxis, Normalization, Reduction, SobelKernelSize, Spectrum
from blursim_jax._loss import ARRAY, blursim


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class BlurSim:
    """`blursim` with its options, called as `BlurSim(alpha=0.8)(predictions, targets)`.

    Frozen, and a pytree with `alpha` as its one leaf, so it passes through `jit`, `grad` and `vmap`; for another alpha
    use `dataclasses.replace(loss, alpha=0.5)`, which does not recompile.

    Args:
        alpha: Weight of Specific, in [0, 1]: a number, or an array that broadcasts to the images' batch shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: What pixel value stands for white.
        channel_axis: None, -1 or -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: An option is unknown or a number is out of its range. Of an array as alpha, when it is called.
        TypeError: alpha is neither a number nor an array.

    References:
        The formula is that of `blursim`.

    >>> import jax.numpy as jnp
    >>> from blursim_jax import BlurSim
    >>> loss = BlurSim(alpha=0.8, channel_axis=-1)
    >>> images = jnp.ones((4, 16, 16, 3))
    >>> print(loss(images, images))
    0.0
    """

    alpha: ArrayLike = 0.9
    _: dataclasses.KW_ONLY
    sobel_kernel_size: SobelKernelSize = 5
    spectrum: Spectrum = "magnitude"
    normalization: Normalization = "area"
    data_range: float = 1.0
    channel_axis: ChannelAxis = None
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Check the options; of an alpha that is an array, the shape is checked against the images."""
        _checks.check_options(
            self.sobel_kernel_size, self.spectrum, self.normalization, self.data_range, self.channel_axis
        )
        _checks.check_reduction(self.reduction)
        if _checks.is_number(self.alpha) or not hasattr(self.alpha, "shape"):
            _checks.check_alpha(self.alpha, ARRAY)

    def __call__(self, predictions: ArrayLike, targets: ArrayLike) -> jax.Array:
        """Return `blursim(predictions, targets)` under these options.

        Args:
            predictions: Images `(..., H, W)`, or with channels where `channel_axis` says.
            targets: Images of the same shape.

        Returns:
            A scalar, or under `"none"` one value an image.

        Raises:
            ValueError: As `blursim`.
            TypeError: As `blursim`.
        """
        return blursim(
            predictions,
            targets,
            alpha=self.alpha,
            sobel_kernel_size=self.sobel_kernel_size,
            spectrum=self.spectrum,
            normalization=self.normalization,
            data_range=self.data_range,
            channel_axis=self.channel_axis,
            reduction=self.reduction,
        )

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], tuple]:
        """Give JAX alpha as the leaf and the options as what has to be the same."""
        alpha, *options = (getattr(self, field.name) for field in dataclasses.fields(self))
        return ((jax.tree_util.GetAttrKey("alpha"), alpha),), tuple(options)

    @classmethod
    def tree_unflatten(cls, options: tuple, leaves: Iterable[Any]) -> "BlurSim":
        """Take back any leaf, unchecked: JAX and its users put gradients, axes and place holders there."""
        loss = object.__new__(cls)
        for field, value in zip(dataclasses.fields(cls), (*leaves, *options), strict=True):
            object.__setattr__(loss, field.name, value)
        return loss
