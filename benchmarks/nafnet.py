"""A network for deblurring like NAFNet (Chen et al., 2022, "Simple Baselines for Image Restoration").

With its default arguments it has the layers of the NAFNet of width 32 that its authors train on GoPro.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm


class LayerNorm2d(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Take and return images (N, C, H, W)."""
        return layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias, 1e-6).movedim(-1, 1)


class SimpleGate(nn.Module):
    """The product of both halves of the channels, in place of a nonlinearity."""

    def forward(self, x: Tensor) -> Tensor:
        """Take 2 C channels and return C."""
        first, second = x.chunk(2, dim=1)
        return first * second


class ChannelAttention(nn.Module):
    """Simplified channel attention: each channel times a linear function of the means of all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Take and return images (N, C, H, W)."""
        return x * self.linear(x.mean(dim=(-2, -1), keepdim=True))


class Block(nn.Module):
    """Two residual branches: one with a convolution by channels and attention, one by pixels alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            LayerNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels),
            SimpleGate(),
            ChannelAttention(channels),
            nn.Conv2d(channels, channels, 1),
        )
        self.pointwise = nn.Sequential(
            LayerNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1),
            SimpleGate(),
            nn.Conv2d(channels, channels, 1),
        )
        # At first a block changes nothing.
        self.scales = nn.Parameter(torch.zeros(2, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Take and return images (N, C, H, W)."""
        x = x + self.scales[0] * self.spatial(x)
        return x + self.scales[1] * self.pointwise(x)


class NAFNet(nn.Module):
    """A U-Net of such blocks, which predicts the difference of the sharp and the blurred image.

    Args:
        width: Channels at full resolution. Each of the levels below has half the resolution and twice the channels.
        encoders: Blocks of each level, from full resolution down.
        middle: Blocks at the lowest resolution.
        decoders: Blocks of each level, from the lowest resolution up.
    """

    def __init__(
        self,
        width: int = 32,
        encoders: Sequence[int] = (1, 1, 1, 28),
        middle: int = 1,
        decoders: Sequence[int] = (1,) * 4,
    ) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 3, 3, padding=1)
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for count in encoders:
            self.encoders.append(blocks(width, count))
            self.downs.append(nn.Conv2d(width, 2 * width, 2, stride=2))
            width *= 2
        self.middle = blocks(width, middle)
        for count in decoders:
            self.ups.append(nn.Sequential(nn.Conv2d(width, 2 * width, 1, bias=False), nn.PixelShuffle(2)))
            width //= 2
            self.decoders.append(blocks(width, count))

    def forward(self, images: Tensor) -> Tensor:
        """Take and return images (N, 3, H, W). Both sides are multiples of 2 to the power of the number of levels."""
        x, skipped = self.first(images), []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            x = encoder(x)
            skipped.append(x)
            x = down(x)
        x = self.middle(x)
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            x = decoder(up(x) + skipped.pop())
        return self.last(x) + images


def blocks(channels: int, count: int) -> nn.Sequential:
    """Return blocks one after the other."""
    return nn.Sequential(*(Block(channels) for _ in range(count)))
