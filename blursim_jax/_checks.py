"""Checks of arguments, in plain Python over numbers, strings and shapes: the same file in both packages."""

import math
import numbers
from typing import Any, Literal, NamedTuple, get_args

Spectrum = Literal["magnitude", "complex", "log"]
Normalization = Literal["area", "relative"]
Reduction = Literal["mean", "sum", "none"]
SobelKernelSize = Literal[3, 5, 7]
ChannelAxis = Literal[-1, -3] | None

SPECTRA: tuple[Spectrum, ...] = get_args(Spectrum)
NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)
SOBEL_KERNEL_SIZES: tuple[SobelKernelSize, ...] = get_args(SobelKernelSize)
CHANNEL_AXES: tuple[ChannelAxis, ...] = (None, -1, -3)

# The dtypes that float32 represents exactly. float64 is computed in float64.
FLOAT32_DTYPES = ("float16", "bfloat16", "float32", "uint8", "int8", "uint16", "int16")


class Options(NamedTuple):
    """Checked options of the formula, hashable, so that a compiler can treat them as constants."""

    sobel_kernel_size: SobelKernelSize
    spectrum: Spectrum
    normalization: Normalization
    data_range: float
    channel_axis: ChannelAxis

    @property
    def unit(self) -> float:
        """The power of two that pixels are divided by, which is exact.

        A division by `data_range` would round. A compiler that fuses the quotient of one image into a difference would
        round only that of the other, so that equal images would differ.
        """
        return 2.0 ** (math.frexp(self.data_range)[1] - 1)

    @property
    def white(self) -> float:
        """White in units, in [1, 2)."""
        return self.data_range / self.unit

    def grey_level(self) -> float:
        """One of 255 grey levels, in units."""
        return self.white / 255


def check_options(
    sobel_kernel_size: object, spectrum: object, normalization: object, data_range: object, channel_axis: object
) -> Options:
    """Return the options as plain Python values, or raise `ValueError`."""
    size = _choice("sobel_kernel_size", sobel_kernel_size, SOBEL_KERNEL_SIZES)
    axis = _choice("channel_axis", channel_axis, CHANNEL_AXES)
    # Pixels are divided by it: it and its inverse must be normal numbers of float32.
    if not is_number(data_range) or not 2**-126 <= data_range < 2**127:  # type: ignore[operator]
        raise ValueError(f"data_range: expected a positive finite number, got {data_range!r}")
    return Options(
        sobel_kernel_size=size,
        spectrum=_choice("spectrum", spectrum, SPECTRA),
        normalization=_choice("normalization", normalization, NORMALIZATIONS),
        data_range=float(data_range),  # type: ignore[arg-type]
        channel_axis=axis,
    )


def options_of(holder: object) -> Options:
    """Check the options that an object has as attributes."""
    return check_options(**{name: getattr(holder, name) for name in Options._fields})


def check_reduction(reduction: object, batch_shape: tuple[int, ...] = ()) -> None:
    """Raise `ValueError` for an unknown reduction, or for the mean of no images."""
    if _choice("reduction", reduction, REDUCTIONS) == "mean" and 0 in batch_shape:
        raise ValueError(f"predictions: expected at least one image for the mean, got batch shape {batch_shape}")


def check_alpha(alpha: object, array: str = "", name: str = "alpha") -> None:
    """Raise unless alpha is a number in [0, 1], not NaN. `array` names what else the message should allow."""
    if not is_number(alpha):
        alternative = f" or {array}" if array else ""
        raise TypeError(f"{name}: expected a real number{alternative}, got {_type_name(alpha)}")
    if not 0 <= alpha <= 1:  # type: ignore[operator]
        raise ValueError(f"{name}: expected a number in [0, 1], got {alpha}")


def check_alpha_array(shape: tuple[int, ...], dtype: str, batch_shape: tuple[int, ...]) -> None:
    """Raise unless an alpha of this shape and dtype can weigh images of `batch_shape`, one weight per image."""
    if dtype.startswith("float8") or not dtype.startswith(("float", "bfloat", "int", "uint")):
        raise TypeError(f"alpha: expected a real dtype, got {dtype}")
    trailing = batch_shape[len(batch_shape) - len(shape) :]
    if len(shape) > len(batch_shape) or any(n not in (1, m) for n, m in zip(shape, trailing, strict=True)):
        raise ValueError(f"alpha: expected a shape that broadcasts to the images' {batch_shape}, got {shape}")


def check_mask(shape: tuple[int, ...], dtype: str, batch_shape: tuple[int, ...]) -> None:
    """Raise unless a mask of this shape and dtype selects from images of `batch_shape`."""
    if dtype != "bool":
        raise TypeError(f"mask: expected dtype bool, got {dtype}")
    if shape != batch_shape:
        raise ValueError(f"mask: expected the shape of the batch, {batch_shape}, got {shape}")


def check_array(name: str, value: object, types: tuple[type, ...], expected: str) -> None:
    """Raise `TypeError` unless `value` is of one of the types."""
    if not isinstance(value, types):
        raise TypeError(f"{name}: expected {expected}, got {_type_name(value)}")


def check_dtype(name: str, dtype: str) -> None:
    """Raise `TypeError` unless float32 or float64 represents images of this dtype exactly."""
    if dtype not in (*FLOAT32_DTYPES, "float64"):
        raise TypeError(f"{name}: expected dtype {', '.join(FLOAT32_DTYPES)} or float64, got {dtype}")


def check_shapes(predictions: tuple[int, ...], targets: tuple[int, ...], options: Options) -> tuple[int, ...]:
    """Return the batch shape, the images' shape without height, width and channels, or raise `ValueError`."""
    if predictions != targets:
        raise ValueError(f"targets: expected the shape of predictions, {predictions}, got {targets}")
    layout = {None: "(..., H, W)", -1: "(..., H, W, C)", -3: "(..., C, H, W)"}[options.channel_axis]
    least = 2 if options.channel_axis is None else 3
    if len(predictions) < least:
        raise ValueError(f"predictions: expected images {layout}, got shape {predictions}")
    end = len(predictions) - 1 if options.channel_axis == -1 else len(predictions)
    height, width = predictions[end - 2 : end]
    if min(height, width) < options.sobel_kernel_size:
        advice = "" if options.channel_axis == -1 else " (channels last need channel_axis=-1)"
        raise ValueError(
            f"predictions: expected height and width of at least sobel_kernel_size={options.sobel_kernel_size}, got "
            f"height {height} and width {width} from shape {predictions} read as {layout} with "
            f"channel_axis={options.channel_axis}{advice}"
        )
    if options.channel_axis is not None and predictions[options.channel_axis] == 0:
        raise ValueError(f"predictions: expected at least one channel in {layout}, got shape {predictions}")
    return predictions[: len(predictions) - least]


def _choice(name: str, value: object, choices: tuple) -> Any:
    # Types are compared, too: 5.0 equals 5 and True equals 1.
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = int(value)
    for choice in choices:
        if isinstance(value, type(choice)) and not isinstance(value, bool) and value == choice:
            return choice
    *others, last = map(repr, choices)
    raise ValueError(f"{name}: expected {', '.join(others)} or {last}, got {value!r}")


def is_number(value: object) -> bool:
    """Whether `value` is a real number of Python or NumPy, other than a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
