"""BlurSim as an object that holds its options."""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from blursim_jax import _checks
from blursim_jax._checks import ChannelAxis, DataRange, Normalization, Reduction, SobelKernelSize, Spectrum
from blursim_jax._images import ARRAY, Mask
from blursim_jax._loss import BlurSimTerms, mixture, terms
from blursim_jax._maps import BlurSimMaps, blursim_maps


@jax.tree_util.register_pytree_with_keys_class
@dataclasses.dataclass(frozen=True)
class BlurSim:
    """`blursim` with its options, called as `BlurSim(alpha=0.8)(predictions, targets)`.

    It is frozen, and a pytree with `alpha` as its one leaf, so it passes through `jit`, `grad` and `vmap`. For another
    alpha use `dataclasses.replace(loss, alpha=0.5)`, which does not recompile. In a Flax NNX module, wrap it in
    `nnx.data`. Keep it out of an Equinox module: `eqx.filter_grad` would give alpha a gradient, and an optimizer would
    train it. The leaf is an array, so an object that JAX has made anew, for example in `jax.tree.map`, has no hash.

    Args:
        alpha: Weight of Specific, in [0, 1]: a number, or an array that broadcasts to the images' batch shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`.
        normalization: `"area"`, `"rms"` or `"relative"`.
        data_range: White, (black, white), or None for that of the dtype.
        channel_axis: None, -1 or -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: An option is unknown or a number is out of range. The shape of an array as alpha
            is checked when the loss is called, and its values are not.
        TypeError: alpha is neither a number nor an array.

    References:
        The formula is that of `blursim`.

    Examples:
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
    data_range: DataRange = None
    channel_axis: ChannelAxis = None
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        """Check the options; of an alpha that is an array, the shape is checked against the images."""
        _checks.options_of(self)
        _checks.check_reduction(self.reduction)
        if _checks.is_number(self.alpha) or not hasattr(self.alpha, "shape"):
            _checks.check_alpha(self.alpha, ARRAY)
            # One type for every number, so that one program serves all.
            object.__setattr__(self, "alpha", float(self.alpha))  # type: ignore[arg-type]

    def __call__(self, predictions: ArrayLike, targets: ArrayLike, mask: Mask | None = None) -> jax.Array:
        """Return `blursim(predictions, targets, mask=mask)` under these options.

        Args:
            predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
            targets: Images of the same shape.
            mask: Pixels that count, or None.

        Returns:
            A scalar, or under `"none"` one value per image.

        Raises:
            ValueError: As `blursim`.
            TypeError: As `blursim`.
        """
        return mixture(predictions, targets, mask, self.alpha, _checks.options_of(self), self.reduction)

    def terms(self, predictions: ArrayLike, targets: ArrayLike, mask: Mask | None = None) -> BlurSimTerms:
        """Return `blursim_terms(predictions, targets, mask=mask)` under these options, for logging.

        Args:
            predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
            targets: Images of the same shape.
            mask: Pixels that count, or None.

        Returns:
            `BlurSimTerms(general, specific)`.

        Raises:
            ValueError: As `blursim`.
            TypeError: As `blursim`.
        """
        return terms(predictions, targets, mask, _checks.options_of(self), self.reduction)

    def maps(self, predictions: ArrayLike, targets: ArrayLike, mask: Mask | None = None) -> BlurSimMaps:
        """Return `blursim_maps(predictions, targets, mask=mask)` under these options.

        Args:
            predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
            targets: Images of the same shape.
            mask: Pixels that count, or None.

        Returns:
            `BlurSimMaps(spectrum, edges)`.

        Raises:
            ValueError: As `blursim`.
            TypeError: As `blursim`.
        """
        return blursim_maps(predictions, targets, **_checks.options_of(self)._asdict(), mask=mask)

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], tuple]:
        """Return alpha as the leaf and the options as static data."""
        alpha, *options = (getattr(self, field.name) for field in dataclasses.fields(self))
        if isinstance(alpha, float) or (isinstance(alpha, jax.Array) and jax.typeof(alpha).weak_type):
            # Flax NNX and Equinox make Python numbers constants of a program, but arrays inputs. A schedule of Optax
            # gives weakly typed arrays, which would be another input.
            alpha = jnp.asarray(alpha, jnp.result_type(alpha))
        return ((jax.tree_util.GetAttrKey("alpha"), alpha),), tuple(options)

    @classmethod
    def tree_unflatten(cls, options: tuple, leaves: Iterable[Any]) -> "BlurSim":
        """Accept any leaf unchecked: JAX puts gradients, axes and placeholders there."""
        loss = object.__new__(cls)
        for field, value in zip(dataclasses.fields(cls), (*leaves, *options), strict=True):
            object.__setattr__(loss, field.name, value)
        return loss
