"""BlurSim as a module that holds its options."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from blursim_torch import _checks
from blursim_torch._checks import ChannelAxis, DataRange, Normalization, Reduction, SobelKernelSize, Spectrum
from blursim_torch._images import ARRAY
from blursim_torch._loss import BlurSimTerms, mixture, terms
from blursim_torch._maps import BlurSimMaps, blursim_maps


class BlurSim(torch.nn.Module):
    """`blursim` with its options, called as `BlurSim(alpha=0.8)(predictions, targets)`.

    It has no parameters and an empty `state_dict`. A schedule sets `loss.alpha = 0.5`, which under `torch.compile` does
    not recompile. A tensor as alpha moves with the module to another device and keeps its dtype.

    Args:
        alpha: Weight of Specific, in [0, 1]: a number, or a tensor that broadcasts to the images' batch shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`.
        normalization: `"area"`, `"rms"` or `"relative"`.
        data_range: White, (black, white), or None for that of the dtype.
        channel_axis: None, -1 or -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: An option is unknown or a number is out of range. The shape of a tensor as alpha
            is checked when the loss is called, and its values are not.
        TypeError: alpha is neither a number nor a tensor, or it is a `torch.nn.Parameter`.

    References:
        The formula is that of `blursim`.

    Examples:
        >>> import torch
        >>> from blursim_torch import BlurSim
        >>> loss = BlurSim(alpha=0.8, channel_axis=-1)
        >>> images = torch.ones(4, 16, 16, 3)
        >>> print(loss(images, images).item())
        0.0
    """

    def __init__(
        self,
        alpha: float | Tensor = 0.9,
        *,
        sobel_kernel_size: SobelKernelSize = 5,
        spectrum: Spectrum = "magnitude",
        normalization: Normalization = "area",
        data_range: DataRange = None,
        channel_axis: ChannelAxis = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.sobel_kernel_size: SobelKernelSize = sobel_kernel_size
        self.spectrum: Spectrum = spectrum
        self.normalization: Normalization = normalization
        self.data_range = data_range
        self.channel_axis: ChannelAxis = channel_axis
        _checks.options_of(self)
        _checks.check_reduction(reduction)
        self.reduction: Reduction = reduction
        self._weight: Tensor
        # `__setattr__` checks it. The shape of a tensor is checked when the images are known.
        self.alpha = alpha

    def __setattr__(self, name: str, value: Any) -> None:
        """Check alpha."""
        if name != "alpha":
            super().__setattr__(name, value)
            return
        if isinstance(value, torch.nn.Parameter):
            # An optimizer would take it out of [0, 1]: General and Specific are not in the same units.
            raise TypeError(
                "alpha: expected a real number or a torch.Tensor that is no Parameter, got torch.nn.Parameter"
            )
        if not isinstance(value, Tensor):
            _checks.check_alpha(value, ARRAY)
        object.__setattr__(self, name, value)
        # On the CPU, because a tensor without dimensions works from there on every device.
        # A tensor of inference mode would be another input.
        with torch.inference_mode(False):
            weight = (
                value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64, device="cpu")
            )
        object.__setattr__(self, "_weight", weight)

    def forward(self, predictions: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
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
        # `torch.compile` makes a number a constant of the program, and a tensor an input.
        alpha = self._weight if torch.compiler.is_compiling() else self.alpha
        return mixture(predictions, targets, mask, alpha, _checks.options_of(self), self.reduction)

    def terms(self, predictions: Tensor, targets: Tensor, mask: Tensor | None = None) -> BlurSimTerms:
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

    def maps(self, predictions: Tensor, targets: Tensor, mask: Tensor | None = None) -> BlurSimMaps:
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

    def _apply(self, fn: Callable, recurse: bool = True) -> Any:
        """Move a tensor as alpha, but keep its dtype, because alpha in bfloat16 is another alpha."""
        super()._apply(fn, recurse)
        if isinstance(self.alpha, Tensor):
            moved = fn(self.alpha)
            self.alpha = moved if moved.dtype == self.alpha.dtype else self.alpha.to(moved.device)
        return self

    def extra_repr(self) -> str:
        """The options, as they are written."""
        options = (f"{name}={getattr(self, name)!r}" for name in (*_checks.Options._fields, "reduction"))
        return ", ".join([f"alpha={self.alpha}", *options])
