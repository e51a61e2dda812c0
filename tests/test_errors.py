"""Bad input: every row of the table by type and message."""

import re
from fractions import Fraction
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from blursim_jax import BlurSim, blursim, blursim_maps, blursim_terms

IMAGE = np.zeros((8, 8), np.float32)
DTYPES = "expected dtype float16, bfloat16, float32, uint8, int8, uint16, int16 or float64"


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


# (predictions, targets, options, error, message)
IMAGES = [
    (zeros(8, 8), zeros(8, 9), {}, ValueError, "targets: expected the shape of predictions, (8, 8), got (8, 9)"),
    (zeros(2, 8, 8), zeros(8, 8), {}, ValueError, "targets: expected the shape of predictions, (2, 8, 8), got (8, 8)"),
    (zeros(2, 8, 8), zeros(1, 8, 8), {}, ValueError, "targets: expected the shape of predictions"),
    (zeros(8), zeros(8), {}, ValueError, "predictions: expected images (..., H, W), got shape (8,)"),
    (zeros(), zeros(), {}, ValueError, "predictions: expected images (..., H, W), got shape ()"),
    (zeros(8, 8), zeros(8, 8), {"channel_axis": -1}, ValueError, "expected images (..., H, W, C), got shape (8, 8)"),
    (zeros(8, 8), zeros(8, 8), {"channel_axis": -3}, ValueError, "expected images (..., C, H, W), got shape (8, 8)"),
    (
        zeros(64, 64, 3),
        zeros(64, 64, 3),
        {},
        ValueError,
        "predictions: expected height and width of at least sobel_kernel_size=5, got height 64 and width 3 from shape "
        "(64, 64, 3) read as (..., H, W) with channel_axis=None (channels last need channel_axis=-1)",
    ),
    (zeros(6, 8), zeros(6, 8), {"sobel_kernel_size": 7}, ValueError, "at least sobel_kernel_size=7, got height 6"),
    (zeros(3, 8, 8), zeros(3, 8, 8), {"channel_axis": -1}, ValueError, "got height 3 and width 8"),
    (zeros(8, 8, 0), zeros(8, 8, 0), {"channel_axis": -1}, ValueError, "expected at least one channel"),
    (zeros(0, 8, 8), zeros(0, 8, 8), {"channel_axis": -3}, ValueError, "expected at least one channel"),
    (zeros(8, 0), zeros(8, 0), {}, ValueError, "got height 8 and width 0"),
    ([[0.0] * 8] * 8, IMAGE, {}, TypeError, "predictions: expected a JAX or NumPy array, got list"),
    (IMAGE, "image.png", {}, TypeError, "targets: expected a JAX or NumPy array, got str"),
    (IMAGE, None, {}, TypeError, "targets: expected a JAX or NumPy array, got NoneType"),
    (0.5, IMAGE, {}, TypeError, "predictions: expected a JAX or NumPy array, got float"),
    (zeros(8, 8, dtype="bool"), IMAGE, {}, TypeError, f"predictions: {DTYPES}, got bool"),
    (IMAGE, zeros(8, 8, dtype="complex64"), {}, TypeError, f"targets: {DTYPES}, got complex64"),
    (zeros(8, 8, dtype="object"), IMAGE, {}, TypeError, f"predictions: {DTYPES}, got object"),
    (np.full((8, 8), "a"), IMAGE, {}, TypeError, f"predictions: {DTYPES}, got str32"),
    (zeros(8, 8, dtype="int64"), IMAGE, {}, TypeError, f"predictions: {DTYPES}, got int64"),
    (IMAGE, zeros(8, 8, dtype="int32"), {}, TypeError, f"targets: {DTYPES}, got int32"),
    (IMAGE, zeros(8, 8, dtype="uint32"), {}, TypeError, f"targets: {DTYPES}, got uint32"),
    (
        zeros(8, 8, dtype="float64"),
        IMAGE,
        {},
        TypeError,
        "predictions: expected float32, or float64 with jax_enable_x64",
    ),
]
OPTIONS = [
    ({"sobel_kernel_size": 4}, ValueError, "sobel_kernel_size: expected 3, 5 or 7, got 4"),
    ({"sobel_kernel_size": 5.0}, ValueError, "sobel_kernel_size: expected 3, 5 or 7, got 5.0"),
    ({"sobel_kernel_size": "5"}, ValueError, "sobel_kernel_size: expected 3, 5 or 7, got '5'"),
    ({"spectrum": "phase"}, ValueError, "spectrum: expected 'magnitude', 'complex' or 'log', got 'phase'"),
    ({"spectrum": None}, ValueError, "spectrum: expected 'magnitude', 'complex' or 'log', got None"),
    ({"normalization": "max"}, ValueError, "normalization: expected 'area' or 'relative', got 'max'"),
    ({"channel_axis": 1}, ValueError, "channel_axis: expected None, -1 or -3, got 1"),
    ({"channel_axis": -2}, ValueError, "channel_axis: expected None, -1 or -3, got -2"),
    ({"data_range": 0}, ValueError, "data_range: expected a positive finite number, got 0"),
    ({"data_range": -1.0}, ValueError, "data_range: expected a positive finite number, got -1.0"),
    ({"data_range": np.inf}, ValueError, "data_range: expected a positive finite number, got inf"),
    ({"data_range": np.nan}, ValueError, "data_range: expected a positive finite number, got nan"),
    ({"data_range": 1e-46}, ValueError, "data_range: expected a positive finite number, got 1e-46"),
    ({"data_range": 1e39}, ValueError, "data_range: expected a positive finite number, got 1e+39"),
    ({"data_range": 10**400}, ValueError, f"data_range: expected a positive finite number, got {10**400}"),
    ({"data_range": "255"}, ValueError, "data_range: expected a positive finite number, got '255'"),
    ({"data_range": True}, ValueError, "data_range: expected a positive finite number, got True"),
]
REDUCTION = [
    ({"reduction": "max"}, ValueError, "reduction: expected 'mean', 'sum' or 'none', got 'max'"),
    ({"reduction": None}, ValueError, "reduction: expected 'mean', 'sum' or 'none', got None"),
]
ALPHA = [
    (1.5, ValueError, "alpha: expected a number in [0, 1], got 1.5"),
    (-0.1, ValueError, "alpha: expected a number in [0, 1], got -0.1"),
    (float("nan"), ValueError, "alpha: expected a number in [0, 1], got nan"),
    (np.float32(2), ValueError, "alpha: expected a number in [0, 1], got 2.0"),
    (np.array([0.5, 1.5]), ValueError, "alpha: expected a number in [0, 1], got 1.5"),
    (np.array([0.5, np.nan]), ValueError, "alpha: expected a number in [0, 1], got nan"),
    (True, TypeError, "alpha: expected a real number or array, got bool"),
    ("0.9", TypeError, "alpha: expected a real number or array, got str"),
    (None, TypeError, "alpha: expected a real number or array, got NoneType"),
    ([0.5, 0.5], TypeError, "alpha: expected a real number or array, got list"),
    (0.5j, TypeError, "alpha: expected a real number or array, got complex"),
    (np.array([True, False]), TypeError, "alpha: expected a real number or array, got dtype bool"),
    (jnp.array(0.5j), TypeError, "alpha: expected a real number or array, got dtype complex64"),
    (jnp.zeros(3), ValueError, "alpha: expected a shape that broadcasts to the images' (2,), got (3,)"),
    (np.zeros((2, 1)), ValueError, "alpha: expected a shape that broadcasts to the images' (2,), got (2, 1)"),
]


@pytest.mark.parametrize("function", [blursim, blursim_terms, blursim_maps])
@pytest.mark.parametrize(("predictions", "targets", "options", "error", "message"), IMAGES)
def test_images(function: Any, predictions: Any, targets: Any, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        function(predictions, targets, **options)


@pytest.mark.parametrize("function", [blursim, blursim_terms, blursim_maps])
@pytest.mark.parametrize(("options", "error", "message"), OPTIONS)
def test_options(function: Any, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        function(IMAGE, IMAGE, **options)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        BlurSim(**options)


@pytest.mark.parametrize("function", [blursim, blursim_terms])
@pytest.mark.parametrize(("options", "error", "message"), REDUCTION)
def test_reduction(function: Any, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        function(IMAGE, IMAGE, **options)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        BlurSim(**options)


@pytest.mark.parametrize(("alpha", "error", "message"), ALPHA)
def test_alpha(alpha: Any, error: type, message: str) -> None:
    images = zeros(2, 8, 8)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        blursim(images, images, alpha=alpha)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        BlurSim(alpha=alpha)(images, images)


@pytest.mark.parametrize("function", [blursim, blursim_terms])
def test_the_mean_of_no_images(function: Any) -> None:
    empty = zeros(0, 8, 8)
    message = "predictions: expected at least one image for the mean, got batch shape (0,)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        function(empty, empty)


def test_the_object_checks_a_number_at_once() -> None:
    with pytest.raises(ValueError, match="alpha: expected a number in"):
        BlurSim(alpha=2)


def test_errors_under_jit_name_the_same() -> None:
    with pytest.raises(ValueError, match="targets: expected the shape of predictions"):
        jax.jit(blursim)(zeros(8, 8), zeros(8, 9))
    with pytest.raises(TypeError, match=r"alpha: expected a real number or array, got dtype bool"):
        jax.jit(blursim)(IMAGE, IMAGE, alpha=True)


def test_a_traced_alpha_is_not_checked() -> None:
    assert jax.jit(blursim)(IMAGE, IMAGE, alpha=1.5) == 0
    assert blursim(IMAGE, IMAGE, alpha=jnp.array(1.5)) == 0


def test_odd_but_valid_numbers_are_accepted() -> None:
    options: Any = {
        "alpha": Fraction(1, 2),
        "data_range": np.uint8(255),
        "sobel_kernel_size": np.int64(3),
        "spectrum": np.str_("log"),
    }
    assert blursim(IMAGE, IMAGE, **options) == 0


def test_devices_that_differ_are_both_named() -> None:
    predictions, targets = (jax.device_put(IMAGE, device) for device in jax.devices()[:2])
    message = r"argument predictions .* device ids \[0\] .* argument targets .* device ids \[1\]"
    for function in (blursim, blursim_terms, blursim_maps):
        with pytest.raises(ValueError, match=message):
            function(predictions, targets)


def test_a_masked_array_is_refused() -> None:
    masked = np.ma.masked_array(IMAGE, IMAGE == 0)
    alpha = np.ma.masked_array([0.5], [True])
    images: Any = {"predictions": IMAGE, "targets": IMAGE}
    for name, value in (("predictions", masked), ("targets", masked), ("alpha", alpha)):
        message = rf"^{name}: expected an array without a mask, got numpy\.ma\.MaskedArray$"
        with pytest.raises(TypeError, match=message):
            blursim(**(images | {name: value}))


def test_a_foreign_array_is_named() -> None:
    class Tensor:
        pass

    Tensor.__module__ = "torch"
    with pytest.raises(TypeError, match=r"^targets: expected a JAX or NumPy array, got torch\..*Tensor$"):
        blursim(IMAGE, cast(Any, Tensor()))
