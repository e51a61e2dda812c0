"""BlurSim as a module that holds its options."""

from typing import Any

import torch
from torch import Tensor

from blursim_torch import _checks
from blursim_torch._checks import ChannelAxis, Normalization, Reduction, SobelKernelSize, Spectrum
from blursim_torch._loss import ARRAY, mixture


class BlurSim(torch.nn.Module):
    """`blursim` with its options, called as `BlurSim(alpha=0.8)(predictions, targets)`.

    It has no parameters and an empty `state_dict`. A schedule sets `loss.alpha = 0.5`, which under `torch.compile` does
    not recompile.

    Args:
        alpha: Weight of Specific, in [0, 1]: a number, or a tensor that broadcasts to the images' batch shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: The pixel value of white.
        channel_axis: None, -1 or -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.

    Raises:
        ValueError: An option is unknown or a number is out of range. Of a tensor as alpha, when it is called.
        TypeError: alpha is neither a number nor a tensor.

    References:
        The formula is that of `blursim`.

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
        data_range: float = 1.0,
        channel_axis: ChannelAxis = None,
        reduction: Reduction = "mean",
    ) -> None:
        """Check the options; of an alpha that is a tensor, the shape is checked against the images."""
        super().__init__()
        self.sobel_kernel_size: SobelKernelSize = sobel_kernel_size
        self.spectrum: Spectrum = spectrum
        self.normalization: Normalization = normalization
        self.data_range = data_range
        self.channel_axis: ChannelAxis = channel_axis
        _checks.options_of(self)
        _checks.check_reduction(reduction)
        self.reduction: Reduction = reduction
        self.alpha = alpha

    def __setattr__(self, name: str, value: Any) -> None:
        """Check alpha, and do not register a tensor as a parameter."""
        if name != "alpha":
            super().__setattr__(name, value)
            return
        if not isinstance(value, Tensor):
            _checks.check_alpha(value, ARRAY)
        object.__setattr__(self, name, value)

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return `blursim(predictions, targets)` under these options.

        Args:
            predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
            targets: Images of the same shape.

        Returns:
            A scalar, or under `"none"` one value per image.

        Raises:
            ValueError: As `blursim`.
            TypeError: As `blursim`.
        """
        return mixture(predictions, targets, self.alpha, _checks.options_of(self), self.reduction)

    def extra_repr(self) -> str:
        """The options, as they are written."""
        options = (f"{name}={getattr(self, name)!r}" for name in (*_checks.Options._fields, "reduction"))
        return ", ".join([f"alpha={self.alpha}", *options])
