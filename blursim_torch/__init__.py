"""BlurSim for PyTorch: a differentiable loss and metric for blurred images, from DFT spectra and Sobel edges."""

from blursim_torch._loss import BlurSimTerms, blursim, blursim_terms
from blursim_torch._maps import BlurSimMaps, blursim_maps
from blursim_torch._module import BlurSim

__all__ = ["BlurSim", "BlurSimMaps", "BlurSimTerms", "blursim", "blursim_maps", "blursim_terms"]
