"""The public functions: check, split into planes, compare, reduce."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from blursim_torch import _checks
from blursim_torch._checks import ChannelAxis, Normalization, Options, Reduction, SobelKernelSize, Spectrum
from blursim_torch._planes import compare_planes

# The name of an image or a batch of alphas in messages.
ARRAY = "a torch.Tensor"


class BlurSimTerms(NamedTuple):
    """The two terms of BlurSim, each a scalar, or one value per image under `reduction="none"`."""

    general: Tensor
    specific: Tensor


def blursim(
    predictions: Tensor,
    targets: Tensor,
    *,
    alpha: float | Tensor = 0.9,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: float = 1.0,
    channel_axis: ChannelAxis = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """The difference of two blurred images, in the frequency domain and along edges.

        BlurSim = (1 - alpha) * General + alpha * Specific

    For planes `a` (prediction) and `b` (target) of N = H * W pixels, divided by `data_range`, with unnormalised
    discrete Fourier transforms A and B, Sobel gradient magnitudes E, Frobenius norms over the full spectrum or plane:

    - General, `normalization="area"`: `norm(|A| - |B|) / N`
    - General, `normalization="relative"`: `norm(|A| - |B|) / (N * sqrt(var(b) + d**2))`, d = 1/255
    - Specific, `"area"`: `norm(E(a) - E(b)) / N`
    - Specific, `"relative"`: `norm(E(a) - E(b)) / sqrt(norm(E(b))**2 + N * (g * d)**2)`, g the sum of the positive taps

    `spectrum="complex"` uses A - B, whose norm by Parseval is `norm(a - b) / sqrt(N')` under `"area"` (N' the
    area that OpenCV would pad to) and `norm(a - b) / sqrt(N * (var(b) + d**2))` under `"relative"`.
    `spectrum="log"` uses `norm(log(|A| + c) - log(|B| + c)) / sqrt(N)`, c = sqrt(N) / 255, under both.
    The value of an image is the mean over its channels. Identical images give exactly 0, with gradient exactly 0.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`, H and W at least
            `sobel_kernel_size`. Tensors of float16, bfloat16, float32, float64, or integers of at most 16 bits.
        targets: Images of the same shape, on the same device; the dtype may differ.
        alpha: Weight of Specific, in [0, 1]: a number, or a tensor that broadcasts to the images' batch shape. It is
            data: under `torch.compile`, which takes no NumPy number here, another alpha does not recompile. The values
            of a tensor are not checked.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"`, the original's, or `"relative"`, over the target's own contrast and edges.
        data_range: The pixel value of white, usually 1.0 or 255.
        channel_axis: None for images without channels, -1 for `(..., H, W, C)`, -3 for `(..., C, H, W)`. Under
            `"mean"`, `(N, C, H, W)` gives the same with None and -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.

    Returns:
        A scalar, or under `"none"` one value per image, of the batch shape `...`. float64 if either input is, else
        float32. Gradients have the dtype of the input they belong to.

    Raises:
        ValueError: Shapes or devices differ, images are too small, an option is unknown, a number is out of range,
            the mean of no images.
        TypeError: An input is no dense tensor or of a dtype that float32 does not hold exactly (float64 excepted).

    References:
        The formula follows the description of the Python package `torch-blursim`; `spectrum="complex"` follows its
        code.

    >>> import torch
    >>> from blursim_torch import blursim
    >>> targets = torch.zeros(2, 8, 8)
    >>> targets[:, 2:6, 2:6] = 1.0
    >>> predictions = (0.5 * targets).requires_grad_()
    >>> loss = blursim(predictions, targets, alpha=0.8)
    >>> loss.backward()
    >>> print(f"{loss:.4f}", predictions.grad.shape)
    1.5422 torch.Size([2, 8, 8])
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    return mixture(predictions, targets, alpha, options, reduction)


def blursim_terms(
    predictions: Tensor,
    targets: Tensor,
    *,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: float = 1.0,
    channel_axis: ChannelAxis = None,
    reduction: Reduction = "mean",
) -> BlurSimTerms:
    """General and Specific separately, in one pass, for logging or for other weights.

    `(1 - alpha) * general + alpha * specific` equals `blursim` with this alpha. Formulas, shapes, dtypes and errors
    are those of `blursim`.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
        targets: Images of the same shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: The pixel value of white.
        channel_axis: None, -1 or -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.

    Returns:
        `BlurSimTerms(general, specific)`, two scalars, or under `"none"` two tensors of the batch shape.

    Raises:
        ValueError: As `blursim`.
        TypeError: As `blursim`.

    References:
        As `blursim`.

    >>> import torch
    >>> from blursim_torch import blursim_terms
    >>> targets = torch.zeros(8, 8)
    >>> targets[2:6, 2:6] = 1.0
    >>> terms = blursim_terms(0.5 * targets, targets)
    >>> print(f"{terms.general:.4f} {terms.specific:.4f}")
    0.2500 1.8652
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    return terms(predictions, targets, options, reduction)


def mixture(
    predictions: Tensor, targets: Tensor, alpha: float | Tensor, options: Options, reduction: Reduction
) -> Tensor:
    """`blursim` under checked options."""
    batch_shape = check_images(predictions, targets, options)
    _checks.check_reduction(reduction, batch_shape)
    alpha = check_alpha(alpha, batch_shape, predictions.device)
    return compare_images(predictions, targets, alpha, options, reduction)[0]


def terms(predictions: Tensor, targets: Tensor, options: Options, reduction: Reduction) -> BlurSimTerms:
    """`blursim_terms` under checked options."""
    batch_shape = check_images(predictions, targets, options)
    _checks.check_reduction(reduction, batch_shape)
    return BlurSimTerms(*compare_images(predictions, targets, None, options, reduction))


def check_images(predictions: Tensor, targets: Tensor, options: Options) -> tuple[int, ...]:
    """Return the images' batch shape, or raise."""
    for name, value in (("predictions", predictions), ("targets", targets)):
        _check_array(name, value)
    if targets.device != predictions.device:
        raise ValueError(f"targets: expected the device of predictions, {predictions.device}, got {targets.device}")
    return _checks.check_shapes(tuple(predictions.shape), tuple(targets.shape), options)


def to_planes(images: Tensor, options: Options, dtype: torch.dtype) -> Tensor:
    """Convert images to (..., C, H, W), with one channel if they have none, and pixels to units of `options`."""
    if options.channel_axis is None:
        images = images.unsqueeze(-3)
    elif options.channel_axis == -1:
        images = images.movedim(-1, -3)
    planes = images.to(dtype)
    return planes if options.unit == 1 else planes / options.unit


def compute_dtype(*images: Tensor) -> torch.dtype:
    """float64 if any of the images is, else float32."""
    return torch.float64 if any(image.dtype == torch.float64 for image in images) else torch.float32


def _check_array(name: str, value: Any) -> None:
    _checks.check_array(name, value, (Tensor,), ARRAY)
    _check_dense(name, value)
    _checks.check_dtype(name, _name(value.dtype))


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
    if alpha.device != device and (alpha.ndim > 0 or alpha.device.type != "cpu"):
        raise ValueError(f"alpha: expected the device of predictions, {device}, got {alpha.device}")
    return alpha


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def compare_images(
    predictions: Tensor, targets: Tensor, alpha: float | Tensor | None, options: Options, reduction: str
) -> list[Tensor]:
    """The reduced mixture, or both terms where alpha is None."""
    dtype = compute_dtype(predictions, targets)
    a, b = to_planes(predictions, options, dtype), to_planes(targets, options, dtype)
    if alpha is not None:
        # A product keeps alpha an input of a compiled program, where other conversions of a number make it a constant.
        # Nor does it synchronize, as copying a tensor from the CPU would.
        weight = (a.new_ones(()) * alpha).to(a.dtype)
        alpha = weight.unsqueeze(-1).expand(a.shape[:-2])

    def reduce(values: Tensor) -> Tensor:
        images = torch.mean(values, dim=-1)
        return {"mean": torch.mean, "sum": torch.sum, "none": lambda x: x}[reduction](images)

    return [reduce(values) for values in compare_planes(a, b, alpha, options)]
