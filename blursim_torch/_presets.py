"""Options by what they are for: the same file in both packages."""

from types import MappingProxyType
from typing import Any

# The keyword arguments of `blursim`, `BlurSim` and `BlurSimMetric`.
PRESETS: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        # What the package torch-blursim computes.
        "original": {"alpha": 0.9, "sobel_kernel_size": 5, "spectrum": "complex", "normalization": "area"},
        # A loss for networks, without another beside it.
        "training": {"alpha": 0.15, "sobel_kernel_size": 5, "spectrum": "complex_l1", "normalization": "rms"},
        # A score that ranks blurred photos as people do.
        "perceptual": {"alpha": 0.8, "sobel_kernel_size": 5, "spectrum": "log", "normalization": "relative"},
    }
)
