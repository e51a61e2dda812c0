"""Images: checked, and converted to planes."""

from typing import Any

import torch
from torch import Tensor

from blursim_torch import _checks
from blursim_torch._checks import Options

# The name of an image or a batch of alphas in messages.
ARRAY = "a torch.Tensor"


def check_images(
    predictions: Tensor, targets: Tensor, mask: Tensor | None, options: Options
) -> tuple[Options, tuple[int, ...]]:
    """Return the options with the images' data range, and the batch shape, or raise."""
    for name, value in (("predictions", predictions), ("targets", targets)):
        _check_array(name, value)
    _check_device("targets", targets, predictions.device)
    batch_shape = _checks.check_shapes(tuple(predictions.shape), tuple(targets.shape), options)
    options = _checks.resolve_data_range(options, _name(predictions.dtype), _name(targets.dtype))
    if mask is not None:
        check_mask(mask, predictions.device, _checks.shape_of_pixels(tuple(predictions.shape), options))
    return options, batch_shape


def check_mask(mask: Any, device: torch.device, *expected: tuple[int, ...]) -> None:
    """Raise unless the mask is a tensor of bool on this device, of one of the expected shapes."""
    _checks.check_array("mask", mask, (Tensor,), ARRAY)
    _check_dense("mask", mask)
    _check_device("mask", mask, device)
    _checks.check_mask(tuple(mask.shape), _name(mask.dtype), *expected)


def to_plane_pair(predictions: Tensor, targets: Tensor, mask: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    """The planes of both images, in the prediction those of the target where the mask is False."""
    dtype = compute_dtype(predictions, targets)
    a, b = to_planes(predictions, options, dtype), to_planes(targets, options, dtype)
    return (a, b) if mask is None else (torch.where(mask.unsqueeze(-3), a, b), b)


def to_planes(images: Tensor, options: Options, dtype: torch.dtype) -> Tensor:
    """Convert images to (..., C, H, W), with one channel if they have none, and pixels to units of `options`."""
    if options.channel_axis is None:
        images = images.unsqueeze(-3)
    elif options.channel_axis == -1:
        images = images.movedim(-1, -3)
    planes = images.to(dtype)
    if options.black:
        planes = planes - options.black
    return planes if options.unit == 1 else planes / options.unit


def compute_dtype(*images: Tensor) -> torch.dtype:
    """float64 if any of the images is, else float32."""
    return torch.float64 if any(image.dtype == torch.float64 for image in images) else torch.float32


def _check_array(name: str, value: Any) -> None:
    _checks.check_array(name, value, (Tensor,), ARRAY)
    _check_dense(name, value)
    _checks.check_dtype(name, _name(value.dtype))


def _check_device(name: str, value: Tensor, device: torch.device) -> None:
    if value.device != device:
        raise ValueError(f"{name}: expected the device of predictions, {device}, got {value.device}")


def _check_dense(name: str, value: Tensor) -> None:
    if value.layout != torch.strided or value.is_nested:
        kind = "a nested tensor" if value.is_nested else f"layout {value.layout}"
        raise TypeError(f"{name}: expected a dense torch.Tensor, got {kind}")


def check_alpha(alpha: Any, batch_shape: tuple[int, ...], device: torch.device) -> float | Tensor:
    """Return alpha as a number or tensor that can weigh images of `batch_shape`, or raise."""
    if not isinstance(alpha, Tensor):
        _checks.check_alpha(alpha, ARRAY)
        # `float` of a Python number would make it a constant of a compiled program.
        return alpha if isinstance(alpha, (int, float)) else float(alpha)
    _check_dense("alpha", alpha)
    _checks.check_alpha_array(tuple(alpha.shape), _name(alpha.dtype), batch_shape)
    # A tensor without dimensions may be on the CPU, as everywhere in PyTorch.
    if alpha.ndim > 0 or alpha.device.type != "cpu":
        _check_device("alpha", alpha, device)
    return alpha


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
