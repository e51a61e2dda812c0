"""BlurSim as a metric of torchmetrics: the mean over all images of all updates, in any number of processes.

Needs torchmetrics (the extra `torchmetrics`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

try:
    from torchmetrics import Metric
except ModuleNotFoundError as error:
    error.add_note("blursim_torch.metrics needs torchmetrics: pip install 'blursim[torchmetrics]'")
    raise

from blursim_torch import _checks
from blursim_torch._checks import ChannelAxis, DataRange, Normalization, SobelKernelSize, Spectrum
from blursim_torch._images import check_images, check_mask
from blursim_torch._loss import BlurSimTerms, terms


class BlurSimMetric(Metric):
    """The mean of `blursim` over images, a `torchmetrics.Metric`.

        BlurSim = (1 - alpha) * mean of General + alpha * mean of Specific

    Every image has the same weight, whatever the update, size or process it came in. The states are the sums of both
    terms and the number of images, which torchmetrics adds over processes. The sums are of float64, whatever dtype the
    metric or the model around it is cast to. `update` names its arguments as other metrics of torchmetrics do, so a
    `MetricCollection` can be called with keywords.

    Args:
        alpha: Weight of Specific, a number in [0, 1].
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`.
        normalization: `"area"`, `"rms"` or `"relative"`.
        data_range: White, (black, white), or None for that of the dtype.
        channel_axis: None, -1 or -3. With None, each `(H, W)` is an image.
        kwargs: Arguments of every `torchmetrics.Metric`, such as `sync_on_compute` and `process_group`.

    Raises:
        ValueError: An option is unknown or a number is out of range; a state that is loaded or merged comes from other
            options.
        TypeError: alpha is no number.

    References:
        The formula is that of `blursim`.

    Examples:
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
        data_range: DataRange = None,
        channel_axis: ChannelAxis = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sobel_kernel_size: SobelKernelSize = sobel_kernel_size
        self.spectrum: Spectrum = spectrum
        self.normalization: Normalization = normalization
        self.data_range = data_range
        self.channel_axis: ChannelAxis = channel_axis
        _checks.options_of(self)
        self.alpha = alpha
        # float32 sums drift: by 9 % over 10^7 equal images. MPS has no float64.
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        self.add_state("general_total", torch.tensor(0.0, dtype=exact), dist_reduce_fx="sum")
        self.add_state("specific_total", torch.tensor(0.0, dtype=exact), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")
        # A `MetricCollection` merges metrics whose states are equal after the first update. Sums are equal if the first
        # images are identical, so the options are a state, too. Alpha is not: it weighs the same sums.
        self.add_state("options", self._encode_options().to(self.device, exact), dist_reduce_fx="max")

    def __setattr__(self, name: str, value: Any) -> None:
        """Check alpha, which may change at any time, and keep the options, on which the sums depend."""
        if name == "alpha":
            _checks.check_alpha(value)
            self._computed = None
        if name in _checks.Options._fields and "_defaults" in vars(self) and "options" in self._defaults:
            raise AttributeError(f"{name}: the options of a metric are fixed, because its sums depend on them")
        super().__setattr__(name, value)

    def update(self, preds: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add images, of any size.

        Args:
            preds: Images `(..., H, W)`, or with channels at `channel_axis`.
            target: Images of the same shape.
            mask: Which images count, of the batch shape `...` and dtype bool, for a padded last batch; the others may
                hold any values, including NaN. Or which pixels count, of the shape `(..., H, W)`, as in `blursim`.

        Raises:
            ValueError: As `blursim`; the mask has another shape.
            TypeError: As `blursim`; the mask is no tensor of bool.
        """
        options = _checks.options_of(self)
        images = None
        if mask is not None:
            _, batch_shape = check_images(preds, target, None, options)
            pixel_shape = _checks.shape_of_pixels(tuple(preds.shape), options)
            check_mask(mask, preds.device, batch_shape, pixel_shape)
            if mask.ndim < len(pixel_shape):
                # With 0 in place of both images, which has no gradient.
                chosen = mask.reshape(mask.shape + (1,) * (preds.ndim - mask.ndim))
                preds, target = torch.where(chosen, preds, 0), torch.where(chosen, target, 0)
                images, mask = mask, None
        general, specific = terms(preds, target, mask, options, "none")
        # Not in place: a state that was loaded may be shared.
        self.count = self.count + (general.numel() if images is None else images.sum())
        self.general_total = self.general_total + general.to(self.general_total.dtype).sum()
        self.specific_total = self.specific_total + specific.to(self.specific_total.dtype).sum()

    def compute(self) -> Tensor:
        """Return the mean of BlurSim over all images, a scalar of float32; NaN before the first."""
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

    def merge_state(self, incoming_state: Any) -> None:
        """Add the state of another metric, or a dict of it, as every metric of torchmetrics does.

        Args:
            incoming_state: A `BlurSimMetric` or its `metric_state`.

        Raises:
            ValueError: It has other options, or lacks a state. Nothing is changed then.
        """
        state: Any = incoming_state.metric_state if isinstance(incoming_state, BlurSimMetric) else incoming_state
        if isinstance(state, dict):
            if missing := sorted(self._defaults.keys() - state):
                raise ValueError(
                    f"incoming_state: expected {', '.join(self._defaults)}, got none of {', '.join(missing)}"
                )
            self._check_options(state["options"], "incoming_state")
        super().merge_state(incoming_state)
        self._computed = None

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any) -> None:
        if f"{prefix}options" in state_dict:
            self._check_options(state_dict[f"{prefix}options"], "state_dict")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        # A state dict may have been cast as a whole.
        for name, default in self._defaults.items():
            setattr(self, name, getattr(self, name).to(default))

    def _encode_options(self) -> Tensor:
        """The options as numbers: of names the index, of `channel_axis` None 0, of `data_range` None (1, 0)."""
        size, spectrum, normalization, data_range, axis = _checks.options_of(self)
        choices = size, _checks.SPECTRA.index(spectrum), _checks.NORMALIZATIONS.index(normalization), axis or 0
        return torch.tensor([*choices, *(data_range or (1, 0))], dtype=torch.float64, device="cpu")

    def _check_options(self, options: Any, name: str) -> None:
        """Raise unless a state comes from the same options."""
        own = self._encode_options()
        # In float32, which a state from a device without float64 has.
        if not isinstance(options, Tensor) or not torch.equal(options.detach().cpu().float(), own.float()):
            raise ValueError(f"{name}: expected the state of {_describe(own)}, got that of {_describe(options)}")

    def _apply(self, fn: Callable, exclude_state: Sequence[str] = ()) -> Any:
        """Move all states to another device, but keep their dtype."""

        def move(x: Tensor) -> Tensor:
            try:
                moved = fn(x)
            except TypeError:
                # MPS has no float64.
                return fn(x.float())
            return moved if moved.dtype == x.dtype else x.to(moved.device)

        return super()._apply(move, exclude_state)

    def _terms(self) -> BlurSimTerms:
        means = (total / self.count for total in (self.general_total, self.specific_total))
        return BlurSimTerms(*(mean.to(torch.float32) for mean in means))

    def extra_repr(self) -> str:
        """The options, as they are written."""
        options = (f"{name}={getattr(self, name)!r}" for name in _checks.Options._fields)
        return ", ".join([f"alpha={self.alpha}", *options])


def _describe(options: Any) -> str:
    """The options that `BlurSimMetric._encode_options` has made numbers."""
    try:
        size, spectrum, normalization, axis, black, white = options.tolist()
        if min(spectrum, normalization) < 0:
            raise IndexError
        chosen = _checks.Options(
            sobel_kernel_size=int(size),  # type: ignore[arg-type]
            spectrum=_checks.SPECTRA[int(spectrum)],
            normalization=_checks.NORMALIZATIONS[int(normalization)],
            data_range=None if black > white else (black, white),
            channel_axis=int(axis) or None,  # type: ignore[arg-type]
        )
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError):
        return f"another version, {options}"
    return ", ".join(f"{name}={value!r}" for name, value in chosen._asdict().items())
