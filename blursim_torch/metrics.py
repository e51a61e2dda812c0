"""BlurSim as a metric of torchmetrics: the mean over all images of all updates, in any number of processes.

Needs torchmetrics (the extra `torchmetrics`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from blursim_torch import _checks
from blursim_torch._checks import NORMALIZATIONS, SPECTRA, ChannelAxis, Normalization, SobelKernelSize, Spectrum
from blursim_torch._loss import ARRAY, BlurSimTerms, check_images, terms


class BlurSimMetric(Metric):
    """The mean of `blursim` over images, a `torchmetrics.Metric`.

        BlurSim = (1 - alpha) * mean of General + alpha * mean of Specific

    Every image has the same weight, whatever the update, size or process it came in. The states are the sums of both
    terms and the number of images, which torchmetrics adds over processes.

    Args:
        alpha: Weight of Specific, a number in [0, 1].
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: The pixel value of white.
        channel_axis: None, -1 or -3. With None, each (H, W) is an image.
        kwargs: Arguments of every `torchmetrics.Metric`, such as `sync_on_compute` and `process_group`.

    Raises:
        ValueError: An option is unknown or a number is out of range.
        TypeError: alpha is no number.

    References:
        The formula is that of `blursim`.

    >>> import torch
    >>> from blursim_torch.metrics import BlurSimMetric
    >>> metric = BlurSimMetric(alpha=0.8)
    >>> images = torch.zeros(3, 8, 8)
    >>> metric.update(images, images)
    >>> metric.update(images[:1] + 0.5, images[:1])
    >>> print(f"{metric.compute():.4f}", metric.count.item())
    0.0250 4
    """

    is_differentiable = True
    higher_is_better = False
    full_state_update = False
    plot_lower_bound = 0.0

    general_total: Tensor
    specific_total: Tensor
    count: Tensor
    options: Tensor

    def __init__(
        self,
        alpha: float = 0.9,
        *,
        sobel_kernel_size: SobelKernelSize = 5,
        spectrum: Spectrum = "magnitude",
        normalization: Normalization = "area",
        data_range: float = 1.0,
        channel_axis: ChannelAxis = None,
        **kwargs: Any,
    ) -> None:
        """Check the options and start without images."""
        super().__init__(**kwargs)
        self.sobel_kernel_size: SobelKernelSize = sobel_kernel_size
        self.spectrum: Spectrum = spectrum
        self.normalization: Normalization = normalization
        self.data_range = data_range
        self.channel_axis: ChannelAxis = channel_axis
        _checks.options_of(self)
        self.alpha = alpha
        self.add_state("general_total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("specific_total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        # A `MetricCollection` merges metrics whose states are equal after the first update. Sums are equal if the first
        # images are identical, so the options are a state, too. Alpha is not: it weighs the same sums.
        choices = (sobel_kernel_size, SPECTRA.index(spectrum), NORMALIZATIONS.index(normalization), channel_axis or 0)
        self.add_state("options", torch.tensor([*map(float, choices), float(data_range)]), dist_reduce_fx="max")

    def __setattr__(self, name: str, value: Any) -> None:
        """Check alpha, which may change at any time."""
        if name == "alpha":
            _checks.check_alpha(value)
        super().__setattr__(name, value)

    def update(self, predictions: Tensor, targets: Tensor, mask: Tensor | None = None) -> None:
        """Add images, of any size.

        Args:
            predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
            targets: Images of the same shape.
            mask: Which images count, of the batch shape `...` and dtype bool, for a padded last batch. The others may
                hold any values, including NaN.

        Raises:
            ValueError: As `blursim`; the mask has another shape.
            TypeError: As `blursim`; the mask is no tensor of bool.
        """
        if mask is not None:
            predictions, targets = self._masked(predictions, targets, mask)
        general, specific = terms(predictions, targets, _checks.options_of(self), "none")
        self.count += general.numel() if mask is None else mask.sum()
        # Processes must agree on the dtype of the states, which `set_dtype` changes.
        self.general_total = self.general_total + general.sum().to(self.general_total.dtype)
        self.specific_total = self.specific_total + specific.sum().to(self.specific_total.dtype)

    def _masked(self, predictions: Tensor, targets: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
        """Both images with 0 where the mask is false, which have no gradient there."""
        batch_shape = check_images(predictions, targets, _checks.options_of(self))
        _checks.check_array("mask", mask, (Tensor,), ARRAY)
        _checks.check_mask(tuple(mask.shape), str(mask.dtype).removeprefix("torch."), batch_shape)
        chosen = mask.reshape(mask.shape + (1,) * (predictions.ndim - mask.ndim))
        return torch.where(chosen, predictions, 0), torch.where(chosen, targets, 0)

    def compute(self) -> Tensor:
        """Return the mean of BlurSim over all images, a scalar; NaN before the first."""
        terms = self._terms()
        return (1 - self.alpha) * terms.general + self.alpha * terms.specific

    def compute_terms(self) -> BlurSimTerms:
        """Return the means of both terms over all images of all processes, which must all call it; NaN before any."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.sync_on_compute):
            return self._terms()

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot one value, or several over steps, as every metric of torchmetrics does; needs Matplotlib.

        Args:
            val: A result of `compute` or `forward`, or a list of them. None computes the current value.
            ax: The axes to plot on; None makes new ones.

        Returns:
            Figure and axes.
        """
        return self._plot(val, ax)

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = ()) -> Any:
        """Move all states, but change the dtype, as `set_dtype` does, of the sums alone."""
        exact = ("count", "options") if self._dtype_convert else ()
        return super()._apply(fn, (*exclude_state, *exact))

    def _terms(self) -> BlurSimTerms:
        return BlurSimTerms(self.general_total / self.count, self.specific_total / self.count)
