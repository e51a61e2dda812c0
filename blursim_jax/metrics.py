"""BlurSim as a metric of Flax NNX: the mean over all images of all updates, on any number of devices.

Needs Flax (the extra `flax`).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from blursim_jax import _checks
from blursim_jax._checks import ChannelAxis, Normalization, SobelKernelSize, Spectrum
from blursim_jax._loss import ARRAY, BlurSimTerms, check_images, terms, unwrap


class BlurSimMetric(nnx.metrics.Metric):
    """The mean of `blursim` over images, an `nnx.metrics.Metric`.

        BlurSim = (1 - alpha) * mean of General + alpha * mean of Specific

    Every image has the same weight, whatever the update, size or device it came in. The states are the sums of both
    terms and the number of images. States of several metrics can be added: by `jax.lax.psum` over devices inside
    `jax.shard_map`, by `jax.tree.map(jnp.add, ...)` elsewhere.

    Args:
        alpha: Weight of Specific, a number in [0, 1].
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: The pixel value of white.
        channel_axis: None, -1 or -3. With None, each (H, W) is an image.

    Raises:
        ValueError: An option is unknown or a number is out of range.
        TypeError: alpha is no number.

    References:
        The formula is that of `blursim`.

    >>> import jax.numpy as jnp
    >>> from blursim_jax.metrics import BlurSimMetric
    >>> metric = BlurSimMetric(alpha=0.8)
    >>> images = jnp.zeros((3, 8, 8))
    >>> metric.update(images, images)
    >>> metric.update(images[:1] + 0.5, images[:1])
    >>> print(f"{metric.compute():.4f}", metric.count[...])
    0.0250 4
    """

    def __init__(
        self,
        alpha: float = 0.9,
        *,
        sobel_kernel_size: SobelKernelSize = 5,
        spectrum: Spectrum = "magnitude",
        normalization: Normalization = "area",
        data_range: float = 1.0,
        channel_axis: ChannelAxis = None,
    ) -> None:
        """Check the options and start without images."""
        self.sobel_kernel_size: SobelKernelSize = sobel_kernel_size
        self.spectrum: Spectrum = spectrum
        self.normalization: Normalization = normalization
        self.data_range = data_range
        self.channel_axis: ChannelAxis = channel_axis
        _checks.options_of(self)
        self.alpha = alpha
        self.general_total = nnx.metrics.MetricState(jnp.zeros((), jnp.float32))
        self.specific_total = nnx.metrics.MetricState(jnp.zeros((), jnp.float32))
        self.count = nnx.metrics.MetricState(jnp.zeros((), jnp.int32))

    def __setattr__(self, name: str, value: Any) -> None:
        """Check alpha, which may change at any time."""
        if name == "alpha":
            _checks.check_alpha(value)
        super().__setattr__(name, value)

    def update(  # type: ignore[override]
        self, predictions: ArrayLike, targets: ArrayLike, mask: jax.Array | np.ndarray | None = None, **_: Any
    ) -> None:
        """Add images, of any size. Further keyword arguments are for other metrics of an `nnx.MultiMetric`.

        Args:
            predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
            targets: Images of the same shape.
            mask: Which images count, of the batch shape `...` and dtype bool, for a padded last batch. The others may
                hold any values, including NaN.

        Raises:
            ValueError: As `blursim`; the mask has another shape.
            TypeError: As `blursim`; the mask is no array of bool.
        """
        if mask is not None:
            predictions, targets, mask = self._masked(predictions, targets, mask)
        general, specific = terms(predictions, targets, _checks.options_of(self), "none")
        count = jnp.asarray(general.size) if mask is None else jnp.sum(mask)
        self.general_total[...] += jnp.sum(general).astype(jnp.float32)
        self.specific_total[...] += jnp.sum(specific).astype(jnp.float32)
        self.count[...] += count.astype(jnp.int32)

    def _masked(self, predictions: ArrayLike, targets: ArrayLike, mask: Any) -> tuple[jax.Array, ...]:
        """Both images with 0 where the mask is false, which have no gradient there, and the mask as an array."""
        predictions, targets, batch_shape = check_images(predictions, targets, _checks.options_of(self))
        mask = unwrap("mask", mask)
        _checks.check_array("mask", mask, (jax.Array, np.ndarray), ARRAY)
        _checks.check_mask(mask.shape, mask.dtype.name, batch_shape)
        chosen = mask.reshape(mask.shape + (1,) * (predictions.ndim - mask.ndim))
        return jnp.where(chosen, predictions, 0), jnp.where(chosen, targets, 0), mask

    def compute(self) -> jax.Array:
        """Return the mean of BlurSim over all images, a scalar; NaN before the first."""
        terms = self.compute_terms()
        return (1 - self.alpha) * terms.general + self.alpha * terms.specific

    def compute_terms(self) -> BlurSimTerms:
        """Return the means of both terms over all images; NaN before the first."""
        count = self.count[...].astype(jnp.float32)
        return BlurSimTerms(self.general_total[...] / count, self.specific_total[...] / count)

    def reset(self) -> None:
        """Discard all images."""
        for state in (self.general_total, self.specific_total, self.count):
            state[...] = jnp.zeros_like(state[...])
