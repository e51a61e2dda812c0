"""Bad input: one table for both packages, every row by type and message."""

import importlib.util
import re
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from frameworks import Framework, load, require

IMAGE = np.zeros((8, 8), np.float32)
# What each package calls an array.
ARRAY = {"jax": "a JAX or NumPy array", "torch": "a torch.Tensor"}
RANGE = "data_range: expected a positive finite number, a tuple (black, white) with black < white, or None"
CONSTANT = "but an option is a constant"
TRACED = f"{CONSTANT}: bind it by functools.partial, or name it in static_argnames of jax.jit"
DTYPES = "expected dtype float16, bfloat16, float32, uint8, int8, uint16, int16 or float64"


def zeros(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.zeros(shape, dtype)


# (predictions, targets, options, error, message)
IMAGES = [
    (zeros(8, 8), zeros(8, 9), {}, ValueError, "targets: expected the shape of predictions, (8, 8), got (8, 9)"),
    (zeros(2, 8, 8), zeros(8, 8), {}, ValueError, "targets: expected the shape of predictions, (2, 8, 8), got (8, 8)"),
    (
        zeros(2, 8, 8),
        zeros(1, 8, 8),
        {},
        ValueError,
        "targets: expected the shape of predictions, (2, 8, 8), got (1, 8, 8)",
    ),
    (zeros(8), zeros(8), {}, ValueError, "predictions: expected images (..., H, W), got shape (8,)"),
    (zeros(), zeros(), {}, ValueError, "predictions: expected images (..., H, W), got shape ()"),
    (
        zeros(8, 8),
        zeros(8, 8),
        {"channel_axis": -1},
        ValueError,
        "predictions: expected images (..., H, W, C), got shape (8, 8)",
    ),
    (
        zeros(8, 8),
        zeros(8, 8),
        {"channel_axis": -3},
        ValueError,
        "predictions: expected images (..., C, H, W), got shape (8, 8)",
    ),
    (
        zeros(64, 64, 3),
        zeros(64, 64, 3),
        {},
        ValueError,
        "predictions: expected height and width of at least sobel_kernel_size=5, got height 64 and width 3 from shape "
        "(64, 64, 3) read as (..., H, W) with channel_axis=None (channels last need channel_axis=-1)",
    ),
    (
        zeros(6, 8),
        zeros(6, 8),
        {"sobel_kernel_size": 7},
        ValueError,
        "predictions: expected height and width of at least sobel_kernel_size=7, got height 6 and width 8 from shape "
        "(6, 8) read as (..., H, W) with channel_axis=None (channels last need channel_axis=-1)",
    ),
    (
        zeros(3, 8, 8),
        zeros(3, 8, 8),
        {"channel_axis": -1},
        ValueError,
        "predictions: expected height and width of at least sobel_kernel_size=5, got height 3 and width 8 from shape "
        "(3, 8, 8) read as (..., H, W, C) with channel_axis=-1",
    ),
    (
        zeros(8, 8, 0),
        zeros(8, 8, 0),
        {"channel_axis": -1},
        ValueError,
        "predictions: expected at least one channel in (..., H, W, C), got shape (8, 8, 0)",
    ),
    (
        zeros(0, 8, 8),
        zeros(0, 8, 8),
        {"channel_axis": -3},
        ValueError,
        "predictions: expected at least one channel in (..., C, H, W), got shape (0, 8, 8)",
    ),
    (
        zeros(8, 0),
        zeros(8, 0),
        {},
        ValueError,
        "predictions: expected height and width of at least sobel_kernel_size=5, got height 8 and width 0 from shape "
        "(8, 0) read as (..., H, W) with channel_axis=None (channels last need channel_axis=-1)",
    ),
    ([[0.0] * 8] * 8, IMAGE, {}, TypeError, "predictions: expected {array}, got list"),
    (IMAGE, "image.png", {}, TypeError, "targets: expected {array}, got str"),
    (IMAGE, None, {}, TypeError, "targets: expected {array}, got NoneType"),
    (0.5, IMAGE, {}, TypeError, "predictions: expected {array}, got float"),
    (zeros(8, 8, dtype="bool"), IMAGE, {}, TypeError, f"predictions: {DTYPES}, got bool"),
    (IMAGE, zeros(8, 8, dtype="complex64"), {}, TypeError, f"targets: {DTYPES}, got complex64"),
    (zeros(8, 8, dtype="int64"), IMAGE, {}, TypeError, f"predictions: {DTYPES}, got int64"),
    (IMAGE, zeros(8, 8, dtype="int32"), {}, TypeError, f"targets: {DTYPES}, got int32"),
    (IMAGE, zeros(8, 8, dtype="uint32"), {}, TypeError, f"targets: {DTYPES}, got uint32"),
    (
        zeros(8, 8, dtype="uint8"),
        IMAGE,
        {"data_range": 255},
        TypeError,
        "targets: expected an integer dtype, as predictions have uint8, got float32",
    ),
    (
        IMAGE,
        zeros(8, 8, dtype="int16"),
        {},
        TypeError,
        "targets: expected a floating dtype, as predictions have float32, got int16",
    ),
    (
        zeros(8, 8, dtype="uint8"),
        zeros(8, 8, dtype="uint16"),
        {},
        TypeError,
        "targets: expected uint8, as predictions have, or a data_range for both, got uint16",
    ),
]
OPTIONS = [
    ({"sobel_kernel_size": 4}, ValueError, "sobel_kernel_size: expected 3, 5 or 7, got 4"),
    ({"sobel_kernel_size": 5.0}, ValueError, "sobel_kernel_size: expected 3, 5 or 7, got 5.0"),
    ({"sobel_kernel_size": "5"}, ValueError, "sobel_kernel_size: expected 3, 5 or 7, got '5'"),
    (
        {"spectrum": "phase"},
        ValueError,
        "spectrum: expected 'magnitude', 'complex', 'complex_l1' or 'log', got 'phase'",
    ),
    ({"spectrum": None}, ValueError, "spectrum: expected 'magnitude', 'complex', 'complex_l1' or 'log', got None"),
    ({"normalization": "max"}, ValueError, "normalization: expected 'area', 'rms' or 'relative', got 'max'"),
    ({"channel_axis": 1}, ValueError, "channel_axis: expected None, -1 or -3, got 1"),
    ({"channel_axis": -2}, ValueError, "channel_axis: expected None, -1 or -3, got -2"),
    ({"data_range": 0}, ValueError, f"{RANGE}, got 0"),
    ({"data_range": -1.0}, ValueError, f"{RANGE}, got -1.0"),
    ({"data_range": np.inf}, ValueError, f"{RANGE}, got inf"),
    ({"data_range": np.nan}, ValueError, f"{RANGE}, got nan"),
    ({"data_range": 1e-46}, ValueError, f"{RANGE}, got 1e-46"),
    ({"data_range": 1e39}, ValueError, f"{RANGE}, got 1e+39"),
    ({"data_range": 2.0**-127}, ValueError, f"{RANGE}, got {2.0**-127}"),
    ({"data_range": 2.0**127}, ValueError, f"{RANGE}, got {2.0**127}"),
    ({"data_range": 10**400}, ValueError, f"{RANGE}, got {10**400}"),
    ({"data_range": "255"}, ValueError, f"{RANGE}, got '255'"),
    ({"data_range": True}, ValueError, f"{RANGE}, got True"),
    ({"data_range": (1, -1)}, ValueError, f"{RANGE}, got (1, -1)"),
    ({"data_range": (1, 1)}, ValueError, f"{RANGE}, got (1, 1)"),
    ({"data_range": (0, np.inf)}, ValueError, f"{RANGE}, got (0, inf)"),
    ({"data_range": (np.nan, 1)}, ValueError, f"{RANGE}, got (nan, 1)"),
    ({"data_range": (-(2.0**126.5), 2.0**126.5)}, ValueError, f"{RANGE}, got {(-(2.0**126.5), 2.0**126.5)}"),
    ({"data_range": (0, 1, 2)}, ValueError, f"{RANGE}, got (0, 1, 2)"),
    ({"data_range": [0, 1]}, ValueError, f"{RANGE}, got [0, 1]"),
    ({"data_range": (0, "1")}, ValueError, f"{RANGE}, got (0, '1')"),
    ({"data_range": np.array(255.0)}, ValueError, f"{RANGE}, got numpy.ndarray, {CONSTANT}"),
]
REDUCTION = [
    ({"reduction": "max"}, ValueError, "reduction: expected 'mean', 'sum' or 'none', got 'max'"),
    ({"reduction": None}, ValueError, "reduction: expected 'mean', 'sum' or 'none', got None"),
]
MASKS = [
    (np.ones((2, 8), bool), {}, ValueError, "mask: expected shape (2, 8, 8), got (2, 8)"),
    (np.ones(2, bool), {}, ValueError, "mask: expected shape (2, 8, 8), got (2,)"),
    (np.ones((8, 8), bool), {}, ValueError, "mask: expected shape (2, 8, 8), got (8, 8)"),
    (np.ones((2, 8, 8), bool), {"channel_axis": -3}, ValueError, "mask: expected shape (8, 8), got (2, 8, 8)"),
    (np.ones((2, 8, 8), np.float32), {}, TypeError, "mask: expected dtype bool, got float32"),
    (np.ones((2, 8, 8), np.uint8), {}, TypeError, "mask: expected dtype bool, got uint8"),
    ([[True]], {}, TypeError, "mask: expected {array}, got list"),
    (True, {}, TypeError, "mask: expected {array}, got bool"),
]
ALPHA = [
    (1.5, ValueError, "alpha: expected a number in [0, 1], got 1.5"),
    (-0.1, ValueError, "alpha: expected a number in [0, 1], got -0.1"),
    (float("nan"), ValueError, "alpha: expected a number in [0, 1], got nan"),
    (np.float32(2), ValueError, "alpha: expected a number in [0, 1], got 2.0"),
    (True, TypeError, "alpha: expected a real number or {array}, got bool"),
    ("0.9", TypeError, "alpha: expected a real number or {array}, got str"),
    (None, TypeError, "alpha: expected a real number or {array}, got NoneType"),
    ([0.5, 0.5], TypeError, "alpha: expected a real number or {array}, got list"),
    (0.5j, TypeError, "alpha: expected a real number or {array}, got complex"),
    (np.array([True, False]), TypeError, "alpha: expected a real dtype, got bool"),
    (np.array(0.5j, np.complex64), TypeError, "alpha: expected a real dtype, got complex64"),
    (np.zeros(3), ValueError, "alpha: expected a shape that broadcasts to the images' (2,), got (3,)"),
    (np.zeros((2, 1)), ValueError, "alpha: expected a shape that broadcasts to the images' (2,), got (2, 1)"),
]


FUNCTIONS = ("blursim", "blursim_terms", "blursim_maps")


def given(framework: Framework, value: Any) -> Any:
    """An array as PyTorch's own; JAX takes NumPy's, and anything else stays as it is."""
    is_foreign = isinstance(value, np.ndarray) and framework.name == "torch"
    return framework.array(value) if is_foreign else value


def message_of(framework: Framework, message: str) -> str:
    return re.escape(message.replace("{array}", ARRAY[framework.name]))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("predictions", "targets", "options", "error", "message"), IMAGES)
def test_images(
    framework: Framework, function: str, predictions: Any, targets: Any, options: dict, error: type, message: str
) -> None:
    with pytest.raises(error, match=f"^{message_of(framework, message)}$"):
        getattr(framework.package, function)(given(framework, predictions), given(framework, targets), **options)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("options", "error", "message"), OPTIONS)
def test_options(framework: Framework, function: str, options: dict, error: type, message: str) -> None:
    image = framework.array(IMAGE)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        getattr(framework.package, function)(image, image, **options)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        framework.package.BlurSim(**options)


@pytest.mark.parametrize("function", FUNCTIONS[:2])
@pytest.mark.parametrize(("options", "error", "message"), REDUCTION)
def test_reduction(framework: Framework, function: str, options: dict, error: type, message: str) -> None:
    image = framework.array(IMAGE)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        getattr(framework.package, function)(image, image, **options)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        framework.package.BlurSim(**options)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("mask", "options", "error", "message"), MASKS)
def test_masks(framework: Framework, function: str, mask: Any, options: dict, error: type, message: str) -> None:
    images, mask = framework.array(zeros(2, 8, 8)), given(framework, mask)
    with pytest.raises(error, match=f"^{message_of(framework, message)}$"):
        getattr(framework.package, function)(images, images, mask=mask, **options)


@pytest.mark.parametrize(("alpha", "error", "message"), ALPHA)
def test_alpha(framework: Framework, alpha: Any, error: type, message: str) -> None:
    images, alpha = framework.array(zeros(2, 8, 8)), given(framework, alpha)
    with pytest.raises(error, match=f"^{message_of(framework, message)}$"):
        framework.package.blursim(images, images, alpha=alpha)
    with pytest.raises(error, match=f"^{message_of(framework, message)}$"):
        framework.package.BlurSim(alpha=alpha)(images, images)


@pytest.mark.parametrize("function", FUNCTIONS[:2])
def test_the_mean_of_no_images(framework: Framework, function: str) -> None:
    empty = framework.array(zeros(0, 8, 8))
    message = "predictions: expected at least one image for the mean, got batch shape (0,)"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        getattr(framework.package, function)(empty, empty)


def test_the_object_checks_a_number_at_once(framework: Framework) -> None:
    with pytest.raises(ValueError, match=r"^alpha: expected a number in \[0, 1\], got 2$"):
        framework.package.BlurSim(alpha=2)


def test_odd_but_valid_numbers_are_accepted(framework: Framework) -> None:
    options: Any = {
        "alpha": Fraction(1, 2),
        "data_range": (np.float16(0), np.uint8(255)),
        "sobel_kernel_size": np.int64(3),
        "spectrum": np.str_("log"),
    }
    assert framework.value(IMAGE, IMAGE, **options) == 0


@pytest.mark.parametrize("data_range", [2.0**-126, float(np.nextafter(2.0**127, 0))])
def test_the_least_and_the_largest_data_range_are_accepted(framework: Framework, data_range: float) -> None:
    assert framework.value(IMAGE, IMAGE, data_range=data_range) == 0


def test_an_alpha_on_a_device_is_not_checked(framework: Framework) -> None:
    alpha = framework.array(np.array(1.5), "float32")
    assert framework.package.blursim(framework.array(IMAGE), framework.array(IMAGE), alpha=alpha) == 0


def test_the_array_of_another_library_is_named(framework: Framework) -> None:
    """What a list of frameworks cannot foresee, and the other of the two, by its real name."""

    class Tensor:
        pass

    Tensor.__module__ = "another"
    others: list[tuple[Any, str]] = [(Tensor(), r"another\..*Tensor")]
    if framework.name == "torch":
        others.append((IMAGE, r"numpy\.ndarray"))
    if importlib.util.find_spec("torch") and importlib.util.find_spec("jax"):
        other_name, kind = {"jax": ("torch", r"torch\.Tensor"), "torch": ("jax", r"jax.*Array\w*")}[framework.name]
        others.append((load(other_name).array(IMAGE), kind))
    image = framework.array(IMAGE)
    for other, kind in others:
        for name, images in {"predictions": (other, image), "targets": (image, other)}.items():
            message = f"^{name}: expected {ARRAY[framework.name]}, got {kind}$"
            for function in FUNCTIONS:
                with pytest.raises(TypeError, match=message):
                    getattr(framework.package, function)(*images)


# What only JAX has.


def jax_only() -> SimpleNamespace:
    require("jax")
    import jax

    import blursim_jax

    return SimpleNamespace(jax=jax, **{name: getattr(blursim_jax, name) for name in blursim_jax.__all__})


def test_jax_takes_no_numpy_arrays_of_other_kinds() -> None:
    blursim = jax_only().blursim
    for image, name in ((zeros(8, 8, dtype="object"), "object"), (np.full((8, 8), "a"), "str32")):
        with pytest.raises(TypeError, match=f"^predictions: {DTYPES}, got {name}$"):
            blursim(image, IMAGE)


def test_jax_takes_no_float64_in_32_bit_mode() -> None:
    with pytest.raises(TypeError, match=r"^predictions: expected float32, or float64 with jax_enable_x64, got float64"):
        jax_only().blursim(zeros(8, 8, dtype="float64"), IMAGE)


def test_jax_checks_alphas_in_numpy() -> None:
    images = zeros(2, 8, 8)
    for alpha, got in (([0.5, 1.5], "1.5"), ([0.5, np.nan], "nan")):
        with pytest.raises(ValueError, match=rf"^alpha: expected a number in \[0, 1\], got {got}$"):
            jax_only().blursim(images, images, alpha=np.array(alpha))


def test_jax_errors_under_jit_name_the_same() -> None:
    names = jax_only()
    with pytest.raises(ValueError, match=r"^targets: expected the shape of predictions, \(8, 8\), got \(8, 9\)"):
        names.jax.jit(names.blursim)(zeros(8, 8), zeros(8, 9))
    with pytest.raises(TypeError, match=r"^alpha: expected a real dtype, got bool"):
        names.jax.jit(names.blursim)(IMAGE, IMAGE, alpha=True)
    assert names.jax.jit(names.blursim)(IMAGE, IMAGE, alpha=1.5) == 0


def test_jax_options_are_not_traced() -> None:
    names = jax_only()
    images = zeros(8, 8, 3)
    for option, value in (
        ("channel_axis", -1),
        ("sobel_kernel_size", 3),
        ("data_range", 255),
        ("data_range", (0, 255)),
    ):
        with pytest.raises(ValueError, match=rf"^{option}: expected .*Tracer, {re.escape(TRACED)}"):
            names.jax.jit(names.blursim)(images, images, **{option: value})


def test_jax_names_devices_that_differ() -> None:
    names = jax_only()
    predictions, targets = (names.jax.device_put(IMAGE, device) for device in names.jax.devices()[:2])
    message = r"argument predictions .* device ids \[0\] .* argument targets .* device ids \[1\]"
    for function in (names.blursim, names.blursim_terms, names.blursim_maps):
        with pytest.raises(ValueError, match=message):
            function(predictions, targets)


def test_jax_takes_no_masked_array() -> None:
    masked = np.ma.masked_array(IMAGE, IMAGE == 0)
    alpha = np.ma.masked_array([0.5], [True])
    images: Any = {"predictions": IMAGE, "targets": IMAGE}
    mask = np.ma.masked_array(IMAGE == 0, IMAGE == 0)
    for name, value in (("predictions", masked), ("targets", masked), ("alpha", alpha), ("mask", mask)):
        message = rf"^{name}: expected an array without a mask, got numpy\.ma\.MaskedArray$"
        with pytest.raises(TypeError, match=message):
            jax_only().blursim(**(images | {name: value}))


# What only PyTorch has.


def torch_only() -> SimpleNamespace:
    require("torch")
    import torch

    import blursim_torch

    return SimpleNamespace(torch=torch, **{name: getattr(blursim_torch, name) for name in blursim_torch.__all__})


def test_torch_names_devices_that_differ() -> None:
    names = torch_only()
    image, meta = names.torch.zeros(2, 8, 8), names.torch.zeros(2, 8, 8, device="meta")
    for function in (names.blursim, names.blursim_terms, names.blursim_maps):
        with pytest.raises(ValueError, match=r"^targets: expected the device of predictions, cpu, got meta$"):
            function(image, meta)
    with pytest.raises(ValueError, match=r"^alpha: expected the device of predictions, cpu, got meta$"):
        names.blursim(image, image, alpha=meta[:, 0, 0])
    with pytest.raises(ValueError, match=r"^alpha: expected the device of predictions, cpu, got meta$"):
        names.blursim(image, image, alpha=meta[0, 0, 0])
    with pytest.raises(ValueError, match=r"^mask: expected the device of predictions, cpu, got meta$"):
        names.blursim(image, image, mask=meta > 0)


def test_torch_takes_no_parameter_as_alpha() -> None:
    names = torch_only()
    parameter, loss = names.torch.nn.Parameter(names.torch.tensor(0.5)), names.BlurSim()
    message = r"^alpha: expected a real number or a torch.Tensor that is no Parameter, got torch.nn.Parameter$"
    with pytest.raises(TypeError, match=message):
        names.BlurSim(parameter)
    with pytest.raises(TypeError, match=message):
        loss.alpha = parameter
    assert loss.alpha == 0.9


def test_a_number_as_a_tensor_may_wait_on_the_cpu() -> None:
    names = torch_only()
    image = names.torch.zeros(2, 8, 8, device="meta")
    assert names.blursim(image, image, alpha=names.torch.tensor(0.5)).device.type == "meta"
    with pytest.raises(ValueError, match=r"^alpha: expected the device of predictions, meta, got cpu$"):
        names.blursim(image, image, alpha=names.torch.tensor([0.5, 0.5]))


def test_torch_takes_no_numpy_alphas() -> None:
    names = torch_only()
    image = names.torch.zeros(2, 8, 8)
    message = r"^alpha: expected a real number or a torch.Tensor, got numpy.ndarray$"
    with pytest.raises(TypeError, match=message):
        names.blursim(image, image, alpha=np.array([0.5, 0.5]))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_torch_takes_dense_tensors_only() -> None:
    names = torch_only()
    torch, image = names.torch, names.torch.zeros(8, 8)
    message = r"^targets: expected a dense torch.Tensor, got layout torch.sparse_coo$"
    with pytest.raises(TypeError, match=message):
        names.blursim(image, image.to_sparse())
    alpha = torch.tensor([0.5, 0.5]).to_sparse()
    with pytest.raises(TypeError, match=r"^alpha: expected a dense torch.Tensor, got layout torch.sparse_coo$"):
        names.blursim(torch.zeros(2, 8, 8), torch.zeros(2, 8, 8), alpha=alpha)
    with pytest.raises(TypeError, match=r"^alpha: expected a real dtype, got float8_e5m2$"):
        names.blursim(image, image, alpha=torch.tensor(0.5).to(torch.float8_e5m2))
    with pytest.raises(TypeError, match=r"^predictions: expected a dense torch.Tensor, got a nested tensor$"):
        names.blursim(torch.nested.nested_tensor([image, image]), image)


def test_numpy_behind_a_tensor() -> None:
    """A read-only array serves, unchanged; of one counted backwards PyTorch itself makes no tensor."""
    names = torch_only()
    image, target = np.random.default_rng(0).random((2, 8, 8), np.float32)
    expected = names.blursim(names.torch.tensor(image), names.torch.tensor(target))
    before = image.copy()
    image.flags.writeable = False
    with pytest.warns(UserWarning, match="not writable"):
        tensor = names.torch.from_numpy(image)
    assert names.blursim(tensor.requires_grad_(), names.torch.tensor(target)) == expected
    np.testing.assert_array_equal(image, before)
    with pytest.raises(ValueError, match="negative"):
        names.torch.from_numpy(target[::-1])
