"""The losses by name. A loss takes restored and target photos (N, 3, H, W) and the fraction of training done."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, l1_loss, mse_loss, pad

from blursim_torch import blursim

Loss = Callable[[Tensor, Tensor, float], Tensor]


def loss_of(name: str) -> Loss:
    """Return the loss with this name. The name lists weighted terms, joined by " + "."""
    terms = [_term(term) for term in name.split(" + ")]
    return lambda a, b, done: sum((weight * loss(a, b, done) for weight, loss in terms), torch.zeros(()))


def _term(text: str) -> tuple[float, Loss]:
    weight, _, name = text.rpartition(" x ")
    return float(weight or 1), PEERS[name] if name in PEERS else _blursim(name)


def _blursim(name: str) -> Loss:
    """Return BlurSim from "BlurSim spectrum normalization kernel alpha". Alpha is a number or a range, "0.9 to 0.1"."""
    _, spectrum, normalization, size, alpha = name.split(maxsplit=4)
    start, _, end = alpha.partition(" to ")
    options: dict[str, Any] = {"spectrum": spectrum, "normalization": normalization, "sobel_kernel_size": int(size)}

    def loss(a: Tensor, b: Tensor, done: float) -> Tensor:
        mixed = float(start) + done * (float(end or start) - float(start))
        return blursim(a, b, alpha=mixed, channel_axis=-3, **options)

    return loss


def _l1_of_ffts(a: Tensor, b: Tensor, _: float) -> Tensor:
    return torch.view_as_real(torch.fft.rfft2(a - b, norm="ortho")).abs().mean()


def _ssim(a: Tensor, b: Tensor, _: float) -> Tensor:
    from pytorch_msssim import ssim  # pyright: ignore[reportMissingImports]

    return 1 - ssim(a, b, data_range=1.0)


def _focal_frequency_loss(a: Tensor, b: Tensor, _: float) -> Tensor:
    from focal_frequency_loss import FocalFrequencyLoss  # pyright: ignore[reportMissingImports]

    return FocalFrequencyLoss()(a, b)


def _l1_of_unnormalised_ffts(a: Tensor, b: Tensor, _: float) -> Tensor:
    """As MIMO-UNet adds it to L1 (Cho et al., 2021)."""
    return torch.view_as_real(torch.fft.fft2(a - b)).abs().mean()


def _charbonnier(a: Tensor, b: Tensor, _: float) -> Tensor:
    return torch.sqrt((a - b).square() + 1e-6).mean()


def _laplacian(x: Tensor) -> Tensor:
    """The finest level of the Laplacian pyramid (Burt and Adelson, 1983)."""
    taps = torch.tensor([1, 4, 6, 4, 1]) / 16
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 5, 5)

    def blurred(x: Tensor) -> Tensor:
        return conv2d(pad(x, (2, 2, 2, 2), mode="replicate"), kernel, groups=x.shape[1])

    coarse = torch.zeros_like(x)
    coarse[..., ::2, ::2] = 4 * blurred(x)[..., ::2, ::2]
    return x - blurred(coarse)


def _laplacian_edges(a: Tensor, b: Tensor, done: float) -> Tensor:
    """As MPRNet adds it to the Charbonnier loss (Zamir et al., 2021)."""
    return _charbonnier(_laplacian(a), _laplacian(b), done)


def _psnr(a: Tensor, b: Tensor, _: float) -> Tensor:
    """As NAFNet trains with (Chen et al., 2022): the negative PSNR of each photo, halved."""
    return 5 * torch.log10((a - b).square().mean((1, 2, 3)) + 1e-8).mean()


PEERS: dict[str, Loss] = {
    "MSE": lambda a, b, _: mse_loss(a, b),
    "L1": lambda a, b, _: l1_loss(a, b),
    "SSIM": _ssim,
    "focal-frequency-loss": _focal_frequency_loss,
    "L1 of FFTs": _l1_of_ffts,
    "L1 of unnormalised FFTs": _l1_of_unnormalised_ffts,
    "Charbonnier": _charbonnier,
    "Laplacian edges": _laplacian_edges,
    "PSNR": _psnr,
}
