"""BlurSim as a metric of torchmetrics: the mean over all images that it was given, in any number of processes.

Needs torchmetrics (the extra `torchmetrics`).
"""

from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from blursim_torch import _checks
from blursim_torch._checks import ChannelAxis, Normalization, SobelKernelSize, Spectrum
from blursim_torch._loss import ARRAY, BlurSimTerms, blursim_terms, check_images

SPECTRA, NORMALIZATIONS = get_args(Spectrum), get_args(Normalization)


class BlurSimMetric(Metric):
    """The mean of `blursim` over images, a `torchmetrics.Metric`.

        BlurSim = (1 - alpha) * mean of General + alpha * mean of Specific

    Every image counts once, however the images were spread over updates, sizes and processes: the states are the sums
    of both terms and the number of images, which torchmetrics adds up over processes.

    Args:
        alpha: Weight of Specific, a number in [0, 1].
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: What pixel value stands for white.
        channel_axis: None, -1 or -3. With None, every (H, W) is an image.
        kwargs: What every `torchmetrics.Metric` takes, such as `sync_on_compute` and `process_group`.

    Raises:
        ValueError: An option is unknown or a number is out of its range.
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
        """Check the options, and start with no image."""
        super().__init__(**kwargs)
        _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
        self.alpha = alpha
        self.sobel_kernel_size: SobelKernelSize = sobel_kernel_size
        self.spectrum: Spectrum = spectrum
        self.normalization: Normalization = normalization
        self.data_range = data_range
        self.channel_axis: ChannelAxis = channel_axis
        self.add_state("general_total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("specific_total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        # A `MetricCollection` lets metrics whose states agree after the first update share them from then on. Sums
        # agree when the first images are identical, whatever the options; so these are a state too. Alpha is not: it
        # weighs the same sums.
        choices = (sobel_kernel_size, SPECTRA.index(spectrum), NORMALIZATIONS.index(normalization), channel_axis or 0)
        self.add_state("options", torch.tensor([*map(float, choices), float(data_range)]), dist_reduce_fx="max")

    def __setattr__(self, name: str, value: Any) -> None:
        """Check alpha, which may be changed at any time."""
        if name == "alpha":
            _checks.check_alpha(value)
        super().__setattr__(name, value)

    def update(self, predictions: Tensor, targets: Tensor, mask: Tensor | None = None) -> None:
        """Add images, of any size.

        Args:
            predictions: Images `(..., H, W)`, or with channels where `channel_axis` says.
            targets: Images of the same shape.
            mask: Of the batch shape `...`, dtype bool: which images count, for a last batch that was filled up. The
                others may hold anything, NaN included.

        Raises:
            ValueError: As `blursim`; the mask has another shape.
            TypeError: As `blursim`; the mask is no tensor of bool.
        """
        if mask is not None:
            predictions, targets = self._masked(predictions, targets, mask)
        terms = blursim_terms(
            predictions,
            targets,
            sobel_kernel_size=self.sobel_kernel_size,
            spectrum=self.spectrum,
            normalization=self.normalization,
            data_range=self.data_range,
            channel_axis=self.channel_axis,
            reduction="none",
        )
        self.count += terms.general.numel() if mask is None else mask.sum()
        # In the dtype of the states, which processes have to agree on; `set_dtype` chooses another.
        self.general_total = self.general_total + terms.general.sum().to(self.general_total.dtype)
        self.specific_total = self.specific_total + terms.specific.sum().to(self.specific_total.dtype)

    def _masked(self, predictions: Tensor, targets: Tensor, mask: Any) -> tuple[Tensor, Tensor]:
        """Both images with 0 where the mask is false, for no gradient to come from there."""
        options = _checks.check_options(
            self.sobel_kernel_size, self.spectrum, self.normalization, self.data_range, self.channel_axis
        )
        batch_shape = check_images(predictions, targets, options)
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
        """Draw one value, or several over steps, as every metric of torchmetrics does; needs Matplotlib.

        Args:
            val: What `compute` or `forward` returned, or a list of it. None computes the present value.
            ax: The axes to draw on; None makes new ones.

        Returns:
            Figure and axes.
        """
        return self._plot(val, ax)

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = ()) -> Any:
        """Move all states, but give another dtype, as `set_dtype` does, to the sums alone."""
        exact = ("count", "options") if self._dtype_convert else ()
        return super()._apply(fn, (*exclude_state, *exact))

    def _terms(self) -> BlurSimTerms:
        return BlurSimTerms(self.general_total / self.count, self.specific_total / self.count)
