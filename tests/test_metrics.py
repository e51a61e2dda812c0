"""BlurSimMetric of both packages: the mean over images, whatever the updates, as its ecosystem expects of a metric."""

import importlib
import importlib.util
import re
from typing import Any

import numpy as np
import pytest
from cases import FLOAT32, assert_close, noise
from frameworks import NAMES, Framework, count_compilations, require
from processes import run_code

# What the oldest Flax says of the oldest JAX when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:jax.(array_r|ArrayR)ef is deprecated:DeprecationWarning")
NEEDS = {"jax": "flax", "torch": "torchmetrics"}


class Metrics:
    """The metric of one package, on NumPy arrays."""

    def __init__(self, framework: Framework) -> None:
        """Skip where the library of its metrics is not installed."""
        require(framework.name, NEEDS[framework.name])
        self.framework = framework
        self.package = importlib.import_module(f"blursim_{framework.name}.metrics")

    def make(self, *arguments: Any, **options: Any) -> Any:
        return self.package.BlurSimMetric(*arguments, **options)

    def update(self, metric: Any, *arrays: np.ndarray, **masks: np.ndarray) -> None:
        array = self.framework.array
        metric.update(*map(array, arrays), **{name: array(x) for name, x in masks.items()})


@pytest.fixture(scope="module")
def metrics(framework: Framework) -> Metrics:
    return Metrics(framework)


def close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=FLOAT32.value)


@pytest.mark.parametrize(
    "options",
    [
        {"spectrum": "complex", "channel_axis": -1},
        *(
            pytest.param(options, marks=pytest.mark.slow)
            for options in (
                {},
                {"sobel_kernel_size": 7, "spectrum": "log", "normalization": "relative", "data_range": 2.0},
            )
        ),
    ],
    ids=str,
)
def test_the_mean_over_all_images_of_any_size(metrics: Metrics, options: Any) -> None:
    metric = metrics.make(0.4, **options)
    values, terms = [], []
    for shape in (3, 12, 14, 8), (1, 9, 8, 8), (12, 10, 8):
        a, b = noise(*shape)
        metrics.update(metric, a, b)
        values.append(np.ravel(metrics.framework.value(a, b, alpha=0.4, reduction="none", **options)))
        terms.append(metrics.framework.terms(a, b, reduction="none", **options).reshape(2, -1))
    close(metric.compute(), np.mean(np.concatenate(values)))
    close(metric.compute_terms(), np.mean(np.concatenate(terms, axis=1), axis=1))
    assert metric.compute_terms()._fields == ("general", "specific")
    assert np.shape(metric.compute()) == ()
    metric.reset()
    metrics.update(metric, a, b)
    close(metric.compute(), np.mean(values[-1]))


def test_a_mask_leaves_images_out_whatever_they_hold(metrics: Metrics) -> None:
    a, b = noise(5, 2, 9, 8)
    mask = np.array([[True, False], [True, True], [False, False], [False, True], [True, True]])
    expected = np.mean(metrics.framework.value(a, b, reduction="none")[mask])
    a[~mask] = np.nan
    metric = metrics.make()
    metrics.update(metric, a, b, mask=mask)
    close(metric.compute(), expected)
    metrics.update(metric, a, b, mask=np.zeros((5, 2), bool))
    close(metric.compute(), expected)


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"normalization": "relative", "channel_axis": -3}, marks=pytest.mark.system)],
    ids=str,
)
def test_what_a_mask_leaves_out_has_no_gradient(metrics: Metrics, options: Any) -> None:
    a, b = noise(4, 2, 9, 8)
    a[1], mask = np.nan, np.array([True, False, True, True])
    if options.get("channel_axis") is None:
        mask = np.stack([mask, mask], axis=1)
    array = metrics.framework.array
    if metrics.framework.name == "jax":
        import jax

        def loss(a: Any) -> Any:
            metric = metrics.make(**options)
            metric.update(a, array(b), mask=array(mask))
            return metric.compute()

        found = np.asarray(jax.jit(jax.grad(loss))(array(a)))
    else:
        x = array(a).requires_grad_()
        metrics.make(**options)(x, array(b), mask=array(mask)).backward()
        found = x.grad.numpy()
    assert not np.any(found[1])
    keep = [0, 2, 3]
    expected = metrics.framework.gradient(a[keep], b[keep], **options)
    assert_close(found[keep], expected, FLOAT32.gradient)


@pytest.mark.parametrize("axis", [None, pytest.param(-3, marks=pytest.mark.system)])
def test_a_mask_of_pixels(metrics: Metrics, axis: Any) -> None:
    """As in `blursim`: every image counts, its masked pixels do not."""
    a, b = noise(4, 2, 9, 8)
    mask = np.random.default_rng(1).random((4, 9, 8) if axis else a.shape) < 0.7
    expected = metrics.framework.value(a, b, mask=mask, channel_axis=axis)
    a[~np.broadcast_to(mask[:, None] if axis else mask, a.shape)] = np.nan
    metric = metrics.make(channel_axis=axis)
    metrics.update(metric, a, b, mask=mask)
    close(metric.compute(), expected)
    assert int(np.asarray(metric.count)) == (4 if axis else 8)


def test_presets_are_options(metrics: Metrics) -> None:
    a, b = noise(3, 9, 8)
    for options in metrics.framework.package.PRESETS.values():
        metric = metrics.make(**options)
        metrics.update(metric, a, b)
        close(metric.compute(), metrics.framework.value(a, b, **options))


def repeat(metrics: Metrics, metric: Any, count: int) -> float:
    """The metric after `count` updates of one image, over the value of the image."""
    image = noise(8, 8)
    if metrics.framework.name == "jax":
        import jax
        from flax import nnx

        graph, state = nnx.split(metric)

        def update(_: int, state: Any) -> Any:
            metric = nnx.merge(graph, state)
            metric.update(*image)
            return nnx.state(metric)

        nnx.update(metric, jax.jit(jax.lax.fori_loop, static_argnums=2)(0, count, update, state))
    else:
        import torch

        # The states alone: a million calls take an hour.
        metric.update(*map(torch.from_numpy, image))
        for name in ("general_total", "specific_total"):
            total, one = getattr(metric, name), getattr(metric, name).clone()
            for _ in range(count - 1):
                total += one
        metric.count *= count
    return float(np.asarray(metric.compute())) / float(metrics.framework.value(*image))


@pytest.mark.parametrize("count", [2000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_sums_do_not_drift(metrics: Metrics, count: int) -> None:
    assert abs(repeat(metrics, metrics.make(), count) - 1) <= FLOAT32.value


def test_alpha_may_change_but_not_to_nonsense(metrics: Metrics) -> None:
    metric = metrics.make(0.5)
    a, b = noise(3, 9, 8)
    metrics.update(metric, a, b)
    metric.alpha = 0.2
    close(metric.compute(), metrics.framework.value(a, b, alpha=0.2))
    for alpha, error in (5, ValueError), ("low", TypeError):
        with pytest.raises(error, match=r"^alpha: expected"):
            metric.alpha = alpha
    assert metric.alpha == 0.2


def test_masked_arrays_are_no_masks(metrics: Metrics) -> None:
    metric, (a, b) = metrics.make(), map(metrics.framework.array, noise(2, 8, 8))
    with pytest.raises(TypeError, match=r"^mask: expected .*, got numpy.ma.*MaskedArray$"):
        metric.update(a, b, np.ma.masked_array([True, True]))


@pytest.mark.parametrize(
    ("mask", "error", "says"),
    [
        (np.ones(3, bool), ValueError, r"mask: expected shape \(4,\) or \(4, 8, 8\), got \(3,\)"),
        (np.ones((4, 1), bool), ValueError, r"mask: expected shape \(4,\) or \(4, 8, 8\), got \(4, 1\)"),
        (np.ones(4, np.float32), TypeError, "mask: expected dtype bool, got float32"),
        (np.ones(4, np.uint8), TypeError, "mask: expected dtype bool, got uint8"),
    ],
    ids=str,
)
def test_wrong_masks(metrics: Metrics, mask: np.ndarray, error: type[Exception], says: str) -> None:
    metric = metrics.make()
    with pytest.raises(error, match=f"^{says}$"):
        metrics.update(metric, *noise(4, 8, 8), mask=mask)
    with pytest.raises(TypeError, match=r"^mask: expected .*(array|Tensor), got list$"):
        metric.update(*map(metrics.framework.array, noise(4, 8, 8)), [True] * 4)


def test_wrong_options_and_images(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match=r"^alpha: expected a number in \[0, 1\], got 1.5$"):
        metrics.make(1.5)
    with pytest.raises(TypeError, match=r"^alpha: expected a real number, got str$"):
        metrics.make("high")
    with pytest.raises(
        ValueError, match=r"^spectrum: expected 'magnitude', 'complex', 'complex_l1' or 'log', got 'power'$"
    ):
        metrics.make(spectrum="power")
    metric = metrics.make()
    with pytest.raises(ValueError, match=r"^targets: expected the shape of predictions, \(8, 8\), got \(8, 9\)$"):
        metrics.update(metric, noise(8, 8)[0], noise(8, 9)[0])


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_before_any_image_and_after_none(metrics: Metrics) -> None:
    """NaN, as of any mean of these ecosystems."""
    metric = metrics.make()
    assert np.all(np.isnan(np.asarray([metric.compute(), *metric.compute_terms()])))
    metrics.update(metric, *noise(0, 8, 8))
    assert np.isnan(np.asarray(metric.compute()))


def test_float64_images_add_to_float32(metrics: Metrics) -> None:
    if metrics.framework.name == "jax":
        pytest.skip("float64 needs jax_enable_x64 for the whole process")
    a, b = noise(4, 8, 8)
    metric = metrics.make()
    metrics.update(metric, a.astype(np.float64), b.astype(np.float64))
    metrics.update(metric, a, b)
    close(metric.compute(), metrics.framework.value(a, b))
    assert metric.compute().dtype == metrics.framework.array(a).dtype


# Flax.


def test_flax_sums_to_infinity() -> None:
    metric = jax_metric(spectrum="complex")
    a, b = noise(2, 8, 8)
    metric.update(np.float32(1e20) * a, b)
    metric.update(a, b)
    assert np.isposinf(metric.compute_terms().general)


def jax_metric(**options: Any) -> Any:
    require("jax", "flax")
    from blursim_jax.metrics import BlurSimMetric

    return BlurSimMetric(**options)


def test_flax_compiles_an_update_once() -> None:
    metric = jax_metric()
    from flax import nnx

    update = nnx.jit(lambda metric, a, b, mask: metric.update(a, b, mask))
    (a, b), mask = noise(4, 8, 8), np.array([True, True, True, False])
    update(metric, a, b, mask)
    metric.compute()
    seen = count_compilations()
    for i in range(99):
        update(metric, a, b, np.roll(mask, i))
    assert not seen
    assert int(metric.count[...]) == 300
    # A new shape is a new program: this test can fail.
    a, b = noise(4, 8, 9)
    update(metric, a, b, mask)
    assert seen


def test_flax_multimetric_takes_it_beside_others() -> None:
    metric = jax_metric(alpha=0.2)
    import jax
    from flax import nnx

    from blursim_jax import blursim

    a, b = noise(3, 8, 8)
    both: Any = nnx.MultiMetric(blursim=metric, loss=nnx.metrics.Average("loss"))
    both.update(predictions=a, targets=b, loss=np.float32(2.0).reshape(1))
    # Flax's own mean needs the promotion of types.
    with jax.numpy_dtype_promotion("standard"):
        found = both.compute()
    close(found["blursim"], blursim(a, b, alpha=0.2))
    assert found["loss"] == 2
    both.reset()
    assert int(metric.count[...]) == 0


@pytest.mark.system
def test_flax_states_add_up_over_devices() -> None:
    metric = jax_metric()
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from jax.sharding import Mesh, PartitionSpec

    from blursim_jax import blursim

    spec, mesh = PartitionSpec("batch"), Mesh(np.array(jax.devices()), ("batch",))

    @jax.jit
    @jax.shard_map(mesh=mesh, in_specs=(spec, spec, spec), out_specs=PartitionSpec())
    def states(a: jax.Array, b: jax.Array, mask: jax.Array) -> nnx.State:
        metric = jax_metric()
        metric.update(a, b, mask)
        return jax.lax.psum(nnx.state(metric), "batch")

    (a, b), mask = noise(8, 9, 8), np.arange(8) < 7
    for _ in range(2):
        nnx.update(metric, jax.tree.map(jnp.add, nnx.state(metric), states(a, b, mask)))
    close(metric.compute(), blursim(a[:7], b[:7]))
    assert int(metric.count[...]) == 14


# torchmetrics.


def torch_metric(**options: Any) -> Any:
    require("torch", "torchmetrics")
    from blursim_torch.metrics import BlurSimMetric

    return BlurSimMetric(**options)


def tensors(*shape: int) -> Any:
    import torch

    return [torch.from_numpy(x) for x in noise(*shape)]


def test_torchmetrics_flags() -> None:
    metric = torch_metric()
    assert (metric.is_differentiable, metric.higher_is_better, metric.full_state_update) == (True, False, False)
    assert metric.metric_state.keys() == {"general_total", "specific_total", "count", "options"}


def test_torchmetrics_warns_before_any_update() -> None:
    metric = torch_metric()
    with pytest.warns(UserWarning, match="was called before the ``update`` method"):
        metric.compute()


def test_torchmetrics_forward_gives_the_batch_and_its_gradient() -> None:
    metric = torch_metric()
    import torch

    from blursim_torch import blursim

    means = []
    for shape in (2, 8, 8), (3, 9, 8):
        a, b = tensors(*shape)
        a.requires_grad_()
        value = metric(a, b)
        close(value.detach(), blursim(a, b).detach())
        (found,), (expected,) = (torch.autograd.grad(v, a) for v in (value, blursim(a, b)))
        torch.testing.assert_close(found, expected)
        means.append((len(a), value.item()))
    assert metric.compute().item() == pytest.approx(np.average([v for _, v in means], weights=[n for n, _ in means]))


def test_torchmetrics_need_no_full_state_update() -> None:
    """What `full_state_update = False` claims: `forward` may update a fresh state and add it to what there was."""
    require("torch", "torchmetrics")
    from blursim_torch.metrics import BlurSimMetric

    class Full(BlurSimMetric):
        full_state_update = True

    part, full = BlurSimMetric(), Full()
    for shape in (2, 8, 8), (3, 9, 8), (1, 8, 9):
        images = tensors(*shape)
        close(part(*images), full(*images))
    close(part.compute(), full.compute())


def test_torchmetrics_copies_pickles_and_states() -> None:
    metric = torch_metric(alpha=0.3, spectrum="log")
    import copy
    import io
    import pickle

    import torch

    metric.update(*tensors(3, 8, 8))
    for other in metric.clone(), copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)):
        assert other.compute() == metric.compute()
        other.update(*tensors(2, 8, 9))
        assert other.compute() != metric.compute() and other.count == 5
    assert metric.state_dict() == {}
    metric.persistent(True)
    file = io.BytesIO()
    torch.save(metric.state_dict(), file)
    file.seek(0)
    restored = torch_metric(alpha=0.3, spectrum="log")
    restored.persistent(True)
    restored.load_state_dict(torch.load(file, weights_only=True))
    restored.update(*tensors(2, 8, 9))
    metric.update(*tensors(2, 8, 9))
    assert restored.compute() == metric.compute()
    assert len({hash(m) for m in (metric, torch_metric(), torch_metric().set_dtype(torch.float32))}) == 3


CASTS = ("set_dtype", "to bfloat16", "to float16", "half", "bfloat16", "double", "in a module", "default dtype")


@pytest.mark.parametrize("cast", CASTS)
def test_torchmetrics_sums_exactly_whatever_it_is_cast_to(cast: str) -> None:
    """Alone, or with the model around it as Lightning's `bf16-true` does."""
    metric = torch_metric(data_range=65535.0)
    import torch

    half = torch.bfloat16
    try:
        if cast == "default dtype":
            torch.set_default_dtype(half)
            metric = torch_metric(data_range=65535.0)
        elif cast == "in a module":
            torch.nn.ModuleDict({"metric": metric}).to(half)
        elif cast == "set_dtype":
            metric.set_dtype(half)
        else:
            name, _, dtype = cast.partition(" ")
            getattr(metric, name)(*([getattr(torch, dtype)] if dtype else []))
        a, b = tensors(300, 8, 8)
        for _ in range(2):
            metric.update(a, b)
        value = metric.compute()
    finally:
        torch.set_default_dtype(torch.float32)
    close(value, metric_of_float64(a, b))
    assert (metric.count.item(), metric.count.dtype, value.dtype) == (600, torch.int64, torch.float32)
    assert metric.options[-1] == 65535
    metric.reset()
    assert (metric.count.dtype, metric.general_total.dtype) == (torch.int64, torch.float64)
    moved = metric.to("meta")
    assert {state.device.type for state in moved.metric_state.values()} == {"meta"}


def metric_of_float64(a: Any, b: Any) -> Any:
    from blursim_torch import blursim

    return blursim(a.double(), b.double(), data_range=65535.0)


OTHER_OPTIONS: list[dict[str, Any]] = [
    {"spectrum": "log"},
    {"normalization": "rms"},
    {"sobel_kernel_size": 3},
    {"channel_axis": -3},
    {"data_range": 1},
    {"data_range": (-1, 1)},
]


@pytest.mark.parametrize("options", OTHER_OPTIONS, ids=str)
def test_torchmetrics_states_of_other_options_are_refused(options: Any) -> None:
    metric, other = torch_metric(), torch_metric(**options)
    metric.persistent(True)
    other.persistent(True)
    for each in (metric, other):
        each.update(*tensors(1, 2, 8, 8))
    before = metric.compute()
    given = {"sobel_kernel_size": 5, "spectrum": "magnitude", "normalization": "area"} | {
        "data_range": None,
        "channel_axis": None,
    }
    own, others = (
        ", ".join(f"{name}={value!r}" for name, value in each.items())
        for each in (given, given | options | ({"data_range": (0.0, 1.0)} if options == {"data_range": 1} else {}))
    )
    others = others.replace("(-1, 1)", "(-1.0, 1.0)")
    for name, use in {
        "incoming_state": lambda: metric.merge_state(other),
        "state_dict": lambda: metric.load_state_dict(other.state_dict()),
    }.items():
        with pytest.raises(
            ValueError, match=f"^{re.escape(f'{name}: expected the state of {own}, got that of {others}')}$"
        ):
            use()
    with pytest.raises(ValueError, match=r"^incoming_state: expected the state of "):
        metric.merge_state(other.metric_state)
    old = {**metric.state_dict(), "options": metric.options[:5]}
    with pytest.raises(ValueError, match=r"got that of another version, tensor"):
        metric.load_state_dict(old)
    metric._computed = None
    assert metric.compute() == before


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_torchmetrics_states_are_not_shared() -> None:
    """A state that several metrics load, as of a model and its average, or that an update in inference mode made."""
    metric = torch_metric()
    import torch

    a, b = tensors(4, 8, 8)
    metric.persistent(True)
    with torch.inference_mode():
        metric.update(a, b)
    metric.update(a, b)
    state = metric.state_dict()
    first, second = torch_metric(), torch_metric()
    for each in (first, second):
        each.load_state_dict({name: x.half() if x.is_floating_point() else x for name, x in state.items()})
        assert each.general_total.dtype == torch.float64
        each.load_state_dict(dict(state))
    first.update(a, b)
    assert (first.count, second.count, state["count"]) == (12, 8, 8)
    merged, before = torch_metric(), metric.metric_state
    metric.update(0 * a, b)
    merged.merge_state(before)
    close(merged.compute(), second.compute())


def test_torchmetrics_computes_again_after_a_change() -> None:
    metric = torch_metric(alpha=0.9)
    from blursim_torch import blursim

    a, b = tensors(4, 8, 8)
    metric.update(a, b)
    metric.compute()
    metric.alpha = 0.1
    close(metric.compute(), blursim(a, b, alpha=0.1))
    other = torch_metric()
    other.update(0 * a, b)
    metric.merge_state(other)
    close(metric.compute(), (blursim(a, b, alpha=0.1) + blursim(0 * a, b, alpha=0.1)) / 2)


def test_torchmetrics_keep_their_options_and_states_whole() -> None:
    metric = torch_metric()
    metric.update(*tensors(4, 8, 8))
    with pytest.raises(AttributeError, match=r"^spectrum: the options of a metric are fixed"):
        metric.spectrum = "log"
    state = {name: x for name, x in metric.metric_state.items() if name != "options"}
    with pytest.raises(ValueError, match=r"^incoming_state: expected .*, options, got none of options$"):
        metric.merge_state(state)
    assert metric.count == 4


def test_torchmetrics_in_a_model_made_without_memory() -> None:
    metric = torch_metric()
    import torch

    from blursim_torch import BlurSim

    with torch.device("meta"):
        model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch_metric(), BlurSim(torch.tensor([0.1, 0.2])))
    model.to_empty(device="cpu")
    part: Any = model[1]
    assert {x.device.type for x in part.metric_state.values()} == {"cpu"}
    shared: Any = metric.share_memory()
    assert shared.general_total.is_shared()


def test_torchmetrics_shows_its_options() -> None:
    found = repr(torch_metric(alpha=0.3, spectrum="log", data_range=(-1, 1)))
    assert found == (
        "BlurSimMetric(alpha=0.3, sobel_kernel_size=5, spectrum='log', normalization='area', data_range=(-1, 1), "
        "channel_axis=None)"
    )


def test_torchmetrics_takes_the_keywords_of_other_metrics() -> None:
    metric = torch_metric()
    from torchmetrics import MeanSquaredError, MetricCollection

    a, b = tensors(3, 8, 8)
    found = MetricCollection({"blursim": metric, "mse": MeanSquaredError()})(preds=a, target=b)
    close(found["mse"], ((a - b) ** 2).mean())
    close(found["blursim"], torch_metric()(a, b))


def test_torchmetrics_merges_states() -> None:
    metric, other, whole = torch_metric(), torch_metric(), torch_metric()
    for each, shape in (metric, (3, 8, 8)), (other, (2, 9, 8)):
        each.update(*tensors(*shape))
        whole.update(*tensors(*shape))
    metric.merge_state(other)
    close(metric.compute(), whole.compute())


def test_torchmetrics_collections_and_composition() -> None:
    metric = torch_metric()
    from torchmetrics import MeanSquaredError, MetricCollection, MetricTracker

    collection = MetricCollection({"blursim": metric, "specific": torch_metric(alpha=1.0), "mse": MeanSquaredError()})
    a, b = tensors(3, 8, 8)
    for shape in (3, 8, 8), (2, 9, 8):
        collection.update(*tensors(*shape))
    values = collection.compute()
    assert values.keys() == {"blursim", "specific", "mse"}
    # Metrics of the same states share them, and still weigh each by its own alpha.
    close(values["specific"], metric.compute_terms().specific)
    assert values["specific"] != values["blursim"]
    close((metric + 1).compute(), values["blursim"] + 1)  # pyright: ignore[reportCallIssue]
    tracker: Any = MetricTracker(torch_metric())
    for scale in (1.0, 0.5):
        tracker.increment()
        tracker.update(scale * a + (1 - scale) * b, b)
    _, step = tracker.best_metric(return_step=True)
    assert step == 1


@pytest.mark.parametrize("identical", [0, 1])
def test_torchmetrics_collections_keep_options_apart(identical: int) -> None:
    """Also where the first update leaves the same sums in all."""
    options: list[dict[str, Any]] = [
        {},
        {"sobel_kernel_size": 3},
        {"spectrum": "log"},
        {"normalization": "relative"},
        {"data_range": 2.0},
        {"channel_axis": -3},
        {"data_range": (-1, 1)},
    ]
    require("torch", "torchmetrics")
    from torchmetrics import MetricCollection

    from blursim_torch import blursim

    a, b = tensors(3, 1, 8, 8)
    collection = MetricCollection({str(i): torch_metric(**o) for i, o in enumerate(options)})
    collection.update(b[:identical], b[:identical])
    collection.update(a, b)
    for i, o in enumerate(options):
        total = blursim(a, b, reduction="sum", **o)
        close(collection.compute()[str(i)], total / (3 + identical))


def test_torchmetrics_plots() -> None:
    metric = torch_metric()
    require("torch", "matplotlib")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    values = [metric(*tensors(2, 8, n)) for n in (8, 9, 10)]
    _, axes = metric.plot()
    assert axes.get_ylabel() == "BlurSimMetric"
    _, axes = metric.plot(values)
    assert axes.lines and axes.get_ylim()[0] <= 0
    own = pyplot.figure().add_subplot()
    assert metric.plot(values, own)[1] is own
    pyplot.close("all")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.system
def test_without_its_library_it_says_so(name: str) -> None:
    require(name)
    result = run_code(f"import blursim_{name}; print('imported'); import blursim_{name}.metrics", {NEEDS[name]})
    assert (result.returncode, result.stdout) == (1, "imported\n")
    error, advice = result.stderr.splitlines()[-2:]
    assert error == f"ModuleNotFoundError: No module named '{NEEDS[name]}'"
    assert advice.endswith(f": pip install 'blursim[{NEEDS[name]}]'")
