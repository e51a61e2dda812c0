"""Options by what they are for: the same file in both packages."""

from collections.abc import Mapping
from typing import Any


def _preset(alpha: float, spectrum: str, normalization: str) -> dict[str, Any]:
    return {"alpha": alpha, "sobel_kernel_size": 5, "spectrum": spectrum, "normalization": normalization}


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "original": _preset(0.9, "complex", "area"),
    "training": _preset(0.15, "complex_l1", "rms"),
    "perceptual": _preset(0.8, "log", "relative"),
}
"""Keyword arguments of `blursim`, `BlurSim` and `BlurSimMetric`, by what they are for.

- `"original"`: what the package `torch-blursim` computes
- `"training"`: a loss for networks, without another beside it
- `"perceptual"`: a score that ranks blurred photos as people do
"""
