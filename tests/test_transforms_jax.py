"""Every public function under every transform of JAX, with and without `jit`, and what is compiled how often."""

# ruff: noqa: E402
from frameworks import count_compilations, require

require("jax", "optax")

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cases import (
    ALL,
    CASES,
    FLOAT32,
    FLOAT64,
    LOG,
    SECOND_DIFFERENCES,
    SPECTRA,
    Case,
    assert_close,
    costly,
    noise,
    relative_error,
)
from jax import lax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.test_util import check_grads
from processes import in_new_process

from blursim_jax import BlurSim, BlurSimTerms, _tiles, blursim, blursim_maps, blursim_terms
from blursim_jax._edges import smooth_by_convolution, smooth_by_slices, sobel
from blursim_jax._taps import SMOOTHING

A, B = noise(4, 10, 12)
# What JAX's own check of first and second derivatives is to allow.
CENTRAL_DIFFERENCES = {"atol": 1e-6, "rtol": 1e-5, "eps": 1e-6}


def close(actual: Any, expected: Any, tolerance: float = FLOAT32.gradient) -> None:
    assert_close(jax.tree.leaves(actual), jax.tree.leaves(expected), tolerance)


# As users have them, compiled, and without: step by step JAX compiles one program after another, which takes longer.
EAGER = pytest.param(lambda function: function, id="eager", marks=pytest.mark.slow)
maybe_jit = pytest.mark.parametrize("maybe_jit", [pytest.param(jax.jit, id="jit"), EAGER])
by_spectrum = pytest.mark.parametrize(
    ("spectrum", "maybe_jit"),
    [
        pytest.param("magnitude", jax.jit, id="magnitude-jit"),
        *(pytest.param(spectrum, jax.jit, id=f"{spectrum}-jit", marks=pytest.mark.slow) for spectrum in SPECTRA[1:]),
        *(pytest.param(x, *EAGER.values, id=f"{x}-eager", marks=pytest.mark.slow) for x in SPECTRA),
    ],
)


@pytest.mark.parametrize(
    ("spectrum", "maybe_jit"),
    [
        # Each with one of the two; the rest is among the slow tests.
        pytest.param(spectrum, jit, id=f"{spectrum}-{name}", marks=() if i == j else pytest.mark.slow)
        for i, spectrum in enumerate(("magnitude", "log", "complex"))
        for j, (name, jit) in enumerate({"jit": jax.jit, "eager": EAGER.values[0]}.items())
    ],
)
def test_jit_grad_and_value_and_grad(maybe_jit: Callable, spectrum: Any) -> None:
    loss = functools.partial(blursim, spectrum=spectrum)
    value, gradient = maybe_jit(jax.value_and_grad(loss))(A, B)
    close(value, loss(A, B))
    single = jax.jit(jax.grad(loss))
    singles = [single(a, b) / 4 for a, b in zip(A, B, strict=True)]
    close(gradient, np.stack(singles))


@by_spectrum
def test_vmap(maybe_jit: Callable, spectrum: Any) -> None:
    loss = functools.partial(blursim, spectrum=spectrum, normalization="relative")
    close(maybe_jit(jax.vmap(loss))(A, B), loss(A, B, reduction="none"))
    # One target for all, an alpha each, gradients.
    close(maybe_jit(jax.vmap(loss, (0, None)))(A, B[0]), loss(A, np.broadcast_to(B[0], A.shape), reduction="none"))
    alphas = np.linspace(0, 1, 4, dtype=np.float32)
    weighted = jax.vmap(lambda a, b, alpha: loss(a, b, alpha=alpha))
    close(maybe_jit(weighted)(A, B, alphas), loss(A, B, alpha=alphas, reduction="none"))
    close(maybe_jit(jax.vmap(jax.grad(loss)))(A, B), 4 * jax.jit(jax.grad(loss))(A, B))


@pytest.mark.system
@by_spectrum
def test_vmap_along_other_axes(maybe_jit: Callable, spectrum: Any) -> None:
    """The last, and a batch inside a batch."""
    loss = functools.partial(blursim, spectrum=spectrum, normalization="relative")
    expected = loss(A, B, reduction="none")
    close(
        maybe_jit(jax.vmap(functools.partial(blursim_terms, spectrum=spectrum)))(A, B),
        blursim_terms(A, B, spectrum=spectrum, reduction="none"),
    )
    close(maybe_jit(jax.vmap(loss, -1))(np.moveaxis(A, 0, -1), np.moveaxis(B, 0, -1)), expected)
    pairs = (A.reshape(2, 2, 10, 12), B.reshape(2, 2, 10, 12))
    close(maybe_jit(jax.vmap(jax.vmap(loss)))(*pairs).reshape(-1), expected)


@pytest.mark.parametrize("channel_axis", [None, -3])
@pytest.mark.parametrize("derive", [lambda loss: loss, jax.value_and_grad], ids=["value", "gradient"])
def test_vmap_computes_the_blocks_of_the_batch(derive: Callable, channel_axis: Any) -> None:
    """The blocks are cut from the whole batch: the program has the transforms of the batch, of the same shapes."""
    images = jax.ShapeDtypeStruct((8, 3, 256, 256), jnp.float32)
    loss = functools.partial(blursim, channel_axis=channel_axis)

    def transforms(function: Callable) -> list[str]:
        text = jax.jit(function).trace(images, images).lower(lowering_platforms=("cpu",)).as_text()
        return sorted(re.findall(r"stablehlo.fft.* -> (\S+)", text))

    expected = transforms(derive(loss))
    assert expected and transforms(jax.vmap(derive(loss))) == expected
    assert transforms(jax.vmap(jax.vmap(derive(blursim)))) == expected


# By predictions alone, by alpha alone and by all three at every run of CI, the others with the slow tests.
@pytest.mark.system
@pytest.mark.parametrize(
    "axes",
    [
        pytest.param(axes, marks=() if axes in {(0, None, None), (None, None, 0), (0, 0, 0)} else pytest.mark.slow)
        for axes in itertools.product((0, None), repeat=3)
        if 0 in axes
    ],
    ids=str,
)
@pytest.mark.parametrize("case", costly(CASES[:1], CASES), ids=str)
def test_vmap_over_a_batch_that_is_cut_into_blocks(case: Case, axes: tuple[int | None, ...]) -> None:
    """It is the loop over images, whichever of the arguments are mapped over."""
    a, b = noise(6, 2, 256, 256, seed=1)
    alphas = np.linspace(0, 1, 6, dtype=np.float32)
    assert 2 * 256 * 256 <= _tiles.BLOCK_PIXELS < 6 * 2 * 256 * 256
    loss = lambda a, b, alpha: blursim(a, b, alpha=alpha, channel_axis=-3, **case.options())  # noqa: E731
    both = jax.value_and_grad(loss, (0, 1, 2))
    arguments = [x if axis == 0 else x[1] for x, axis in zip((a, b, alphas), axes, strict=True)]
    found = jax.jit(jax.vmap(both, axes))(*arguments)
    every = [x if axis == 0 else [x] * 6 for x, axis in zip(arguments, axes, strict=True)]
    singles = [jax.jit(both)(*one) for one in zip(*every, strict=True)]
    close(found, jax.tree.map(lambda *x: np.stack(x), *singles))


@pytest.mark.system
def test_vmap_over_devices() -> None:
    """Inside `shard_map`, with `spmd_axis_name`, and over an axis that is sharded explicitly."""
    a, b = noise(8, 2, 256, 256, seed=1)
    gradient = jax.grad(functools.partial(blursim, channel_axis=-3))
    mesh, spec = Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec("batch")
    expected = jax.jit(jax.vmap(gradient))(a, b)
    parts = jax.jit(jax.shard_map(jax.vmap(gradient), mesh=mesh, in_specs=(spec, spec), out_specs=spec))(a, b)
    close(parts, expected)
    arrays = jax.device_put((a, b), NamedSharding(mesh, spec))
    close(jax.jit(jax.vmap(gradient, spmd_axis_name="batch"))(*arrays), expected)
    explicit = jax.make_mesh((len(jax.devices()),), ("batch",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(explicit):
        spread = NamedSharding(explicit, spec)
        found = jax.jit(jax.vmap(gradient))(*jax.device_put((a, b), spread))
        assert found.sharding.is_equivalent_to(spread, a.ndim)
        close(found, expected)
        one = jax.jit(jax.vmap(gradient, (0, None)))(jax.device_put(a, spread), b[1])
        close(one, jax.jit(jax.vmap(gradient, (0, None)))(a, b[1]))


@by_spectrum
def test_jvp_and_linearize(x64: None, maybe_jit: Callable, spectrum: Any) -> None:
    a, b = noise(6, 5, dtype="float64")
    direction, _ = noise(6, 5, seed=1, dtype="float64")
    loss = functools.partial(blursim, spectrum=spectrum)
    value, slope = maybe_jit(lambda a, t: jax.jvp(lambda a: loss(a, b), (a,), (t,)))(a, direction)
    close(value, loss(a, b))
    close(slope, np.vdot(jax.jit(jax.grad(loss))(a, b), direction))
    close(maybe_jit(lambda a, t: jax.linearize(lambda a: loss(a, b), a)[1](t))(a, direction), slope)


@pytest.mark.parametrize(
    "spectrum", ["magnitude", *(pytest.param(x, marks=pytest.mark.slow) for x in ("complex", "log"))]
)
def test_hessian(x64: None, spectrum: Any) -> None:
    a, b = noise(6, 5, dtype="float64")
    direction, _ = noise(6, 5, seed=1, dtype="float64")
    loss = functools.partial(blursim, spectrum=spectrum)
    hessian, gradient = np.asarray(jax.jit(jax.hessian(loss))(a, b)), jax.jit(jax.grad(loss))
    step = 1e-6 * direction
    change = (gradient(a + step, b) - gradient(a - step, b)) / 2e-6
    close(np.tensordot(hessian, direction, 2), change, SECOND_DIFFERENCES)
    close(hessian, np.transpose(hessian, (2, 3, 0, 1)), FLOAT64.value)


@pytest.mark.slow
@maybe_jit
def test_checkpoint_scan_and_while(maybe_jit: Callable) -> None:
    gradient = jax.grad(blursim)(A, B)
    close(maybe_jit(jax.grad(jax.checkpoint(blursim)))(A, B), gradient)

    def summed(a: jax.Array, b: jax.Array) -> jax.Array:
        return lax.scan(lambda total, pair: (total + blursim(*pair), None), jnp.zeros(()), (a, b))[0]

    close(maybe_jit(summed)(A, B), blursim(A, B, reduction="sum"))
    close(maybe_jit(jax.grad(summed))(A, B), 4 * gradient)

    def descend(a: jax.Array) -> jax.Array:
        return lax.fori_loop(0, 3, lambda _, x: x - 0.1 * jax.grad(blursim)(x, jnp.asarray(B)), a)

    assert blursim(maybe_jit(descend)(jnp.asarray(A)), B) < blursim(A, B)


@pytest.mark.system
@pytest.mark.parametrize("check_vma", [True, pytest.param(False, marks=pytest.mark.slow)])
@maybe_jit
def test_shard_map(maybe_jit: Callable, check_vma: bool) -> None:
    mesh = Mesh(np.array(jax.devices()), ("batch",))
    spec = PartitionSpec("batch")

    @functools.partial(
        jax.shard_map, mesh=mesh, in_specs=(spec, spec), out_specs=(PartitionSpec(), spec), check_vma=check_vma
    )
    def step(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        value, gradient = jax.value_and_grad(blursim)(a, b)
        return lax.pmean(value, "batch"), gradient / 4

    # Several planes a device, more than a block of the CPU path.
    a, b = noise(8, 400, 420, seed=1)
    value, gradient = maybe_jit(step)(a, b)
    expected = jax.value_and_grad(blursim)(a, b)
    close(value, expected[0])
    close(gradient, expected[1])


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(3, 400, 420), (2, 800, 700)], ids=str)
def test_shard_map_of_one_argument(shape: tuple[int, ...]) -> None:
    """Where devices share the other arguments, in blocks and in strips."""
    mesh, (a, b) = Mesh(np.array(jax.devices()), ("batch",)), noise(*shape, seed=1)
    many, shared = PartitionSpec("batch"), PartitionSpec()
    alphas = np.linspace(0.1, 0.9, 4)
    by_alpha = jax.grad(lambda a, b, alpha: blursim(a, b, alpha=alpha[0]), 2)
    found = jax.jit(jax.shard_map(by_alpha, mesh=mesh, in_specs=(shared, shared, many), out_specs=many))(a, b, alphas)
    close(found, np.concatenate([by_alpha(a, b, alphas[i : i + 1]) for i in range(4)]))

    by_targets = jax.grad(functools.partial(blursim, normalization="relative"), 1)
    predictions = np.concatenate([a * x for x in alphas])
    # The derivative by what is shared is summed over the devices.
    total = jax.jit(jax.shard_map(by_targets, mesh=mesh, in_specs=(many, shared), out_specs=shared))(predictions, b)
    expected = sum(by_targets(a * x, b) for x in alphas.astype("float32"))
    assert relative_error(total, expected) <= FLOAT32.gradient


@pytest.mark.system
@pytest.mark.parametrize(
    ("shape", "channel_axis"),
    [
        ((8, 256, 256), None),
        pytest.param((8, 3, 64, 64), -3, marks=pytest.mark.slow),
        pytest.param((4, 3, 300, 300), None, marks=pytest.mark.slow),
    ],
    ids=str,
)
@maybe_jit
def test_arrays_spread_over_devices_stay_there(maybe_jit: Callable, shape: tuple[int, ...], channel_axis: Any) -> None:
    """A mesh of explicit axes, as `jax.make_mesh` gives: types carry the sharding, and nothing may cut across it."""
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(AxisType.Explicit,))
    spread = NamedSharding(mesh, PartitionSpec("batch"))
    a, b = noise(*shape, seed=1)
    loss = functools.partial(blursim, channel_axis=channel_axis)
    value, expected = jax.jit(jax.value_and_grad(loss))(a, b)
    with jax.set_mesh(mesh):
        found, gradient = maybe_jit(jax.value_and_grad(loss))(*jax.device_put((a, b), spread))
    assert gradient.sharding.is_equivalent_to(spread, len(shape))
    close(found, value)
    close(gradient, expected)
    maps = functools.partial(blursim_maps, channel_axis=channel_axis)
    close(maybe_jit(maps)(*jax.device_put((a, b), spread)).edges, maps(a, b).edges)
    mask = a[:, 0] < 0.5 if channel_axis else a < 0.5
    with jax.set_mesh(mesh):
        for which in (mask, jax.device_put(mask, spread)):
            masked = maybe_jit(functools.partial(loss, mask=which))
            close(masked(*jax.device_put((a, b), spread)), loss(a, b, mask=mask))


@maybe_jit
def test_terms_and_object(maybe_jit: Callable) -> None:
    terms = blursim_terms(A, B)
    close(maybe_jit(blursim_terms)(A, B), terms)
    by_terms = maybe_jit(jax.jacrev(blursim_terms))(A, B)
    close(0.1 * by_terms.general + 0.9 * by_terms.specific, jax.jit(jax.grad(blursim))(A, B))
    loss = BlurSim(alpha=0.3)
    close(maybe_jit(lambda loss, a, b: loss(a, b))(loss, A, B), blursim(A, B, alpha=0.3))
    close(maybe_jit(jax.grad(lambda loss: loss(A, B)))(loss).alpha, terms.specific - terms.general)


@maybe_jit
@pytest.mark.system
def test_masks_under_transforms(maybe_jit: Callable) -> None:
    mask = np.random.default_rng(1).random(A.shape) < 0.7
    spoiled, options = np.where(mask, A, np.float32(np.nan)), CASES[6].options()
    loss = lambda a, b, mask: blursim(a, b, mask=mask, **options)  # noqa: E731
    gradient = maybe_jit(jax.grad(loss))(spoiled, B, mask)
    assert not np.any(gradient[~mask]) and np.all(gradient[mask])
    close(maybe_jit(jax.vmap(loss))(spoiled, B, mask), blursim(spoiled, B, mask=mask, reduction="none", **options))
    close(maybe_jit(jax.vmap(jax.grad(loss)))(spoiled, B, mask), 4 * gradient)
    first = maybe_jit(jax.vmap(loss, (0, 0, None)))(A, B, mask[0])[0]
    close(first, loss(A[0], B[0], mask[0]))


@by_spectrum
def test_maps(maybe_jit: Callable, spectrum: Any) -> None:
    maps = functools.partial(blursim_maps, spectrum=spectrum)
    expected = maps(A, B)
    close(maybe_jit(maps)(A, B).spectrum, expected.spectrum)
    close(maybe_jit(jax.vmap(maps))(A, B).edges, expected.edges)
    slope = maybe_jit(jax.grad(lambda a: sum(jnp.sum(m) for m in maps(a, B))))(A)
    assert np.isfinite(slope).all() and np.any(slope)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_alpha_never_recompiles(count: int) -> None:
    a, b = jnp.asarray(np.random.default_rng(0).random((2, 1, 11, 13), np.float32))
    schedule, steps = optax.linear_schedule(0.9, 0.1, count), range(count)
    # Made before counting: slicing and the schedule compile programs of their own.
    alphas, scheduled = list(jnp.linspace(0.9, 0.1, count)), [schedule(i) for i in steps]
    for function in (blursim, jax.jit(blursim)):
        function(a, b, alpha=0.9)
        kinds: dict[str, tuple[Iterable[Any], int]] = {
            "Python float": ((0.9 - 0.8 * i / count for i in steps), 0),
            # To `jax.jit` another type than a Python float's, as those below are to both.
            "NumPy scalar": ((np.float64(0.9 - 0.8 * i / count) for i in steps), 0 if function is blursim else 1),
            "JAX scalar": (alphas, 1),
            "schedule": (scheduled, 1),
        }
        for kind, (values, programs) in kinds.items():
            seen = count_compilations()
            found = {float(function(a, b, alpha=alpha)) for alpha in values}
            assert len(seen) <= programs, kind
            assert len(found) > 0.95 * count
    seen = count_compilations()
    blursim(a[:, 1:], b[:, 1:])
    assert len(seen) >= 1, "the counter counts"


def test_the_object_with_another_alpha_does_not_recompile() -> None:
    evaluate = jax.jit(lambda loss, a, b: loss(a, b))
    evaluate(BlurSim(alpha=0.9), A, B)
    seen = count_compilations()
    schedule = optax.linear_schedule(0.9, 0.1, 10)
    kinds = [*map(float, np.linspace(0, 1, 11)), 0, 1, np.float32(0.5), schedule(3), schedule(jnp.asarray(4))]
    # A JAX scalar that is weakly typed is made one of float32 first, by a program of its own.
    evaluate(BlurSim(kinds[-1]), A, B)
    seen.clear()
    for alpha in kinds:
        evaluate(dataclasses.replace(BlurSim(), alpha=alpha), A, B)
    assert not seen


@pytest.mark.filterwarnings("ignore:jax.* is deprecated:DeprecationWarning")
@pytest.mark.parametrize("library", ["flax", pytest.param("equinox", marks=pytest.mark.system)])
def test_alpha_inside_a_module_never_recompiles(library: str) -> None:
    """By another object, as a schedule sets it."""
    require("jax", library)
    module: Any
    if library == "flax":
        from flax import nnx

        class Trainer(nnx.Module):
            def __init__(self, alpha: float) -> None:
                self.loss = nnx.data(BlurSim(alpha))

        module, jit = Trainer, nnx.jit
    else:
        import equinox

        class Losses(equinox.Module):
            loss: BlurSim

        module, jit = (lambda alpha: Losses(BlurSim(alpha))), equinox.filter_jit
    evaluate = jit(lambda module, a, b: module.loss(a, b))
    evaluate(module(0.9), A, B)
    expected = [blursim(A, B, alpha=alpha) for alpha in np.linspace(0, 1, 12).tolist()]
    modules = [module(alpha) for alpha in np.linspace(0, 1, 12).tolist()]
    seen = count_compilations()
    found = [evaluate(each, A, B) for each in modules]
    assert not seen
    close(found, expected)


def test_the_object_takes_any_leaf_from_jax() -> None:
    """Gradients, axes and place holders are no weights in [0, 1]."""
    loss = BlurSim(0.9, spectrum="log")
    for leaf in (-1, 7.5, None, "leaf", object()):
        rebuilt = jax.tree.unflatten(jax.tree.structure(loss), [leaf])
        assert rebuilt.alpha is leaf and rebuilt.spectrum == "log"
    assert jax.tree.map(lambda alpha: -2 * alpha, loss).alpha == np.float32(-1.8)
    assert jax.tree_util.tree_leaves_with_path(loss) == [((jax.tree_util.GetAttrKey("alpha"),), np.float32(0.9))]
    values = jax.vmap(lambda loss: loss(A, B), in_axes=(jax.tree.map(lambda _: 0, loss),))(
        BlurSim(np.linspace(0, 1, 3, dtype=np.float32), spectrum="log")
    )
    close(values, np.array([blursim(A, B, alpha=alpha, spectrum="log") for alpha in (0.0, 0.5, 1.0)]))


# Of flax 0.12.0 under jax 0.8.
@pytest.mark.filterwarnings("ignore:jax.* is deprecated:DeprecationWarning")
@pytest.mark.system
def test_a_flax_model_learns() -> None:
    require("jax", "flax", "optax")
    import optax
    from flax import nnx

    model = nnx.Conv(1, 1, (3, 3), rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    images, targets = np.random.default_rng(0).random((2, 2, 16, 16, 1), np.float32)

    @nnx.jit
    def step(model: nnx.Conv, optimizer: nnx.Optimizer, alpha: jax.Array) -> jax.Array:
        loss = lambda model: blursim(model(images), targets, alpha=alpha, channel_axis=-1)  # noqa: E731
        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    schedule = optax.linear_schedule(0.9, 0.1, 30)
    # Optax mixes dtypes.
    with jax.numpy_dtype_promotion("standard"):
        first, *_, last = (float(step(model, optimizer, jnp.asarray(schedule(i)))) for i in range(30))
    assert 0 < last < 0.8 * first


@pytest.mark.system
def test_lowering_for_batches_of_any_size() -> None:
    (count,) = jax.export.symbolic_shape("count")
    images = jax.ShapeDtypeStruct((count, 16, 16), jnp.float32)
    exported = jax.export.export(jax.jit(jax.value_and_grad(blursim)))(images, images)
    assert [str(aval.shape) for aval in exported.out_avals] == ["()", "(count, 16, 16)"]
    a, b = np.random.default_rng(0).random((2, 7, 16, 16), np.float32)
    close(exported.call(a, b)[1], jax.grad(blursim)(a, b))


def test_a_prime_number_of_planes_is_cut_into_full_blocks() -> None:
    images = jax.ShapeDtypeStruct((1021, 32, 32), jnp.float32)
    text = jax.jit(blursim).lower(images, images).as_text()
    # 256 planes of 32 x 32 a block, in two parts: three blocks, and 253 planes more.
    assert "tensor<128x32x32xf32>" in text and "tensor<253x32x32xf32>" in text


def test_nothing_global_is_touched() -> None:
    before = dict(jax.config.values)
    jax.value_and_grad(blursim)(A, B)
    assert dict(jax.config.values) == before


@pytest.mark.parametrize("size", [7, *(pytest.param(size, marks=pytest.mark.slow) for size in (3, 5))])
@pytest.mark.parametrize("axis", [-1, pytest.param(-2, marks=pytest.mark.slow)])
@pytest.mark.system
def test_convolution_equals_slices(x64: None, size: int, axis: int) -> None:
    for dtype, tolerance in (("float32", 3e-7), ("float64", 1e-15)):
        padded = jnp.asarray(np.random.default_rng(0).random((2, 3, 14, 17)), dtype)
        by_slices = smooth_by_slices(padded, axis, SMOOTHING[size])
        by_convolution = smooth_by_convolution(padded, axis, SMOOTHING[size])
        assert by_convolution.dtype == by_slices.dtype
        np.testing.assert_allclose(by_convolution, by_slices, rtol=tolerance)


@pytest.mark.system
def test_the_convolution_path_gives_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = jax.value_and_grad(blursim)(A, B, alpha=1.0)
    monkeypatch.setattr("blursim_jax._edges.smooth_by_slices", smooth_by_convolution)
    jax.clear_caches()
    actual = jax.value_and_grad(blursim)(A, B, alpha=1.0)
    jax.clear_caches()
    close(actual, expected)


def test_only_a_tpu_convolves() -> None:
    def lowered(platform: str) -> str:
        return jax.jit(lambda x: sobel(x, 5)).trace(A).lower(lowering_platforms=(platform,)).as_text()

    assert "stablehlo.convolution" in lowered("tpu") and "HIGHEST" in lowered("tpu")
    assert "stablehlo.convolution" not in lowered("cpu")
    assert "stablehlo.convolution" not in lowered("cuda")


def test_only_a_cpu_works_in_blocks() -> None:
    a = jax.ShapeDtypeStruct((8, 256, 256), jnp.float32)
    for platform, loops in (("cpu", True), ("cuda", False), ("tpu", False)):
        text = jax.jit(jax.value_and_grad(blursim)).trace(a, a).lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.while" in text) == loops


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=str)
def test_first_and_second_order_forward_and_reverse(x64: None, case: Case) -> None:
    a, b = noise(2, 9, 8, dtype="float64")

    def loss(a: jax.Array, b: jax.Array, alpha: jax.Array) -> jax.Array:
        return blursim(a, b, alpha=alpha, **case.options())

    # Without jit, because compiled second derivatives take minutes and the next test has one.
    with jax.disable_jit():
        check_grads(loss, (a, b, 0.7), order=2, modes=("fwd", "rev"), **CENTRAL_DIFFERENCES)


@pytest.mark.slow
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_second_order_compiled(x64: None, spectrum: Any) -> None:
    a, b = np.random.default_rng(1).random((2, 2, 9, 8))

    @jax.jit
    def loss(a: jax.Array, b: jax.Array, alpha: jax.Array) -> jax.Array:
        return blursim(a, b, alpha=alpha, spectrum=spectrum, normalization="relative")

    check_grads(loss, (a, b, 0.7), order=2, modes=("fwd", "rev"), **CENTRAL_DIFFERENCES)


@pytest.mark.slow
@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_strips_and_blocks_have_all_derivatives_of_the_whole(
    x64: None, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    a, b, da, db = np.random.default_rng(2).random((4, 3, 56, 9))
    gradient = jax.grad(functools.partial(blursim, **case.options()), (0, 1))

    def derivatives() -> Any:
        jax.clear_caches()
        along = jax.jvp(gradient, (a, b), (da, db))
        return along, jax.vjp(gradient, a, b)[1]((da, db))

    whole = derivatives()
    # Two planes a block, in two parts, and strips as small as margins let them be.
    monkeypatch.setattr(_tiles, "BLOCK_PIXELS", 2 * 56 * 9)
    monkeypatch.setattr(_tiles, "STRIP_PIXELS", 1)
    jax.tree.map(functools.partial(close, tolerance=1e-9), derivatives(), whole)
    # One over blocks, and others in it over strips.
    assert str(jax.make_jaxpr(gradient)(a, b)).count("scan[") > 1
    jax.clear_caches()


@pytest.mark.system
def test_second_order_where_bins_agree(x64: None) -> None:
    """Equal means: one bin of both spectra is exactly the same, and its second derivative is not 0 for that."""
    a, b, direction = np.random.default_rng(0).integers(1, 100, (3, 8, 8)) / 64
    a[0, 0] += b.sum() - a.sum()
    assert a.sum() == b.sum()
    gradient = jax.grad(functools.partial(blursim, spectrum="log", alpha=0.0))
    step = 1e-6
    change = (gradient(a + step * direction, b) - gradient(a - step * direction, b)) / (2 * step)
    product = jax.jvp(lambda a: gradient(a, b), (a,), (direction,))[1]
    close(product, change, SECOND_DIFFERENCES)


@pytest.mark.system
@pytest.mark.parametrize("every", [pytest.param(False, id="few"), pytest.param(True, id="all", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", costly([CASES[0]], CASES))
def test_no_nan_inside(x64: None, case: Case, every: bool) -> None:
    """Identical, flat and black images, with JAX told to stop at the first NaN, in value, gradient and second order.

    Without jit, as of a compiled program JAX sees the results alone.
    """
    photo = noise(9, 8, dtype="float64")[0]
    black, flat = np.zeros_like(photo), np.full_like(photo, 0.3)
    few = (photo, photo), (black, black), (flat, flat), (black, photo), (photo, flat)
    with jax.debug_nans(True), jax.disable_jit():
        for a, b in itertools.product((black, flat, photo), repeat=2) if every else few:
            gradients = jax.grad(blursim, (0, 1))(a, b, alpha=0.5, **case.options())
            assert np.isfinite(gradients).all()
            hessian = jax.jvp(jax.grad(lambda a, b=b: blursim(a, b, **case.options())), (a,), (photo,))[1]
            assert np.isfinite(hessian).all()


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.slow)])
def test_the_gradient_of_short_dtypes_is_that_of_float32(dtype: str) -> None:
    a, b = noise(12, 11)
    rounded, gradient = jnp.asarray(a, dtype), jax.jit(jax.grad(blursim))
    found = gradient(rounded, b)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, gradient(rounded.astype("float32"), b).astype(dtype))


def error_under_log() -> float:
    """Of the gradient of noise beside a constant image, in the process that this runs in."""
    case, (a, _) = CASES[4], noise(64, 60, seed=1)
    b = np.full_like(a, 0.3)
    loss = functools.partial(blursim, alpha=0.0, **case.options())
    return relative_error(jax.jit(jax.grad(loss))(a, b), case.gradients(a, b)[0])


@pytest.mark.system
@pytest.mark.parametrize(
    "level",
    [
        pytest.param(
            0,
            marks=pytest.mark.xfail(
                strict=True, raises=AssertionError, reason="XLA's own fault, named in docs/limits.md"
            ),
        ),
        *(1, 3),
    ],
)
def test_levels_of_optimization(level: int) -> None:
    flags = f"--xla_backend_optimization_level={level}"
    error = in_new_process(error_under_log, XLA_FLAGS=flags, JAX_COMPILATION_CACHE_DIR="")
    assert error <= LOG * FLOAT32.gradient


def test_the_gradient_by_alpha_is_the_difference_of_the_terms() -> None:
    a, b = noise(3, 9, 10)
    general, specific = blursim_terms(a, b)
    slope = jax.grad(lambda alpha: blursim(a, b, alpha=alpha))(0.4)
    close(slope, specific - general, FLOAT32.value)


@pytest.mark.system
def test_both_gradients_at_once_are_each_by_itself() -> None:
    a, b = noise(3, 9, 10)
    both = jax.jit(jax.grad(blursim, (0, 1)))(a, b)
    for i in (0, 1):
        close(both[i], jax.jit(jax.grad(blursim, i))(a, b))


def test_a_foreign_byte_order_is_the_same_image() -> None:
    a, b = noise(12, 11)
    assert blursim(a.astype(">f4"), b) == blursim(a, b)
    assert blursim(a, b, alpha=np.array(0.5, ">f8")) == blursim(a, b, alpha=0.5)


def test_the_object_is_a_frozen_pytree_with_alpha_as_its_leaf() -> None:
    loss = BlurSim(0.3, spectrum="log", channel_axis=-1)
    assert jax.tree.leaves(loss) == [np.float32(0.3)]
    assert hash(loss) == hash(BlurSim(0.3, spectrum="log", channel_axis=-1))
    assert loss == BlurSim(0.3, spectrum="log", channel_axis=-1) != BlurSim(0.3)
    assert dataclasses.replace(loss, alpha=0.5).alpha == 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.alpha = 0.1  # type: ignore[misc]
    assert isinstance(blursim_terms(A, B), BlurSimTerms)
