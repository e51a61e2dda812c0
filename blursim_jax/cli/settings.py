"""The options of the loss and of reading images, checked."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from blursim_jax import _checks
from blursim_jax._presets import PRESETS
from blursim_jax.cli.files import UserError

# The options of the loss, all of which a preset sets, and the library's defaults. Read from `blursim`, they would cost
# every command the import of JAX before it looks at its input; a test compares them.
DEFAULTS: Mapping[str, Any] = {
    "alpha": 0.9,
    "sobel_kernel_size": 5,
    "spectrum": "magnitude",
    "normalization": "area",
}

Preset = Literal["original", "training", "perceptual"]
Luma = Literal["full", "bt601-limited"]
Place = Literal["middle", "top-left", "top-right", "bottom-left", "bottom-right"]


class Settings(NamedTuple):
    """Options of the loss, and of reading images. Without `data_range`, the bit depth of the files sets it."""

    alpha: float
    sobel_kernel_size: Any
    spectrum: Any
    normalization: Any
    color: bool
    data_range: float | None
    resize: bool
    crop: bool
    max_pixels: int
    crop_at: str | None = None
    crop_border: int = 0
    as_stored: bool = False
    preset: str | None = None
    luma: str = "full"

    @property
    def label(self) -> str:
        """The name of the value, with that of the preset."""
        return f"BlurSim ({self.preset})" if self.preset else "BlurSim"

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise `UserError` if the library rejects this shape."""
        try:
            _checks.check_shapes(shape, shape, _checks.check_options(**self.options(1.0)))
        except ValueError as error:
            raise UserError(str(error)) from error

    def options(self, data_range: float) -> dict[str, Any]:
        """Return the arguments of `blursim_terms` and `blursim_maps`."""
        return {
            "sobel_kernel_size": self.sobel_kernel_size,
            "spectrum": self.spectrum,
            "normalization": self.normalization,
            "data_range": data_range,
            "channel_axis": -1 if self.color else None,
        }

    def mix(self, general: Any, specific: Any) -> Any:
        """Compute BlurSim from its terms."""
        return (1 - self.alpha) * general + self.alpha * specific


def checked_settings(parameters: Mapping[str, Any]) -> Settings:
    """Select and check the settings among a command's parameters. Options of the loss that are None are not given.

    Raises:
        ValueError: If the library would reject an option.
        UserError: If two options exclude each other.
    """
    preset = parameters.get("preset")
    for name, known in (("preset", get_args(Preset)), ("crop_at", get_args(Place)), ("luma", get_args(Luma))):
        if parameters.get(name) not in (None, *known):
            raise UserError(f"--{name.replace('_', '-')}: expected one of {', '.join(known)}, got {parameters[name]}")
    given = {name: parameters[name] for name in DEFAULTS if parameters.get(name) is not None}
    if preset is not None and given:
        raise UserError(f"--preset and --{next(iter(given)).replace('_', '-')} exclude each other: a preset sets it")
    loss = {**(PRESETS[preset] if preset is not None else DEFAULTS), **given}
    # The command `sweep` lacks some options.
    values = {**Settings._field_defaults, "resize": False, "crop": False, **parameters, **loss}
    settings = Settings(**{name: values[name] for name in Settings._fields})
    settings = settings._replace(crop=settings.crop or settings.crop_at is not None)
    _checks.check_options(**settings.options(1.0 if settings.data_range is None else settings.data_range))
    _checks.check_alpha(settings.alpha)
    for name, least in (("crop_border", 0), ("max_pixels", 1)):
        if getattr(settings, name) < least:
            raise UserError(f"--{name.replace('_', '-')}: expected {least} or more, got {getattr(settings, name)}")
    if settings.color and settings.luma != Settings._field_defaults["luma"]:
        raise UserError(f"--color and --luma {settings.luma} exclude each other")
    if settings.resize and settings.crop:
        raise UserError(f"--resize and --crop{'-at' if settings.crop_at else ''} exclude each other")
    return settings
