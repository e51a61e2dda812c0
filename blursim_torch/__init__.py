"""BlurSim for PyTorch: a differentiable loss and metric for blurred images, from DFT spectra and Sobel edges."""

try:
    from blursim_torch._loss import BlurSimTerms, blursim, blursim_terms
    from blursim_torch._maps import BlurSimMaps, blursim_maps
    from blursim_torch._module import BlurSim
    from blursim_torch._presets import PRESETS
except ModuleNotFoundError as error:
    error.add_note("blursim_torch needs PyTorch: pip install 'blursim[torch]'")
    raise

__all__ = ["PRESETS", "BlurSim", "BlurSimMaps", "BlurSimTerms", "blursim", "blursim_maps", "blursim_terms"]
__version__ = "0.1.0"
