"""The losses by name. A loss takes restored and target photos (N, 3, H, W) and the fraction of training done."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

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


PEERS: dict[str, Loss] = {
    "MSE": lambda a, b, _: mse_loss(a, b),
    "L1": lambda a, b, _: l1_loss(a, b),
    "SSIM": _ssim,
    "focal-frequency-loss": _focal_frequency_loss,
    "L1 of FFTs": _l1_of_ffts,
}
