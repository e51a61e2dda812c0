"""The rows of `python -m benchmarks.speed` in PyTorch: the functions to time for an image shape (N, C, H, W)."""

import importlib
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, l1_loss, mse_loss, pad

from benchmarks.speed import ALPHA, AS_RELEASED, OPTIONS, name_of, peak_of
from blursim_torch import blursim

Loss = Callable[[Tensor, Tensor], Tensor]


def rows(shape: tuple[int, int, int, int], part: str, gradient: bool) -> dict[str, Callable[[], Any]]:
    """Return the functions to time by name: the floor and each loss of the part, with its gradient if `gradient`."""
    a, b = torch.from_numpy(np.random.default_rng(0).random((2, *shape), np.float32))
    losses: dict[str, Loss] = {"BlurSim": blursim}
    if part == "options":
        losses = {name_of(options): lambda a, b, o=options: blursim(a, b, **o) for options in OPTIONS}
    if part == "peers":
        losses[AS_RELEASED] = lambda a, b: blursim(a, b, spectrum="complex")
        losses |= peers(shape)
    functions: dict[str, Callable[[], Any]] = {"floor": lambda: (floor_gradient if gradient else floor)(a, b)}
    functions |= {name: prepare(loss, gradient, a, b) for name, loss in losses.items()}
    if part == "peers" and not gradient:
        functions["the released way, OpenCV"] = lambda: released(a, b)
    return functions


def compiled_rows(shape: tuple[int, int, int, int], part: str, gradient: bool) -> dict[str, Callable[[], Any]]:
    """Return BlurSim and the plain formula under `torch.compile`.

    They need their own process, because `torch.compile` changes how memory is allocated.
    """
    warnings.filterwarnings("ignore", message="Torchinductor does not support code generation for complex")
    torch._dynamo.reset()
    a, b = torch.from_numpy(np.random.default_rng(0).random((2, *shape), np.float32))
    losses: dict[str, Loss] = {"BlurSim": blursim, "conv2d and autograd": plain}
    return {name: prepare(torch.compile(loss, fullgraph=True), gradient, a, b) for name, loss in losses.items()}


def peers(shape: tuple[int, int, int, int]) -> dict[str, Loss]:
    """Return other losses that compare images."""
    return {name: peer(name) for name in names_of_peers(shape)}


def names_of_peers(shape: tuple[int, int, int, int]) -> list[str]:
    """Return the names of the losses that take images of this shape."""
    return [name for name in PEERS if name != "pytorch-msssim MS-SSIM" or min(shape[-2:]) > 160]


def peer(name: str) -> Loss:
    """Return the loss of this name, or raise an ImportError if its package is not installed."""
    made = PEERS[name]
    if isinstance(made, tuple):
        module, make = made
        return make(importlib.import_module(module))
    return made


def memory(side: int) -> dict[str, float]:
    """Return the peak memory of value and gradient beyond the inputs, as a multiple of one image of that side."""
    a, b = torch.from_numpy(np.random.default_rng(0).random((2, side, side), np.float32))
    # Start threads and load libraries before measuring.
    prepare(blursim, True, a[:256, :256], b[:256, :256])()
    return {"memory at 4096x4096, resident, images": peak_of(prepare(blursim, True, a, b)) / a.nbytes}


def first_call(side: int) -> float:
    """Return how many seconds the first value and gradient take."""
    a, b = torch.from_numpy(np.random.default_rng(0).random((2, side, side), np.float32))
    start = time.perf_counter()
    prepare(blursim, True, a, b)()
    return time.perf_counter() - start


def prepare(loss: Loss, gradient: bool, a: Tensor, b: Tensor) -> Callable[[], Any]:
    """Return a function that computes the loss, with its gradient in the first argument if `gradient`."""

    def run() -> Any:
        x = a.detach().requires_grad_()
        value = loss(x, b)
        return value, torch.autograd.grad(value, x)[0]

    return run if gradient else lambda: loss(a, b)


def floor(a: Tensor, b: Tensor) -> Any:
    """Compute MSE and the transforms that the formula cannot do without."""
    return mse_loss(a, b), torch.fft.rfft2(a), torch.fft.rfft2(b)


def floor_gradient(a: Tensor, b: Tensor) -> Any:
    """Compute MSE and the transforms that the gradient cannot do without."""
    return mse_loss(a, b), torch.fft.irfft2(torch.fft.rfft2(a), s=a.shape[-2:]), torch.fft.rfft2(b)


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Compute the mean absolute error."""
    return l1_loss(a, b)


def l1_of_ffts(a: Tensor, b: Tensor) -> Tensor:
    """Compute the frequency loss of MIMO-UNet (Cho et al., 2021), on half spectra."""
    return l1_loss(torch.view_as_real(torch.fft.rfft2(a)), torch.view_as_real(torch.fft.rfft2(b)))


def sobel_kernels() -> Tensor:
    """Return the kernels of both derivatives, of shape (2, 1, 5, 5)."""
    smooth, difference = torch.tensor([1.0, 4, 6, 4, 1]), torch.tensor([-1.0, -2, 0, 2, 1])
    return torch.stack([torch.outer(smooth, difference), torch.outer(difference, smooth)])[:, None]


KERNELS = sobel_kernels()


def plain(a: Tensor, b: Tensor, kernels: Tensor = KERNELS) -> Tensor:
    """Compute BlurSim directly from its formula, for images without zeros in the spectrum or the edges."""
    area = a.shape[-2] * a.shape[-1]
    squares = (torch.fft.rfft2(a).abs() - torch.fft.rfft2(b).abs()) ** 2
    # For an even width, every column of the half spectrum except the first and the last counts twice.
    twice = 2 * torch.sum(squares, dim=(-2, -1)) - torch.sum(squares[..., [0, -1]], dim=(-2, -1))
    edges = sobel_magnitude(a, kernels) - sobel_magnitude(b, kernels)
    general = torch.sqrt(twice) / area
    specific = torch.sqrt(torch.sum(edges**2, dim=(-2, -1))) / area
    return torch.mean((1 - ALPHA) * general + ALPHA * specific)


def sobel_magnitude(x: Tensor, kernels: Tensor) -> Tensor:
    """Compute the Sobel gradient magnitude by convolution."""
    padded = pad(x.flatten(0, -3)[:, None], (2, 2, 2, 2), mode="reflect")
    # Both derivatives are 0 in the corners, and the square root has no gradient at 0.
    magnitude = torch.sqrt(torch.sum(conv2d(padded, kernels) ** 2, dim=1) + 1e-12)
    return magnitude.reshape(x.shape)


def released(a: Tensor, b: Tensor) -> float:
    """Compute what the released code does, with OpenCV, plane by plane. There is no gradient."""
    import cv2

    values = []
    for x, y in zip(a.flatten(0, -3).numpy(), b.flatten(0, -3).numpy(), strict=True):
        spectra = []
        for image in (x, y):
            height, width = (cv2.getOptimalDFTSize(side) for side in image.shape)
            padding = (0, height - image.shape[0], 0, width - image.shape[1])
            spectra.append(
                cv2.dft(cv2.copyMakeBorder(image, *padding, cv2.BORDER_CONSTANT), flags=cv2.DFT_COMPLEX_OUTPUT)
            )
        general = np.linalg.norm(spectra[0] - spectra[1]) / spectra[0][..., 0].size
        edges = [
            cv2.magnitude(cv2.Sobel(image, cv2.CV_32F, 1, 0, ksize=5), cv2.Sobel(image, cv2.CV_32F, 0, 1, ksize=5))
            for image in (x, y)
        ]
        specific = np.linalg.norm(edges[0] - edges[1]) / x.size
        values.append((1 - ALPHA) * general + ALPHA * specific)
    return float(np.mean(values))


# The losses, or else the module of the package that a loss needs, and what makes the loss of it.
PEERS: dict[str, Loss | tuple[str, Callable[[Any], Loss]]] = {
    "MSE": mse_loss,
    "L1": l1,
    "L1 of FFTs": l1_of_ffts,
    "focal-frequency-loss": ("focal_frequency_loss", lambda package: package.FocalFrequencyLoss()),
    "kornia Sobel 3x3, L1": (
        "kornia.filters",
        lambda filters: lambda a, b: l1_loss(filters.sobel(a), filters.sobel(b)),
    ),
    "kornia SSIM": ("kornia.losses", lambda losses: lambda a, b: losses.ssim_loss(a, b, window_size=11)),
    "pytorch-msssim SSIM": ("pytorch_msssim", lambda package: lambda a, b: 1 - package.ssim(a, b, data_range=1.0)),
    "torchmetrics SSIM": (
        "torchmetrics.functional.image",
        lambda image: lambda a, b: 1 - image.structural_similarity_index_measure(a, b, data_range=1.0),
    ),
    "conv2d and autograd": plain,
    "pytorch-msssim MS-SSIM": (
        "pytorch_msssim",
        lambda package: lambda a, b: 1 - package.ms_ssim(a, b, data_range=1.0),
    ),
}
