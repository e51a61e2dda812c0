"""The loss over several devices, by images and by rows, against the loss on one; and what the compiled programs do."""

# ruff: noqa: E402
from frameworks import count_compilations, require

require("jax", "optax")

import functools
import itertools
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import ALL, CASES, FLOAT32, FLOAT64, Case, noise, relative_error
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from blursim_jax import blursim
from blursim_jax.sharding import blursim_data_parallel, blursim_spatial_parallel

MESH = Mesh(np.array(jax.devices()), ("devices",))
TWO = Mesh(np.array(jax.devices()[:2]), ("devices",))
PARALLEL = [blursim_data_parallel, blursim_spatial_parallel]
# One at every run, those that have both normalizations and every kind of transform with the system tests, all with the
# slow ones.
SYSTEM = CASES[1], CASES[2], CASES[6]
MARKS = {CASES[0]: (), **dict.fromkeys(SYSTEM, pytest.mark.system)}
BY_COST = [pytest.param(case, marks=MARKS.get(case, pytest.mark.slow), id=str(case)) for case in ALL]
parallel = pytest.mark.parametrize("function", PARALLEL)


def over(function: Callable[..., jax.Array], mesh: Mesh = MESH, **options: Any) -> Callable[..., jax.Array]:
    return functools.partial(function, mesh=mesh, axis_name="devices", **options)


def close(found: Any, expected: Any, rtol: float = FLOAT32.value) -> None:
    """In the L2 norm, array by array."""
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype
        assert relative_error(x, y) <= rtol


def values_and_gradients(function: Callable[..., jax.Array], a: Any, b: Any, alpha: Any) -> Any:
    gradient = jax.value_and_grad(lambda a, b, alpha: function(a, b, alpha=alpha), (0, 1, 2))
    return jax.jit(gradient)(a, b, alpha)


@pytest.mark.parametrize("case", BY_COST)
def test_the_same_value_and_gradients_as_on_one_device(case: Case, x64: None) -> None:
    # The half spectrum has 8 columns, which 4 devices divide, or 5, which they do not.
    a, b = noise(4, 48, 14 if case.size == 5 else 9, dtype="float64")
    alpha = np.linspace(0.1, 0.9, 4)
    expected = values_and_gradients(functools.partial(blursim, **case.options()), a, b, alpha)
    # By images, each device runs `compare_planes` as one device does, whatever the options.
    for function in PARALLEL[1:] if case in SYSTEM else PARALLEL:
        close(values_and_gradients(over(function, **case.options()), a, b, alpha), expected, FLOAT64.same)
    # Without gradients, the transform is another one.
    value = over(blursim_spatial_parallel, **case.options())(a, b, alpha=alpha)
    close(value, blursim(a, b, alpha=alpha, **case.options()), FLOAT64.same)


# Fewer columns than devices, as many, and more.
@pytest.mark.system
@pytest.mark.parametrize("width", [3, pytest.param(6, marks=pytest.mark.slow), 7])
@pytest.mark.parametrize("mesh", [MESH, pytest.param(TWO, marks=pytest.mark.slow)], ids=["4", "2"])
def test_rows_of_narrow_images(mesh: Mesh, width: int, x64: None) -> None:
    a, b = noise(16, width, dtype="float64")
    value, gradient = jax.value_and_grad(over(blursim_spatial_parallel, mesh, sobel_kernel_size=3))(a, b)
    close((value, gradient), jax.value_and_grad(functools.partial(blursim, sobel_kernel_size=3))(a, b), FLOAT64.same)


@pytest.mark.system
@parallel
@pytest.mark.parametrize("size", [5, 7])
def test_one_device_takes_the_smallest_images(function: Callable, size: Any) -> None:
    a, b = noise(1, size, 9)
    found = jax.value_and_grad(over(function, Mesh(MESH.devices[:1], ("devices",)), sobel_kernel_size=size))(a, b)
    close(found, jax.value_and_grad(functools.partial(blursim, sobel_kernel_size=size))(a, b))


@pytest.mark.system
@parallel
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((8, 2, 48, 20), {"reduction": "none"}),
        ((8, 48, 20, 3), {"channel_axis": -1, "reduction": "sum"}),
        ((4, 2, 3, 48, 20), {"channel_axis": -3, "data_range": 255.0, "reduction": "none"}),
    ],
)
def test_layouts_and_reductions(function: Callable, shape: tuple[int, ...], options: Any) -> None:
    a, b = noise(*shape)
    expected = blursim(a, b, **options)
    close(over(function, **options)(a, b), expected)
    assert over(function, **options)(a, b).shape == expected.shape


@pytest.mark.system
@parallel
@pytest.mark.parametrize("axis", [None, -1])
def test_masks(function: Callable, axis: int | None) -> None:
    a, b = noise(4, 48, 20) if axis is None else noise(4, 48, 20, 3)
    mask = np.random.default_rng(1).random((4, 48, 20)) < 0.7
    a[~mask] = np.nan
    options: Any = {"channel_axis": axis, **CASES[6].options()}
    found = jax.jit(jax.value_and_grad(lambda a: over(function, **options)(a, b, mask=mask)))(a)
    close(found, jax.value_and_grad(functools.partial(blursim, mask=mask, **options))(a, b))
    assert not np.any(found[1][~mask])


@pytest.mark.system
@parallel
@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_other_dtypes(function: Callable, dtype: str) -> None:
    a, b = (200 * noise(4, 48, 20)).astype(dtype)
    close(over(function, data_range=255.0)(a, b), blursim(a, b, data_range=255.0))


@pytest.mark.system
@parallel
def test_identical_images_have_no_gradient(function: Callable) -> None:
    a, _ = noise(4, 48, 20)
    value, gradient = jax.value_and_grad(over(function))(a, a)
    assert value == 0 and not np.any(gradient)


@pytest.mark.slow
@parallel
def test_transforms(function: Callable, x64: None) -> None:
    a, b = noise(4, 32, 12, dtype="float64")
    (direction, _), f = noise(4, 32, 12, dtype="float64"), over(function)
    # Nearest to the borders between devices rows are as any other.
    close(
        jax.jit(jax.jvp, static_argnums=0)(lambda a: f(a, b), (a,), (direction,)),
        jax.jvp(lambda a: blursim(a, b), (a,), (direction,)),
        FLOAT64.same,
    )
    second, wanted = (jax.jit(jax.grad(lambda a, g=g: jnp.sum(direction * jax.grad(g)(a, b))))(a) for g in (f, blursim))
    close(second, wanted, 1e-9)
    many = np.stack([a, b, direction])
    close(jax.jit(jax.vmap(f, (0, None)))(many, b), jax.vmap(blursim, (0, None))(many, b), FLOAT64.same)
    close(jax.jit(jax.grad(jax.checkpoint(f)))(a, b), jax.grad(blursim)(a, b), FLOAT64.same)


@pytest.mark.system
@parallel
def test_no_change_of_alpha_compiles_anew(function: Callable) -> None:
    a, b = noise(4, 32, 12)
    step = jax.jit(jax.value_and_grad(lambda a, alpha: over(function)(a, b, alpha=alpha)))
    step(a, 0.5)
    over(function)(a, b, alpha=0.5)
    seen = count_compilations()
    for alpha in (0.1, 0.4, 0.8):
        step(a, alpha)
        over(function)(a, b, alpha=alpha)
    assert not seen


@pytest.mark.system
@parallel
@pytest.mark.parametrize(
    "kinds",
    [
        (AxisType.Explicit, AxisType.Auto),
        *(
            pytest.param(kinds, marks=pytest.mark.slow)
            for kinds in itertools.product((AxisType.Auto, AxisType.Explicit), repeat=2)
            if kinds != (AxisType.Explicit, AxisType.Auto)
        ),
    ],
    ids=str,
)
def test_arrays_that_lie_otherwise_are_moved(function: Callable, kinds: tuple[AxisType, ...]) -> None:
    mesh = jax.make_mesh((2, 2), ("others", "devices"), axis_types=kinds)
    a, b = noise(4, 32, 12)
    expected = jax.value_and_grad(blursim)(a, b)
    step = jax.jit(jax.value_and_grad(over(function, mesh)))
    specs = ("devices",), (None, "others", "devices")
    places = [lambda x, s=s: jax.device_put(x, NamedSharding(mesh, PartitionSpec(*s))) for s in specs]
    for place in (np.asarray, *places):
        close(step(place(a), place(b)), expected)


def compiled(function: Callable, spec: PartitionSpec, *shape: int, mesh: Mesh = MESH, **options: Any) -> Any:
    images = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
    return jax.jit(jax.value_and_grad(functools.partial(function, **options))).lower(images, images).compile()


def operations(program: Any) -> set[str]:
    return set(re.findall(r" ([a-z][a-z-]*)\(", program.as_text()))


def test_a_batch_is_not_gathered() -> None:
    """The compiled program moves sums alone, and each device transforms its own images."""
    spec = PartitionSpec("devices")
    program = compiled(over(blursim_data_parallel), spec, 8, 3, 64, 48)
    assert operations(program) & {"all-gather", "all-to-all", "collective-permute", "all-reduce"} == {"all-reduce"}
    transformed = {int(n) for n in re.findall(r"(?:f32|c64)\[(\d+),3,1,64,\d+\]\S* fft\(", program.as_text())}
    assert transformed == {2}
    # Left to itself, the compiler gathers: this test can fail.
    assert "all-gather" in operations(compiled(blursim, spec, 8, 3, 64, 48))


def whole_planes(program: Any) -> list[str]:
    """The arrays of 512 x 384 that each device has, channels and images before them or not."""
    return re.findall(r"\b\w+\[(?:\d+,)*512,384\]", program.as_text())


@pytest.mark.system
def test_rows_are_not_gathered() -> None:
    rows = PartitionSpec("devices")
    program = compiled(over(blursim_spatial_parallel), rows, 512, 384)
    found = operations(program)
    assert "all-gather" not in found and {"all-to-all", "collective-permute"} <= found
    assert not whole_planes(program)
    images = jax.ShapeDtypeStruct((512, 384), jnp.float32, sharding=NamedSharding(MESH, rows))
    value = jax.jit(over(blursim_spatial_parallel)).lower(images, images).compile()
    assert "all-to-all" in operations(value) and not whole_planes(value)
    # Left to itself, the compiler gathers: this test can fail.
    assert whole_planes(compiled(blursim, rows, 512, 384))


@pytest.mark.system
@pytest.mark.parametrize(
    "options",
    [{}, *(pytest.param(o, marks=pytest.mark.slow) for o in ({"spectrum": "complex"}, {"normalization": "relative"}))],
    ids=str,
)
def test_rows_take_a_share_of_the_memory(options: Any) -> None:
    spec = PartitionSpec("devices")
    alone = compiled(blursim, PartitionSpec(), 8192, 8192, mesh=Mesh(jax.devices()[:1], ("devices",)), **options)
    shared = compiled(over(blursim_spatial_parallel), spec, 8192, 8192, **options)
    ratio = shared.memory_analysis().temp_size_in_bytes / alone.memory_analysis().temp_size_in_bytes
    assert 0.2 < ratio <= 0.35


# On each device in strips, of which the last is not full.
@pytest.mark.system
@pytest.mark.parametrize("shape", [(2200, 1024), pytest.param((8192, 8192), marks=pytest.mark.slow)], ids=str)
def test_large_images(shape: tuple[int, int]) -> None:
    a, b = noise(*shape)
    place = functools.partial(jax.device_put, device=NamedSharding(MESH, PartitionSpec("devices")))
    step = jax.value_and_grad(over(blursim_spatial_parallel))
    assert "scan[" in str(jax.make_jaxpr(step)(a, b))
    found = step(place(a), place(b))
    assert found[1].sharding.is_equivalent_to(place(a).sharding, 2)
    close(found, jax.value_and_grad(blursim)(a, b), 2e-6)


@pytest.mark.system
def test_strips_of_a_device(monkeypatch: pytest.MonkeyPatch, x64: None) -> None:
    a, b = noise(4 * 64, 24, dtype="float64")
    wanted = jax.value_and_grad(blursim)(a, b)
    monkeypatch.setattr("blursim_jax._tiles.STRIP_PIXELS", 8)
    # Not the program that another test compiled for this shape.
    jax.clear_caches()
    in_strips = "scan[" in str(jax.make_jaxpr(over(blursim_spatial_parallel))(a, b))
    close(jax.value_and_grad(over(blursim_spatial_parallel))(a, b), wanted, FLOAT64.same)
    assert in_strips
    jax.clear_caches()


@pytest.mark.system
def test_training_over_devices() -> None:
    """As on one device, step by step."""
    image, target = noise(8, 16, 16)
    alpha, optimizer = optax.linear_schedule(0.9, 0.1, 5), optax.adam(0.02)

    def train(function: Callable, place: Callable) -> jax.Array:
        @jax.jit
        def step(image: jax.Array, state: Any, target: jax.Array, alpha: jax.Array) -> tuple[Any, Any]:
            gradient = jax.grad(function)(image, target, alpha=alpha)
            updates, state = optimizer.update(gradient, state)
            return optax.apply_updates(image, updates), state

        x, y = place(image), place(target)
        state = optimizer.init(x)
        for i in range(5):
            x, state = step(x, state, y, alpha(i))
        return x

    # Optax has promotions of its own.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        place = functools.partial(jax.device_put, device=NamedSharding(MESH, PartitionSpec("devices")))
        close(train(over(blursim_data_parallel), place), train(blursim, jnp.asarray), 1e-5)


IMAGES = "predictions: expected a number of images that mesh axis 'devices' of size 4 divides, got batch shape "
ROWS = "predictions: expected a height that mesh axis 'devices' of size 4 divides, with at least "
WRONG = [
    (blursim_data_parallel, (6, 8, 8), {}, IMAGES + "(6,)"),
    (blursim_data_parallel, (8, 8), {}, IMAGES + "()"),
    (blursim_data_parallel, (8, 8, 3), {"channel_axis": -1}, IMAGES + "()"),
    (blursim_spatial_parallel, (2, 42, 8), {}, ROWS + "8 rows each for sobel_kernel_size=5, got height 42 from shape"),
    (blursim_spatial_parallel, (28, 8), {}, ROWS + "8 rows each for sobel_kernel_size=5, got height 28 from shape"),
    (blursim_spatial_parallel, (42, 8, 3), {"channel_axis": -1, "sobel_kernel_size": 3}, ROWS + "4 rows each"),
    (blursim_spatial_parallel, (32, 4), {}, "predictions: expected height and width of at least sobel_kernel_size=5"),
]


@pytest.mark.parametrize(("function", "shape", "options", "says"), WRONG)
def test_what_does_not_divide_is_refused(function: Callable, shape: tuple[int, ...], options: Any, says: str) -> None:
    images = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=f"^{re.escape(says)}"):
        over(function, **options)(images, images)


@parallel
def test_wrong_meshes_and_options(function: Callable) -> None:
    images = np.zeros((4, 32, 8), np.float32)
    with pytest.raises(ValueError, match=r"^axis_name: expected an axis of the mesh, \('devices',\), got 'rows'$"):
        function(images, images, mesh=MESH, axis_name="rows")
    with pytest.raises(TypeError, match=r"^mesh: expected a jax.sharding.Mesh, got int$"):
        function(images, images, mesh=4, axis_name="devices")
    with pytest.raises(
        ValueError, match=r"^spectrum: expected 'magnitude', 'complex', 'complex_l1' or 'log', got 'power'$"
    ):
        over(function, spectrum="power")(images, images)
    with pytest.raises(ValueError, match=r"^alpha: expected a number in \[0, 1\], got 2$"):
        over(function, alpha=2)(images, images)
    with pytest.raises(ValueError, match=r"^targets: expected the shape of predictions"):
        over(function)(images, images[:2])


@parallel
def test_no_images(function: Callable) -> None:
    images = np.zeros((0, 32, 8), np.float32)
    assert over(function, reduction="none")(images, images).shape == (0,)
    assert over(function, reduction="sum")(images, images) == 0
