"""What the public functions accept: plain Python over numbers, strings and shapes, the same file in both packages."""

import math
import numbers
from typing import Any, Literal, NamedTuple

Spectrum = Literal["magnitude", "complex", "log"]
Normalization = Literal["area", "relative"]
Reduction = Literal["mean", "sum", "none"]
SobelKernelSize = Literal[3, 5, 7]
ChannelAxis = Literal[-1, -3] | None

# The dtypes that float32 holds exactly; float64 is computed in float64.
FLOAT32_DTYPES = ("float16", "bfloat16", "float32", "uint8", "int8", "uint16", "int16")


class Options(NamedTuple):
    """The choices of the formula, hashable so that a compiler can treat them as constants."""

    sobel_kernel_size: int
    spectrum: str
    normalization: str
    # White is `white` times `unit`, a power of two, by which pixels are divided. By white itself it would be with
    # rounding, and a compiler that fuses one image's quotient into a difference rounds that of the other alone.
    unit: float
    white: float
    channel_axis: int | None

    def grey_level(self) -> float:
        """One of 255, in units."""
        return self.white / 255


def check_options(
    sobel_kernel_size: object, spectrum: object, normalization: object, data_range: object, channel_axis: object
) -> Options:
    """Return the options as plain Python values, or raise `ValueError`."""
    size = _choice("sobel_kernel_size", sobel_kernel_size, (3, 5, 7))
    axis = _choice("channel_axis", channel_axis, (None, -1, -3))
    # In float32's range of normal numbers, and its inverse too: pixels are divided by it.
    if not is_number(data_range) or not 2**-126 <= data_range < 2**127:  # type: ignore[operator]
        raise ValueError(f"data_range: expected a positive finite number, got {data_range!r}")
    unit = 2.0 ** (math.frexp(data_range)[1] - 1)  # type: ignore[arg-type]
    return Options(
        sobel_kernel_size=size,
        spectrum=_choice("spectrum", spectrum, ("magnitude", "complex", "log")),
        normalization=_choice("normalization", normalization, ("area", "relative")),
        unit=unit,
        white=float(data_range) / unit,  # type: ignore[arg-type]
        channel_axis=axis,
    )


def check_reduction(reduction: object, batch_shape: tuple[int, ...] = ()) -> None:
    """Raise `ValueError` for an unknown reduction, or for the mean of no images."""
    if _choice("reduction", reduction, ("mean", "sum", "none")) == "mean" and 0 in batch_shape:
        raise ValueError(f"predictions: expected at least one image for the mean, got batch shape {batch_shape}")


def check_alpha(alpha: object, array: str = "", name: str = "alpha") -> None:
    """Raise unless the Python or NumPy number `alpha` lies in [0, 1]; NaN does not. An `array` it could have been."""
    if not is_number(alpha):
        alternative = f" or {array}" if array else ""
        raise TypeError(f"{name}: expected a real number{alternative}, got {_type_name(alpha)}")
    if not 0 <= alpha <= 1:  # type: ignore[operator]
        raise ValueError(f"{name}: expected a number in [0, 1], got {alpha}")


def check_alpha_array(shape: tuple[int, ...], dtype: str, batch_shape: tuple[int, ...]) -> None:
    """Raise unless an alpha of this shape and dtype can weigh images of `batch_shape`, one weight an image."""
    if dtype.startswith("float8") or not dtype.startswith(("float", "bfloat", "int", "uint")):
        raise TypeError(f"alpha: expected a real dtype, got {dtype}")
    trailing = batch_shape[len(batch_shape) - len(shape) :]
    if len(shape) > len(batch_shape) or any(n not in (1, m) for n, m in zip(shape, trailing, strict=True)):
        raise ValueError(f"alpha: expected a shape that broadcasts to the images' {batch_shape}, got {shape}")


def check_mask(shape: tuple[int, ...], dtype: str, batch_shape: tuple[int, ...]) -> None:
    """Raise unless a mask of this shape and dtype says of every image of `batch_shape` whether it counts."""
    if dtype != "bool":
        raise TypeError(f"mask: expected dtype bool, got {dtype}")
    if shape != batch_shape:
        raise ValueError(f"mask: expected the shape of the batch, {batch_shape}, got {shape}")


def check_array(name: str, value: object, types: tuple[type, ...], expected: str) -> None:
    """Raise `TypeError` unless `value`, an array as a rule, is of one of the types."""
    if not isinstance(value, types):
        raise TypeError(f"{name}: expected {expected}, got {_type_name(value)}")


def check_dtype(name: str, dtype: str) -> None:
    """Raise `TypeError` unless images of this dtype can be computed without loss."""
    if dtype not in (*FLOAT32_DTYPES, "float64"):
        raise TypeError(f"{name}: expected dtype {', '.join(FLOAT32_DTYPES)} or float64, got {dtype}")


def check_shapes(predictions: tuple[int, ...], targets: tuple[int, ...], options: Options) -> tuple[int, ...]:
    """Return the batch shape, which is the images' shape without height, width and channels, or raise `ValueError`."""
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
    # By type and value: 5.0 and True equal integers, yet are no kernel size.
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        value = int(value)
    for choice in choices:
        if isinstance(value, type(choice)) and not isinstance(value, bool) and value == choice:
            return choice
    *others, last = map(repr, choices)
    raise ValueError(f"{name}: expected {', '.join(others)} or {last}, got {value!r}")


def is_number(value: object) -> bool:
    """Whether `value` is a real number of Python or NumPy; a bool is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
