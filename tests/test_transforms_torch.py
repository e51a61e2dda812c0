"""Every public function under autograd, torch.func, torch.compile and export, and what is compiled how often."""

# ruff: noqa: E402
from frameworks import require

require("torch")

import contextlib
import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.checkpoint
from cases import (
    ALL,
    CASES,
    FEW,
    FLOAT32,
    FLOAT64,
    NORMALIZATIONS,
    SECOND_DIFFERENCES,
    SIZES,
    SPECTRA,
    THIRD_DIFFERENCES,
    Case,
    assert_close,
    costly,
    noise,
)
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend
from torch._functorch._aot_autograd.utils import make_boxed_func
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

from blursim_torch import BlurSim, _planes, _tiles, blursim, blursim_maps, blursim_terms
from blursim_torch._edges import sobel, sobel_transpose
from blursim_torch._spectrum import candidate_dft_sizes
from blursim_torch._taps import optimal_dft_size

# What PyTorch's own forward mode and compiler say of themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated:DeprecationWarning"),
]
# The smallest first: gradients are checked by every pixel, so that time grows with the fourth power of a side.
SHAPES = [
    (3, 4),
    (5, 5),
    (5, 6),
    (6, 5),
    (7, 7),
    (7, 8),
    (8, 7),
    (5, 9),
    (9, 5),
    (6, 6),
    (2, 5, 5),
    (2, 6, 5),
    (1, 2, 5, 6),
]


def images(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[Tensor, Tensor]:
    a, b = noise(*shape, seed=seed, dtype="float64")
    return torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype)


by_case = pytest.mark.parametrize("case", CASES, ids=str)


def detached(x: Any) -> Any:
    return [detached(y) for y in x] if isinstance(x, (tuple, list)) else x.detach()


def close(actual: Any, expected: Any, tolerance: float = FLOAT64.same) -> None:
    assert_close(detached(actual), detached(expected), tolerance)


# Of second order, these cases are checked at every run of CI.
SECOND = [Case(spectrum, "relative", 3) for spectrum in SPECTRA]


# Every spectrum and normalization once at every run, all pairs of them in CI, other shapes with the slow tests.
CHOICES = list(itertools.product(SPECTRA, NORMALIZATIONS))
ONCE = list(zip(SPECTRA, itertools.cycle(NORMALIZATIONS), strict=False))


@pytest.mark.parametrize(
    ("shape", "choices"),
    [
        pytest.param(SHAPES[0], ONCE, id=f"{SHAPES[0]}-once"),
        pytest.param(SHAPES[0], CHOICES, id=f"{SHAPES[0]}", marks=pytest.mark.system),
        *(pytest.param(shape, CHOICES, id=f"{shape}", marks=pytest.mark.slow) for shape in SHAPES[1:]),
    ],
)
def test_gradcheck(shape: tuple[int, ...], choices: list[tuple[Any, Any]]) -> None:
    """Slowly, by every pixel: forward, reverse and batched, by both images and alpha."""
    for i, (spectrum, normalization) in enumerate(choices):
        fitting = [size for size in SIZES if size <= min(shape[-2:])]
        options = Case(spectrum, normalization, fitting[i % len(fitting)]).options()
        a, b = (x.requires_grad_() for x in images(*shape, seed=i))
        alpha = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        modes: Any = {"check_forward_ad": True, "check_batched_grad": True, "check_batched_forward_grad": True}
        loss = lambda a, b, t, o=options: blursim(a, b, alpha=t, reduction="none", **o)  # noqa: E731
        assert gradcheck(loss, (a, b, alpha), **modes)


@pytest.mark.parametrize(
    "case",
    [
        *costly([SECOND[2], SECOND[3]], SECOND, pytest.mark.system),
        *costly([], [case for case in ALL if case not in SECOND]),
    ],
)
def test_gradgradcheck(case: Case) -> None:
    """Second order, reverse over reverse and forward over reverse, in every option set; the shapes take turns."""
    fitting = [shape for shape in SHAPES if min(shape[-2:]) >= case.size]
    # Of the smallest kernel the smallest shape, as these are the cases that are checked at every run.
    shape = SHAPES[0] if case.size == 3 else fitting[ALL.index(case) % len(fitting)]
    a, b = (x.requires_grad_() for x in images(*shape))
    alpha = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    loss = lambda a, b, t: blursim(a, b, alpha=t, **case.options())  # noqa: E731
    assert gradgradcheck(loss, (a, b, alpha), check_fwd_over_rev=True, check_batched_grad=True)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_gradgradcheck_of_every_shape(shape: tuple[int, ...]) -> None:
    spectrum, normalization = list(itertools.product(SPECTRA, NORMALIZATIONS))[SHAPES.index(shape) % 12]
    a, b = (x.requires_grad_() for x in images(*shape))
    options: Any = {"spectrum": spectrum, "normalization": normalization}
    assert gradgradcheck(lambda a, b: tuple(blursim_terms(a, b, **options)), (a, b))


def test_the_transpose_of_sobel() -> None:
    """<S x, y> = <x, S^T y>, for any y."""
    for size, shape in itertools.product((3, 5, 7), ((7, 8), (9, 7), (12, 11))):
        x, _ = images(*shape)
        y = images(*shape, seed=1)
        parts = sobel(x, size)
        close(torch.sum(x * sobel_transpose(*y, size)), torch.sum(parts[0] * y[0]) + torch.sum(parts[1] * y[1]))


@pytest.mark.parametrize("case", costly([FEW[0]], FEW))
def test_func(case: Case) -> None:
    options = case.options()
    a, b = images(2, 7, 8)
    (d, e), alpha = images(2, 7, 8, seed=1), torch.tensor([0.3, 0.6], dtype=torch.float64)

    def loss(a: Tensor, b: Tensor, alpha: float | Tensor = 0.9) -> Tensor:
        return blursim(a, b, alpha=alpha, **options)

    leaf = a.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf, b), leaf)
    values = blursim(a, b, reduction="none", **options)
    close(grad(loss)(a, b), gradient)
    close(vjp(lambda a: loss(a, b), a)[1](torch.tensor(2.0, dtype=a.dtype))[0], 2 * gradient)
    close(vmap(loss)(a, b), values)
    close(vmap(loss, (0, None))(a, b[0]), torch.stack([loss(x, b[0]) for x in a]))
    close(vmap(loss, -1)(a.movedim(0, -1), b.movedim(0, -1)), values)
    # With channels, nothing before the rule of vmap has moved the axis to the front.
    channels = lambda a, b: blursim(a, b, channel_axis=-3, **options)  # noqa: E731
    close(vmap(channels, -1)(*(x[:, None].movedim(0, -1) for x in (a, b))), values)
    close(
        jvp(lambda x: vmap(loss, (None, 0))(x, b).sum(), (a[0],), (d[0],))[1],
        sum(torch.sum(grad(loss)(a[0], y) * d[0]) for y in b),
    )
    close(vmap(loss)(a, b, alpha), blursim(a, b, alpha=alpha, reduction="none", **options))
    close(vmap(vmap(loss))(a[None], b[None])[0], values)
    close(vmap(grad(loss))(a, b), 2 * gradient)
    close(grad(lambda a: vmap(loss)(a, b).mean())(a), gradient)
    close(jvp(lambda a: loss(a, b), (a,), (d,))[1], torch.sum(gradient * d))
    close(jvp(lambda a: vmap(loss)(a, b).mean(), (a,), (d,))[1], torch.sum(gradient * d))
    by_both = grad(loss, (0, 1))(a, b)
    close(jvp(loss, (a, b), (d, e))[1], torch.sum(by_both[0] * d) + torch.sum(by_both[1] * e))
    slope = blursim_terms(a, b, **options).specific - blursim_terms(a, b, **options).general
    close(grad(lambda t: loss(a, b, t))(torch.tensor(0.3, dtype=a.dtype)), slope)
    close(jvp(lambda t: loss(a, b, t), (alpha[0],), (torch.ones_like(alpha[0]),))[1], slope)
    both = jacrev(lambda a: tuple(blursim_terms(a, b, **options)))(a)
    close(0.1 * both[0] + 0.9 * both[1], gradient)
    forward = jvp(lambda a: tuple(blursim_terms(a, b, **options)), (a,), (d,))[1]
    close(forward, tuple(torch.sum(x * d) for x in both))
    checkpointed = torch.utils.checkpoint.checkpoint(loss, leaf, b, use_reentrant=False)
    close(torch.autograd.grad(checkpointed, leaf)[0], gradient)


@pytest.mark.parametrize("case", costly([FEW[0]], FEW))
def test_second_and_third_order(case: Case) -> None:
    options = case.options()
    (a, b), (d, _) = images(7, 8), images(7, 8, seed=1)
    step = 1e-6

    def loss(a: Tensor) -> Tensor:
        return blursim(a, b, **options)

    change = (grad(loss)(a + step * d) - grad(loss)(a - step * d)) / (2 * step)
    twice = (hessian, lambda f: jacrev(jacrev(f)), lambda f: jacfwd(jacfwd(f)), lambda f: jacrev(jacfwd(f)))
    for matrix in (*(f(loss)(a) for f in twice), torch.autograd.functional.hessian(loss, a)):
        close(torch.tensordot(matrix, d, 2), change, SECOND_DIFFERENCES)
    # Forward over forward over a batch, where vmap hides the tangents.
    along = jvp(lambda z: jvp(lambda x: vmap(loss)(x[None]).sum(), (z,), (d,))[1], (a,), (d,))[1]
    close(along, torch.sum(change * d), SECOND_DIFFERENCES)

    def second(a: Tensor) -> Tensor:
        return torch.sum(torch.tensordot(hessian(loss)(a), d, 2) * d)

    third = torch.sum(grad(lambda a: torch.sum(grad(lambda a: torch.sum(grad(loss)(a) * d))(a) * d))(a) * d)
    close(third, (second(a + step * d) - second(a - step * d)) / (2 * step), THIRD_DIFFERENCES)


def test_second_order_where_bins_agree() -> None:
    """Equal means: one bin of both spectra is exactly the same, and its second derivative is not 0 for that."""
    a, b, d = (torch.tensor(x) for x in np.random.default_rng(0).integers(1, 100, (3, 8, 8)) / 64)
    a[0, 0] += b.sum() - a.sum()
    assert a.sum() == b.sum()
    gradient = grad(lambda a: blursim(a, b, spectrum="log", alpha=0.0))
    change = (gradient(a + 1e-6 * d) - gradient(a - 1e-6 * d)) / 2e-6
    close(jvp(gradient, (a,), (d,))[1], change, SECOND_DIFFERENCES)


def test_transforms_by_different_arguments() -> None:
    """An inner transform asks for one gradient, an outer one for another, with a batch between them."""
    (a, b), (d, _) = images(2, 6, 7), images(2, 6, 7, seed=1)
    nested = grad(lambda y: torch.sum(vmap(grad(blursim))(a, y) * d))(b)
    singles = [grad(lambda q, p=p, t=t: torch.sum(grad(blursim)(p, q) * t))(q) for p, q, t in zip(a, b, d, strict=True)]
    close(nested, torch.stack(singles))

    def by_alpha(a: Tensor) -> Tensor:
        alpha = torch.tensor([0.3, 0.6], dtype=a.dtype)
        return torch.sum(vmap(lambda p, q, t: grad(lambda s: blursim(p, q, alpha=s))(t))(a, b, alpha))

    change = (by_alpha(a + 1e-6 * d) - by_alpha(a - 1e-6 * d)) / 2e-6
    close(torch.sum(grad(by_alpha)(a) * d), change, SECOND_DIFFERENCES)


def forward_of_forward_of_a_gradient(a: Tensor, b: Tensor, d: Tensor) -> Tensor:
    gradient_along = lambda x: jvp(lambda y: torch.sum(grad(blursim)(y, b) * d), (x,), (d,))[1]  # noqa: E731
    return jvp(gradient_along, (a,), (d,))[1]


def linearized(a: Tensor, b: Tensor, d: Tensor) -> Tensor:
    return torch.func.linearize(lambda x: blursim(x, b), a)[1](d)


def compiled_gradient_of_a_gradient(a: Tensor, b: Tensor, d: Tensor) -> Tensor:
    product = lambda x: torch.sum(grad(blursim)(x, b) * d)  # noqa: E731
    return torch.compile(grad(product), backend="aot_eager")(a)


@pytest.mark.system
# The first is https://github.com/pytorch/pytorch/issues/197867. The second folds what is done in place into a constant,
# and the third drops the second order through any autograd.Function of more than the variable itself.
@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node:UserWarning")
@pytest.mark.xfail(strict=True, raises=AssertionError, reason="PyTorch's own faults, named in docs/limits.md")
@pytest.mark.parametrize(
    "use", [forward_of_forward_of_a_gradient, linearized, compiled_gradient_of_a_gradient], ids=lambda f: f.__name__
)
def test_uses_that_pytorch_gets_wrong(use: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    (a, b), (d, _) = images(7, 8), images(7, 8, seed=1)
    along = lambda f: lambda x: torch.sum(grad(f)(x) * d)  # noqa: E731
    first = along(lambda x: blursim(x, b))
    expected: dict[Callable, Tensor] = {
        forward_of_forward_of_a_gradient: along(along(first))(a),
        linearized: first(a),
        compiled_gradient_of_a_gradient: grad(first)(a),
    }
    close(use(a, b, d), expected[use])


def test_large_batches_go_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = images(29, 1, 190, 200, dtype=torch.float32)
    compute, counts = _planes._values_and_gradients, []

    def counted(a: Tensor, *rest: Any, **options: Any) -> Any:
        counts.append(len(a))
        return compute(a, *rest, **options)

    monkeypatch.setattr(_planes, "_values_and_gradients", counted)
    together = grad(blursim)(a, b)
    assert sum(counts) == 29 and len(counts) == 3
    batched = vmap(grad(blursim))(a, b)
    assert sum(counts) == 2 * 29 and len(counts) == 6
    singles = torch.stack([grad(blursim)(x, y) for x, y in zip(a, b, strict=True)])
    close(29 * together, singles, FLOAT32.gradient)
    close(batched, singles, FLOAT32.gradient)
    terms = blursim_terms(a, b, reduction="none")
    singles = [blursim_terms(x, y, reduction="none").general for x, y in zip(a, b, strict=True)]
    close(terms.general, torch.stack(singles), FLOAT32.value)


@pytest.mark.parametrize("case", [CASES[1], CASES[4]], ids=str)
def test_strips_and_blocks_have_all_derivatives_of_the_whole(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    (a, b), (da, db) = images(3, 56, 9, seed=2), images(3, 56, 9, seed=3)
    gradient = grad(lambda a, b: blursim(a, b, **case.options()), (0, 1))

    def derivatives() -> Any:
        along = jvp(gradient, (a, b), (da, db))
        products = vmap(lambda a, b, da: grad(lambda x: torch.sum(gradient(x, b)[1] * da))(a))(a, b, da)
        return along, vjp(gradient, a, b)[1]((da, db)), products, vmap(gradient)(a, b)

    whole = derivatives()
    # Two planes a block, and strips as small as margins let them be.
    monkeypatch.setattr(_tiles, "BLOCK_PIXELS", 2 * 56 * 9)
    monkeypatch.setattr(_tiles, "STRIP_PIXELS", 1)
    assert len(_tiles.row_slices(a, 4)) > 1
    close(derivatives(), whole)


@pytest.mark.system
def test_degenerate_images_have_finite_second_derivatives() -> None:
    photo, _ = images(9, 8, dtype=torch.float32)
    black, flat = torch.zeros_like(photo), torch.full_like(photo, 0.3)
    for a, b in itertools.product((black, flat, photo), repeat=2):
        for case in FEW:
            options = case.options()
            gradients = grad(lambda a, b, o=options: blursim(a, b, **o), (0, 1))
            products = [
                *jvp(gradients, (a, b), (photo, photo))[1],
                *grad(lambda a, b, g=gradients: torch.sum(sum(g(a, b)) * photo), (0, 1))(a, b),
            ]
            assert torch.isfinite(torch.stack(products)).all()


# Numbers do not depend on how a tensor lies in memory, on its dtype, on autocast.


def equal(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@by_case
def test_strides(case: Case) -> None:
    options = case.options()
    a, b = images(2, 3, 12, 10, dtype=torch.float32)
    lying = {
        "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
        "transposed": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
        "sliced": lambda x: torch.stack((x, x), -1).flatten(-2)[..., ::2],
        "batch last": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    }
    expected = [blursim(a, b, **options), *grad(blursim, (0, 1))(a, b, **options)]
    for lie in lying.values():
        assert not lie(a).is_contiguous()
        actual = [blursim(lie(a), lie(b), **options), *grad(blursim, (0, 1))(lie(a), lie(b), **options)]
        for x, y in zip(actual, expected, strict=True):
            equal(x, y)
    one = a[:1].expand(2, 3, 12, 10)
    equal(blursim(one, b, **options), blursim(one.contiguous(), b, **options))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "uint8", "uint16", "int8", "int16"])
def test_short_dtypes_are_bit_equal_to_float32(dtype: str) -> None:
    whole = torch.from_numpy(np.random.default_rng(0).integers(0, 100, (2, 2, 3, 12, 10)))
    a, b = whole.to(getattr(torch, dtype))
    for case in CASES:
        options: Any = {"data_range": 255, **case.options()}
        equal(blursim(a, b, **options), blursim(a.float(), b.float(), **options))
        for x, y in zip(blursim_maps(a, b, **options), blursim_maps(a.float(), b.float(), **options), strict=True):
            equal(x, y)
        if a.is_floating_point():
            gradient = grad(blursim)(a, b, **options)
            assert gradient.dtype == a.dtype
            equal(gradient, grad(blursim)(a.float(), b.float(), **options).to(a.dtype))


@by_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_autocast_changes_no_bit(case: Case, dtype: torch.dtype) -> None:
    options = case.options()
    a, b = images(2, 3, 12, 10, dtype=dtype)

    def results() -> list[Tensor]:
        leaves = [x.clone().requires_grad_() for x in (a, b)]
        value = blursim(*leaves, alpha=torch.tensor(0.5, dtype=torch.float16), **options)
        value.backward()
        gradients: list[Any] = [x.grad for x in leaves]
        return [value.detach(), *gradients, *blursim_terms(a, b, **options), *blursim_maps(a, b, **options)]

    expected = results()
    for half in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype=half):
            assert torch.ones(2, 2).mm(torch.ones(2, 2)).dtype == half
            for x, y in zip(results(), expected, strict=True):
                equal(x, y)


@by_case
def test_deterministic_algorithms_suffice(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    """In several blocks, of which new memory is filled with NaN then."""
    a, b = images(2, 3, 12, 10)
    monkeypatch.setattr(_tiles, "BLOCK_PIXELS", 2 * 12 * 10)
    expected = grad(blursim)(a, b, **case.options())
    torch.use_deterministic_algorithms(True)
    try:
        equal(grad(blursim)(a, b, **case.options()), expected)
    finally:
        torch.use_deterministic_algorithms(False)


# torch.compile and torch.export.


@contextlib.contextmanager
def compilations(backend: str = "aot_eager") -> Iterator[tuple[Callable[[Any], Callable], CompileCounterWithBackend]]:
    """A compiler and the count of its programs; `aot_eager` traces as `inductor` does, in a tenth of its time."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend(backend)
    yield lambda function: torch.compile(function, fullgraph=True, backend=counter), counter
    torch._dynamo.reset()


def compare_compiled(compiled: Callable, a: Tensor, b: Tensor, tolerance: float, **options: Any) -> None:
    leaves = [x.clone().requires_grad_() for x in (a, b)]
    value, expected = compiled(*leaves, **options), blursim(a, b, **options)
    close(value.detach(), expected, tolerance)
    close(torch.autograd.grad(value, leaves), grad(blursim, (0, 1))(a, b, **options), tolerance)


@pytest.mark.parametrize(
    "kind",
    [
        *(pytest.param(x, marks=pytest.mark.system) for x in ("module", "tensor")),
        pytest.param("float", marks=pytest.mark.slow),
    ],
)
def test_alpha_hardly_recompiles(kind: str) -> None:
    a, b = images(2, 3, 12, 10, dtype=torch.float32)
    with compilations() as (compiler, counter):
        module = BlurSim()
        compiled = compiler(module if kind == "module" else blursim)
        counts = []
        for alpha in np.linspace(0, 1, 12).tolist():
            if kind == "module":
                # As a callback of validation does.
                with torch.inference_mode(alpha > 0.5):
                    module.alpha = alpha
                close(compiled(a, b), blursim(a, b, alpha=alpha), FLOAT32.value)
                assert module.alpha == alpha
            else:
                compare_compiled(compiled, a, b, 1e-6, alpha=torch.tensor(alpha) if kind == "tensor" else alpha)
            counts.append(counter.frame_count)
        # A Python float is a constant of the first program, and an input of the second. With a float64 tensor, PyTorch
        # traces twice at the first call.
        assert [count - counts[0] for count in counts] == [0, *[1 if kind == "float" else 0] * 11]
        compiled(a.double(), b.double())
        assert counter.frame_count > counts[-1], "the counter counts"


@pytest.mark.system
def test_masks_under_transforms() -> None:
    a, b = images(3, 7, 8)
    mask = torch.tensor(np.random.default_rng(1).random((3, 7, 8)) < 0.7)
    spoiled = torch.where(mask, a, torch.nan)
    loss = lambda a, b, mask: blursim(a, b, mask=mask, **CASES[6].options())  # noqa: E731
    values = blursim(spoiled, b, mask=mask, reduction="none", **CASES[6].options())
    gradients = 3 * grad(loss)(spoiled, b, mask)
    assert not gradients[~mask].any() and gradients[mask].all()
    close(vmap(loss)(spoiled, b, mask), values)
    close(vmap(grad(loss))(spoiled, b, mask), gradients)
    close(vmap(grad(loss), (0, 0, None))(a, b, mask[0])[0], grad(loss)(a[0], b[0], mask[0]))
    with compilations() as (compiler, counter):
        compiled = compiler(loss)
        for m in (mask, ~mask, torch.ones_like(mask)):
            leaf = torch.where(m, a, torch.nan).requires_grad_()
            value = compiled(leaf, b, m)
            close(value, loss(leaf, b, m))
            close(torch.autograd.grad(value, leaf)[0], grad(loss)(leaf.detach(), b, m))
        assert counter.frame_count == 1


@pytest.mark.slow
@pytest.mark.parametrize("case", FEW, ids=str)
def test_shapes_hardly_recompile(case: Case) -> None:
    options = case.options()
    # Under "log", weak bins weigh most: eager or compiled, gradients are up to 4e-6 from those of float64.
    tolerance = FLOAT32.gradient if case.spectrum == "log" else FLOAT32.value
    with compilations() as (compiler, counter):
        compiled = compiler(blursim)
        for i, (h, w) in enumerate(np.random.default_rng(0).integers(7, 40, (12, 2)).tolist()):
            compare_compiled(compiled, *images(2, 3, h, w, dtype=torch.float32, seed=i), tolerance=tolerance, **options)
        assert counter.frame_count <= 2
        x, _ = images(2, 3, 9, 11, dtype=torch.float32)
        for same in (x, torch.zeros_like(x), torch.full_like(x, 0.3)):
            leaf = same.clone().requires_grad_()
            value: Any = compiled(leaf, same, **options)
            assert not value
            assert not torch.autograd.grad(value, leaf)[0].any()
        assert counter.frame_count <= 2 + 2  # a target that needs no gradient, and one that is the same memory


# A second alpha compiles a second program, which takes half a minute.
@pytest.mark.system
@pytest.mark.parametrize("alphas", [(0.9,), pytest.param((0.9, 0.5, 0.1), marks=pytest.mark.slow)], ids=len)
@pytest.mark.parametrize("case", costly([FEW[0]], [FEW[0], FEW[2]]))
def test_inductor(case: Case, alphas: tuple[float, ...]) -> None:
    """The compiler that users have: equal to eager, exactly 0 for identical images, one graph."""
    options = case.options()
    with compilations("inductor") as (compiler, counter):
        compiled = compiler(blursim)
        # Under "log", weak bins weigh most: eager or compiled, gradients are about 5e-6 from those of float64.
        tolerance = FLOAT32.gradient if case.spectrum == "log" else FLOAT32.value
        for alpha in alphas:
            compare_compiled(
                compiled, *images(2, 3, 17, 16, dtype=torch.float32), tolerance=tolerance, alpha=alpha, **options
            )
        x, _ = images(2, 3, 17, 16, dtype=torch.float32)
        for same in (x, torch.zeros_like(x)):
            leaves = [same.clone().requires_grad_() for _ in range(2)]
            # After a second alpha, any other will do.
            value: Any = compiled(*leaves, alpha=alphas[0] if len(alphas) == 1 else 0.3, **options)
            assert not value
            assert not any(g.any() for g in torch.autograd.grad(value, leaves))
        assert counter.frame_count <= min(len(alphas), 2)


@pytest.mark.system
def test_losses_of_two_data_ranges_in_one_program() -> None:
    a, b = images(2, 12, 10)
    first, second = BlurSim(), BlurSim(data_range=(-1, 255))
    both = lambda a, b: first(a, b) + second(100 * a, 100 * b)  # noqa: E731
    with compilations() as (compiler, _):
        close(compiler(both)(a, b), both(a, b))


@pytest.mark.slow
def test_compiled_transforms_and_the_other_functions() -> None:
    a, b = images(2, 7, 8)
    functions: list[Callable] = [
        grad(blursim),
        vmap(blursim),
        lambda a, b: jvp(lambda a: blursim(a, b), (a,), (b,))[1],
        lambda a, b: tuple(blursim_terms(a, b, spectrum="log")),
        lambda a, b: tuple(blursim_maps(a, b)),
        lambda a, b: blursim(a, b, spectrum="complex"),
        lambda a, b: blursim(a[0], b[0], spectrum="complex"),
        grad(lambda a, b: blursim(a, b, spectrum="complex_l1", normalization="rms")),
        BlurSim(channel_axis=-3),
    ]
    for function in functions:
        with compilations() as (compiler, _):
            close(compiler(function)(a, b), function(a, b))


def complex_l1(a: Tensor, b: Tensor) -> Tensor:
    return blursim(a, b, spectrum="complex_l1")


def backward_through_a_batch(maybe_compile: Callable, a: Tensor, b: Tensor) -> Tensor:
    leaf = a.clone().requires_grad_()
    return torch.autograd.grad(maybe_compile(lambda a, b: vmap(complex_l1)(a, b).sum())(leaf, b), leaf)[0]


def forward_after_a_call_without_tangents(maybe_compile: Callable, a: Tensor, b: Tensor) -> Tensor | None:
    loss = maybe_compile(complex_l1)
    loss(a, b)
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(loss(forward_ad.make_dual(a, b), b)).tangent


@pytest.mark.system
@pytest.mark.parametrize("use", [backward_through_a_batch, forward_after_a_call_without_tangents])
def test_compiled_programs_are_differentiated_from_outside(use: Callable) -> None:
    """By rules of PyTorch's own, which know nothing of ours: an operator that lacks one would drop its part."""
    a, b = images(2, 7, 8)
    with compilations() as (compiler, _):
        close(use(compiler, a, b), use(lambda function: function, a, b))


def test_the_table_of_sizes_for_the_compiler() -> None:
    sizes = candidate_dft_sizes(torch.device("cpu"))
    for size in (*range(1, 2000), 5**13, 3**18 + 1, 2**30 - 1, 2**30):
        assert sizes[sizes >= size].min() == optimal_dft_size(size)


@pytest.mark.slow
def test_a_compiled_program_takes_no_table_from_the_host() -> None:
    """On a GPU it would be copied at every call, and the host would wait for the copy."""
    targets = []

    def look(graph: torch.fx.GraphModule, _: Any) -> Callable:
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return make_boxed_func(graph.forward)

    a, b = (x.requires_grad_() for x in images(2, 3, 17, 16, dtype=torch.float32))
    torch._dynamo.reset()
    backend = aot_autograd(fw_compiler=look, bw_compiler=look)
    torch.compile(blursim, fullgraph=True, backend=backend)(a, b, spectrum="complex").backward()
    torch._dynamo.reset()
    assert "aten.mul.Tensor" in targets
    assert not [x for x in targets if any(name in x for name in ("tensor_constant", "lift_fresh"))]


@pytest.mark.system
@pytest.mark.parametrize("case", costly(FEW, CASES))
def test_export_with_any_size(case: Case) -> None:
    dims = {0: torch.export.Dim("n"), 1: torch.export.Dim("h", min=7), 2: torch.export.Dim("w", min=7)}
    loss = BlurSim(**case.options())
    program = torch.export.export(loss, images(2, 8, 9), dynamic_shapes=(dims, dims))
    for shape in ((2, 8, 9), (5, 11, 16), (3, 7, 7)):
        a, b = images(*shape)
        close(program.module()(a, b), loss(a, b))


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("needs_gradient", [False, True])
@pytest.mark.parametrize("case", FEW, ids=str)
def test_a_trace_has_the_gradients(case: Case, needs_gradient: bool) -> None:
    """Whether or not the images that it was made with need one."""
    a, b = images(2, 7, 8)
    loss = BlurSim(**case.options())
    traced: Any = torch.jit.trace(loss, (a.requires_grad_(needs_gradient), b))
    for shape in ((2, 7, 8), (2, 11, 9)):
        leaves = [x.clone().detach().requires_grad_() for x in images(*shape, seed=1)]
        value = traced(*leaves)
        close(value, loss(*leaves))
        close(torch.autograd.grad(value, leaves), torch.autograd.grad(loss(*leaves), leaves))


# The module.


def test_the_module() -> None:
    a, b = images(4, 3, 12, 10, dtype=torch.float32)
    loss = BlurSim(alpha=0.8)
    assert not loss.state_dict() and not list(loss.parameters()) and not list(loss.buffers())
    expected = loss(a, b)
    equal(expected, blursim(a, b, alpha=0.8))
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), loss.half().double().to("cpu").eval()):
        equal(other(a, b), expected)
        assert repr(other) == repr(loss)
    loss.load_state_dict({})
    loss.alpha = 0.25
    equal(loss(a, b), blursim(a, b, alpha=0.25))
    with pytest.raises(ValueError, match=r"^alpha: expected a number in \[0, 1\], got 2$"):
        loss.alpha = 2
    wrongs: list[Any] = ["x", None, [0.5], np.array([0.5])]
    for wrong in wrongs:
        with pytest.raises(TypeError, match=r"^alpha: expected a real number or a torch.Tensor, got "):
            BlurSim(wrong)
    # A tensor weighs, gets its gradient, is not the module's, and keeps its dtype when the module is cast.
    alpha = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    loss.alpha = alpha
    loss(a, b).backward()
    assert alpha.grad is not None and not loss.state_dict() and not list(loss.parameters())
    loss.half().bfloat16()
    assert isinstance(loss.alpha, Tensor) and loss.alpha.dtype == torch.float64
    equal(loss(a, b), blursim(a, b, alpha=0.3))
    moved: Any = BlurSim(torch.tensor([0.2, 0.4])).to("meta")
    assert (moved.alpha.device.type, moved.alpha.dtype) == ("meta", torch.float32)
    assert BlurSim(0.3).to("meta").alpha == 0.3
    per_image = BlurSim(torch.tensor([0.0, 0.3, 0.6, 1.0]), channel_axis=-3, reduction="none")
    assert per_image(a, b).shape == (4,)
    assert torch.nn.Sequential(torch.nn.Identity(), BlurSim()).state_dict() == {}


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled:UserWarning")
def test_leaves_accumulate_and_constants_get_none() -> None:
    a, b = images(2, 3, 12, 10, dtype=torch.float32)
    leaf = a.clone().requires_grad_()
    loss = BlurSim()
    for _ in range(2):
        loss(leaf, b).backward()
    assert leaf.grad is not None
    close(leaf.grad, 2 * grad(blursim)(a, b), FLOAT32.value)
    assert b.grad is None and not loss(a, b).requires_grad
    with torch.no_grad():
        assert not loss(leaf, b).requires_grad
    expected = loss(a, b)
    with torch.inference_mode():
        equal(loss(a, b), expected)
    with torch.autograd.detect_anomaly(check_nan=True):
        loss(leaf, b).backward()


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_other_devices(device: str) -> None:
    if not getattr(torch, device).is_available():
        pytest.skip(f"no {device} device")
    for case in CASES:
        options = case.options()
        a, b = images(2, 3, 33, 40, dtype=torch.float32)
        value = blursim(a.to(device), b.to(device), alpha=torch.tensor(0.5), **options)
        close(value.cpu(), blursim(a, b, alpha=0.5, **options), 2 * FLOAT32.value)
        gradient, expected = (grad(blursim)(x, y, **options).cpu() for x, y in ((a.to(device), b.to(device)), (a, b)))
        assert_close(gradient, expected, FLOAT32.weak)
        assert blursim(a.to(device), a.to(device), **options) == 0
