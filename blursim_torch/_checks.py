"""Checks of arguments, in plain Python over numbers, strings and shapes: the same file in both packages."""

import math
import numbers
from typing import Any, Literal, NamedTuple, get_args

Spectrum = Literal["magnitude", "complex", "complex_l1", "log"]
Normalization = Literal["area", "rms", "relative"]
Reduction = Literal["mean", "sum", "none"]
SobelKernelSize = Literal[3, 5, 7]
ChannelAxis = Literal[-1, -3] | None
# White, or black and white, or by the dtype of the images.
DataRange = float | tuple[float, float] | None

SPECTRA: tuple[Spectrum, ...] = get_args(Spectrum)
NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)
SOBEL_KERNEL_SIZES: tuple[SobelKernelSize, ...] = get_args(SobelKernelSize)
CHANNEL_AXES: tuple[ChannelAxis, ...] = (None, -1, -3)

# The dtypes that float32 represents exactly. float64 is computed in float64.
FLOAT32_DTYPES = ("float16", "bfloat16", "float32", "uint8", "int8", "uint16", "int16")
# White of integer images whose `data_range` is None.
LARGEST_INTEGER = {"uint8": 255, "int8": 127, "uint16": 65535, "int16": 32767}


class Options(NamedTuple):
    """Checked options of the formula, hashable, so that a compiler can treat them as constants."""

    sobel_kernel_size: SobelKernelSize
    spectrum: Spectrum
    normalization: Normalization
    data_range: tuple[float, float] | None
    channel_axis: ChannelAxis

    @property
    def black(self) -> float:
        """The pixel value of black."""
        return self._range()[0]

    @property
    def unit(self) -> float:
        """The power of two that pixels are divided by, which is exact.

        A division by the range from black to white would round. A compiler that fuses the quotient of one image into a
        difference would round only that of the other, so that equal images would differ.
        """
        black, white = self._range()
        return 2.0 ** (math.frexp(white - black)[1] - 1)

    @property
    def white(self) -> float:
        """White minus black in units, in [1, 2)."""
        black, white = self._range()
        return (white - black) / self.unit

    def grey_level(self) -> float:
        """One of 255 grey levels, in units."""
        return self.white / 255

    def _range(self) -> tuple[float, float]:
        if self.data_range is None:
            raise RuntimeError("the data range is not resolved")
        return self.data_range


def check_options(
    sobel_kernel_size: object, spectrum: object, normalization: object, data_range: object, channel_axis: object
) -> Options:
    """Return the options as plain Python values, or raise `ValueError`."""
    size = _choice("sobel_kernel_size", sobel_kernel_size, SOBEL_KERNEL_SIZES)
    axis = _choice("channel_axis", channel_axis, CHANNEL_AXES)
    return Options(
        sobel_kernel_size=size,
        spectrum=_choice("spectrum", spectrum, SPECTRA),
        normalization=_choice("normalization", normalization, NORMALIZATIONS),
        data_range=_data_range(data_range),
        channel_axis=axis,
    )


def resolve_data_range(options: Options, predictions: str, targets: str) -> Options:
    """Return the options with the `data_range` of images of these dtypes where it is None, or raise `TypeError`."""
    if (predictions in LARGEST_INTEGER) != (targets in LARGEST_INTEGER):
        kind = "an integer" if predictions in LARGEST_INTEGER else "a floating"
        raise TypeError(f"targets: expected {kind} dtype, as predictions have {predictions}, got {targets}")
    if options.data_range is not None:
        return options
    if predictions in LARGEST_INTEGER and targets != predictions:
        raise TypeError(
            f"targets: expected {predictions}, as predictions have, or a data_range for both, got {targets}"
        )
    return options._replace(data_range=(0.0, float(LARGEST_INTEGER.get(predictions, 1))))


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


def shape_of_pixels(shape: tuple[int, ...], options: Options) -> tuple[int, ...]:
    """The shape of images without their channel axis, (..., H, W)."""
    return tuple(n for i, n in enumerate(shape) if i - len(shape) != options.channel_axis)


def check_mask(shape: tuple[int, ...], dtype: str, *expected: tuple[int, ...]) -> None:
    """Raise unless a mask of this shape and dtype is of bool and has one of the expected shapes."""
    if dtype != "bool":
        raise TypeError(f"mask: expected dtype bool, got {dtype}")
    if shape not in expected:
        raise ValueError(f"mask: expected shape {' or '.join(map(str, expected))}, got {shape}")


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
    raise ValueError(f"{name}: expected {', '.join(others)} or {last}, got {_shown(value)}")


def _data_range(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    black: Any = 0
    white: Any = value
    if isinstance(value, tuple) and len(value) == 2:
        black, white = value
    if is_number(black) and is_number(white):
        try:
            low, high = float(black), float(white)
        except OverflowError:
            low, high = 0.0, math.inf
        # Pixels are divided by the range: it and its inverse must be normal numbers of float32.
        if abs(low) < 2**127 and 2**-126 <= high - low < 2**127:
            return low, high
    expected = "a positive finite number, a tuple (black, white) with black < white, or None"
    raise ValueError(f"data_range: expected {expected}, got {_shown(value)}")


def _shown(value: object) -> str:
    """The value in a message; of an array, its type, and if it may be traced what to do."""
    arrays = [x for x in (value if isinstance(value, tuple) else (value,)) if hasattr(x, "shape") and not is_number(x)]
    if not arrays:
        return repr(value)
    name = _type_name(arrays[0])
    if not name.startswith("jax"):
        return f"{name}, but an option is a constant"
    return (
        f"{name}, but an option is a constant: bind it by functools.partial, or name it in static_argnames of jax.jit"
    )


def is_number(value: object) -> bool:
    """Whether `value` is a real number of Python or NumPy, other than a bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _type_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
