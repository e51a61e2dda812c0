"""The public functions: check, split into planes, compare, reduce."""

from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch import _checks
from blursim_torch._checks import ChannelAxis, DataRange, Normalization, Options, Reduction, SobelKernelSize, Spectrum
from blursim_torch._images import check_alpha, check_images, to_plane_pair
from blursim_torch._planes import compare_planes


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
    data_range: DataRange = None,
    channel_axis: ChannelAxis = None,
    reduction: Reduction = "mean",
    mask: Tensor | None = None,
) -> Tensor:
    """The difference of two blurred images, in the frequency domain and along edges.

        BlurSim = (1 - alpha) * General + alpha * Specific

    Let `a` be a plane of the prediction and `b` that of the target, each of N = H * W pixels, with black 0 and white 1.
    A and B are their unnormalised discrete Fourier transforms. E is the Sobel gradient magnitude. Norms are Frobenius
    norms over the full spectrum or plane. d is 1/255, one grey level.

    `spectrum` chooses General:

    - `"magnitude"`: `norm(|A| - |B|) / N`
    - `"complex"`: `norm(a - b) / sqrt(N)`, which by Parseval is `norm(A - B) / N`. Under `normalization="area"`, N is
      the area that OpenCV would pad to.
    - `"complex_l1"`: `sum(|A - B|) / N**1.5`, the mean modulus of the orthonormal transform of a - b
    - `"log"`: `norm(log(|A| + c) - log(|B| + c)) / sqrt(N)`, c = d * sqrt(N)

    `normalization` chooses Specific, where g is the sum of the positive taps of the Sobel kernel:

    - `"area"`: `norm(E(a) - E(b)) / N`
    - `"rms"`: `norm(E(a) - E(b)) / (sqrt(N) * g)`, which does not depend on the size of the image
    - `"relative"`: `norm(E(a) - E(b)) / sqrt(norm(E(b))**2 + N * (g * d)**2)`. General, except for `"log"`, is also
      divided by `sqrt(var(b) + d**2)`.

    The value of an image is the mean over its channels. Identical images give exactly 0, with gradient exactly 0.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`, H and W at least
            `sobel_kernel_size`. Tensors of float16, bfloat16, float32, float64, or integers of at most 16 bits.
        targets: Images of the same shape, on the same device; the dtype may differ.
        alpha: Weight of Specific, in [0, 1]: a number, or a tensor that broadcasts to the images' batch shape. Another
            alpha does not recompile. (`torch.compile` takes no NumPy number here.) The values of a tensor are not
            checked.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`.
        normalization: `"area"`, the original's; `"rms"`, under which Specific has the same weight at every image size;
            or `"relative"`, under which both terms are shares of the target's own contrast and edges.
        data_range: The pixel value of white, or a tuple (black, white). None: white is 1 for floating images, and the
            largest value of the dtype for integers.
        channel_axis: None for images without channels, -1 for `(..., H, W, C)`, -3 for `(..., C, H, W)`. Under
            `"mean"`, `(N, C, H, W)` gives the same with None and -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.
        mask: Pixels that count: a tensor of bool, of the shape of the images without channels. Where it is False, the
            target's pixel replaces the prediction's, even if that is NaN. None: all pixels count.

    Returns:
        A scalar, or under `"none"` one value per image, of the batch shape `...`. float64 if either input is, else
        float32. Gradients have the dtype of the input they belong to.

    Raises:
        ValueError: Shapes or devices differ, images are too small, an option is unknown, a number is out of range, or
            there are no images to take the mean of.
        TypeError: An input is no dense tensor, or its dtype is neither float64 nor one that float32 holds exactly.

    References:
        The formula follows the description of the Python package `torch-blursim`; `spectrum="complex"` follows its
        code.

    Examples:
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
    return mixture(predictions, targets, mask, alpha, options, reduction)


def blursim_terms(
    predictions: Tensor,
    targets: Tensor,
    *,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: DataRange = None,
    channel_axis: ChannelAxis = None,
    reduction: Reduction = "mean",
    mask: Tensor | None = None,
) -> BlurSimTerms:
    """General and Specific separately, in one pass, for logging or for other weights.

    `(1 - alpha) * general + alpha * specific` equals `blursim` with this alpha. Formulas, shapes, dtypes and errors
    are those of `blursim`.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
        targets: Images of the same shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: What General compares: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`.
        normalization: `"area"`, `"rms"` or `"relative"`.
        data_range: White, (black, white), or None for that of the dtype.
        channel_axis: None, -1 or -3.
        reduction: Over images: `"mean"`, `"sum"` or `"none"`.
        mask: Pixels that count, or None.

    Returns:
        `BlurSimTerms(general, specific)`, two scalars, or under `"none"` two tensors of the batch shape.

    Raises:
        ValueError: As `blursim`.
        TypeError: As `blursim`.

    References:
        As `blursim`.

    Examples:
        >>> import torch
        >>> from blursim_torch import blursim_terms
        >>> targets = torch.zeros(8, 8)
        >>> targets[2:6, 2:6] = 1.0
        >>> terms = blursim_terms(0.5 * targets, targets)
        >>> print(f"{terms.general:.4f} {terms.specific:.4f}")
        0.2500 1.8652
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    return terms(predictions, targets, mask, options, reduction)


def mixture(
    predictions: Tensor,
    targets: Tensor,
    mask: Tensor | None,
    alpha: float | Tensor,
    options: Options,
    reduction: Reduction,
) -> Tensor:
    """`blursim` under checked options."""
    options, batch_shape = check_images(predictions, targets, mask, options)
    _checks.check_reduction(reduction, batch_shape)
    alpha = check_alpha(alpha, batch_shape, predictions.device)
    return compare_images(predictions, targets, mask, alpha, options, reduction)[0]


def terms(
    predictions: Tensor, targets: Tensor, mask: Tensor | None, options: Options, reduction: Reduction
) -> BlurSimTerms:
    """`blursim_terms` under checked options."""
    options, batch_shape = check_images(predictions, targets, mask, options)
    _checks.check_reduction(reduction, batch_shape)
    return BlurSimTerms(*compare_images(predictions, targets, mask, None, options, reduction))


def compare_images(
    predictions: Tensor,
    targets: Tensor,
    mask: Tensor | None,
    alpha: float | Tensor | None,
    options: Options,
    reduction: str,
) -> list[Tensor]:
    """The reduced mixture, or both terms where alpha is None."""
    a, b = to_plane_pair(predictions, targets, mask, options)
    if alpha is not None:
        # A product keeps alpha an input of a compiled program, where other conversions of a number make it a constant.
        # Nor does it synchronize, as copying a tensor from the CPU would. With one dimension, the dtype is that of `a`
        # also where alpha is a float64 tensor without dimensions.
        weight = (a.new_ones(1) * alpha).to(a.dtype)
        per_image = isinstance(alpha, Tensor) and alpha.ndim > 0
        alpha = (weight.unsqueeze(-1) if per_image else weight).expand(a.shape[:-2])

    def reduce(values: Tensor) -> Tensor:
        images = torch.mean(values, dim=-1)
        return {"mean": torch.mean, "sum": torch.sum, "none": lambda x: x}[reduction](images)

    return [reduce(values) for values in compare_planes(a, b, alpha, options)]
