"""Options by what they are for: the same file in both packages."""

from types import MappingProxyType
from typing import Any

PRESETS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        "original": {"alpha": 0.9, "sobel_kernel_size": 5, "spectrum": "complex", "normalization": "area"},
        "training": {"alpha": 0.15, "sobel_kernel_size": 5, "spectrum": "complex_l1", "normalization": "rms"},
        "perceptual": {"alpha": 0.8, "sobel_kernel_size": 5, "spectrum": "log", "normalization": "relative"},
    }
)
"""Keyword arguments of `blursim`, `BlurSim` and `BlurSimMetric`, by what they are for.

- `"original"`: what the package `torch-blursim` computes
- `"training"`: a loss for networks, without another beside it
- `"perceptual"`: a score that ranks blurred photos as people do
"""
