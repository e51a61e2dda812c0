"""BlurSim for JAX: a differentiable loss and metric for blurred images, from DFT spectra and Sobel edges."""

from typing import TYPE_CHECKING

__all__ = ["PRESETS", "BlurSim", "BlurSimMaps", "BlurSimTerms", "blursim", "blursim_maps", "blursim_terms"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from blursim_jax._loss import BlurSimTerms, blursim, blursim_terms
    from blursim_jax._maps import BlurSimMaps, blursim_maps
    from blursim_jax._module import BlurSim
    from blursim_jax._presets import PRESETS
else:
    # Each imported when it is first asked for: JAX takes several times as long as the help of the command.
    _FILES = {"PRESETS": "_presets", "BlurSim": "_module", "BlurSimMaps": "_maps", "blursim_maps": "_maps"}

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        try:
            module = import_module(f"{__name__}.{_FILES.get(name, '_loss')}")
        except ModuleNotFoundError as error:
            error.add_note("blursim_jax needs JAX: pip install 'blursim[jax]'")
            raise
        globals()[name] = value = getattr(module, name)
        return value

    def __dir__() -> list[str]:
        return [*__all__, "__version__"]
