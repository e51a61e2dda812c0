"""Alpha over time: schedules of PyTorch's kind, and Optax's, saved and restored."""

# ruff: noqa: E402
from frameworks import require

require("torch")

import copy
import io
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cases import FLOAT32, FLOAT64

from blursim_torch import BlurSim
from blursim_torch.schedules import CosineAlpha, LambdaAlpha, LinearAlpha

STEPS = 12


def halve(step: int) -> float:
    return 0.9 * 0.5**step


# What makes one, and its formula.
KINDS: dict[str, tuple[Callable, Callable]] = {
    "linear": (lambda loss: LinearAlpha(loss, STEPS), lambda t: 0.9 - 0.8 * t),
    "cosine": (lambda loss: CosineAlpha(loss, STEPS), lambda t: 0.5 + 0.4 * math.cos(math.pi * t)),
    "rising": (lambda loss: LinearAlpha(loss, STEPS, start=0.2, end=0.7), lambda t: 0.2 + 0.5 * t),
    "lambda": (lambda loss: LambdaAlpha(loss, halve), lambda t: halve(round(STEPS * t))),
}
kinds = pytest.mark.parametrize("make", [make for make, _ in KINDS.values()], ids=KINDS)


def sequence(schedule: Any, steps: int) -> list[float]:
    alphas = [schedule.loss.alpha]
    for _ in range(steps):
        schedule.step()
        alphas.append(schedule.loss.alpha)
    return alphas


@pytest.mark.parametrize(("make", "formula"), KINDS.values(), ids=KINDS)
def test_formulas(make: Callable, formula: Callable) -> None:
    schedule = make(BlurSim())
    alphas = sequence(schedule, STEPS + 3)
    assert schedule.last_epoch == STEPS + 3
    np.testing.assert_allclose(alphas[: STEPS + 1], [formula(i / STEPS) for i in range(STEPS + 1)], rtol=FLOAT64.value)


@pytest.mark.parametrize("kind", [LinearAlpha, CosineAlpha])
def test_both_ends_are_exact_and_the_last_stays(kind: type) -> None:
    alphas = sequence(kind(BlurSim(), 7), 20)
    assert (alphas[0], *alphas[7:]) == (0.9, *[0.1] * 14)
    assert alphas == sorted(alphas, reverse=True)


@kinds
def test_saved_and_restored_at_every_step_the_same_to_the_bit(make: Callable) -> None:
    straight = sequence(make(BlurSim()), STEPS + 3)
    schedule = make(BlurSim())
    alphas = [schedule.loss.alpha]
    for _ in range(STEPS + 3):
        schedule.step()
        file = io.BytesIO()
        torch.save(schedule.state_dict(), file)
        file.seek(0)
        schedule = make(BlurSim(alpha=0.3))
        schedule.load_state_dict(torch.load(file, weights_only=True))
        alphas.append(schedule.loss.alpha)
    assert alphas == straight


@kinds
def test_copies_go_on(make: Callable) -> None:
    schedule = make(BlurSim())
    schedule.step()
    others = copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))
    expected = sequence(schedule, 5)
    for other in others:
        assert other.loss is not schedule.loss
        assert sequence(other, 5) == expected


def test_a_restored_schedule_has_the_options_that_were_saved() -> None:
    """As those of `torch.optim.lr_scheduler`."""
    saved = LinearAlpha(BlurSim(), 10, start=0.8, end=0.2)
    saved.step()
    schedule = LinearAlpha(BlurSim(), 500)
    schedule.load_state_dict(saved.state_dict())
    assert sequence(schedule, 12) == sequence(saved, 12)
    assert schedule.state_dict() == saved.state_dict()
    assert saved.state_dict() == {"kind": "LinearAlpha", "last_epoch": 13, "total_iters": 10, "start": 0.8, "end": 0.2}


def test_any_object_with_alpha() -> None:
    loss: Any = torch.compile(BlurSim(), backend="eager")
    schedule = LinearAlpha(loss, 4)
    schedule.step()
    assert loss._orig_mod.alpha == schedule.loss.alpha == pytest.approx(0.7)
    state: Any = {
        "kind": "LinearAlpha",
        "last_epoch": 0,
        "total_iters": 4,
        "start": np.float32(0.5),
        "end": np.float64(0),
    }
    schedule.load_state_dict(state)
    assert type(schedule.state_dict()["start"]) is type(schedule.loss.alpha) is float
    learned = LambdaAlpha(BlurSim(), lambda step: torch.tensor(0.5) / (1 + step))
    learned.step()
    assert learned.loss.alpha == 0.25


def test_a_state_of_another_kind_changes_nothing() -> None:
    schedule = LinearAlpha(BlurSim(), 10)
    schedule.step()
    before = schedule.state_dict(), schedule.loss.alpha
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    good = schedule.state_dict()
    wrong: list[tuple[Any, type[Exception], str]] = [
        (CosineAlpha(BlurSim(), 10).state_dict(), ValueError, "state_dict: expected that of LinearAlpha, with kind, "
            "last_epoch, total_iters, start, end, got that of CosineAlpha"),
        (LambdaAlpha(BlurSim(), halve).state_dict(), ValueError, "state_dict: .* that of LambdaAlpha, with kind, last"),
        (torch.optim.lr_scheduler.LinearLR(optimizer).state_dict(), ValueError, "state_dict: .* of something else"),
        (optimizer.state_dict(), ValueError, "state_dict: .* got that of something else, with state, param_groups$"),
        ({}, ValueError, "state_dict: .* got that of something else, with nothing$"),
        ([1], TypeError, "state_dict: expected a dict, got list$"),
        (good | {"last_epoch": -1}, ValueError, "last_epoch: expected at least 0, got -1$"),
        (good | {"last_epoch": 1.5}, TypeError, "last_epoch: expected an int, got float$"),
        (good | {"total_iters": 0}, ValueError, "total_iters: expected at least 1, got 0$"),
        (good | {"end": 1.5}, ValueError, r"end: expected a number in \[0, 1\], got 1.5$"),
        (good | {"more": 1}, ValueError, "state_dict: .* start, end, more$"),
    ]  # fmt: skip
    for state, error, says in wrong:
        with pytest.raises(error, match=f"^{says}"):
            schedule.load_state_dict(state)
        assert (schedule.state_dict(), schedule.loss.alpha) == before


class Weight:
    alpha = 0.5


@pytest.mark.parametrize("loss", [BlurSim(), Weight()], ids=["BlurSim", "another"])
def test_a_step_to_no_alpha_changes_nothing(loss: Any) -> None:
    schedule = LambdaAlpha(loss, lambda step: 0.5 * step)
    sequence(schedule, 2)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^alpha: expected a number in \[0, 1\], got 1.5$"):
            schedule.step()
        assert (schedule.last_epoch, loss.alpha) == (2, 1.0)


def test_wrong_arguments() -> None:
    loss = BlurSim()
    wrong: list[tuple[Any, type[Exception], str]] = [
        (lambda: LinearAlpha(3, 10), TypeError, "loss: expected an object with alpha, as BlurSim, got int"),
        (lambda: LinearAlpha(loss, 0), ValueError, "total_iters: expected at least 1, got 0"),
        (lambda: CosineAlpha(loss, 5.0), TypeError, "total_iters: expected an int, got float"),  # type: ignore[arg-type]
        (lambda: CosineAlpha(loss, True), TypeError, "total_iters: expected an int, got bool"),
        (lambda: CosineAlpha(loss, 5, end=-0.1), ValueError, r"end: expected a number in \[0, 1\], got -0.1"),
        (lambda: LinearAlpha(loss, 5, start="high"), TypeError, "start: expected a real number, got str"),  # type: ignore[arg-type]
        (lambda: LambdaAlpha(loss, 0.5), TypeError, "alpha_lambda: expected a function, got float"),  # type: ignore[arg-type]
        (lambda: LambdaAlpha(Weight(), lambda step: "1"), TypeError, "alpha: expected a real number or .*, got str"),  # type: ignore[arg-type]
        (lambda: LambdaAlpha(loss, lambda step: 2), ValueError, r"alpha: expected a number in \[0, 1\], got 2"),
    ]  # fmt: skip
    for call, error, says in wrong:
        with pytest.raises(error, match=f"^{says}"):
            call()


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_optax_has_the_same(kind: str) -> None:
    """In float32."""
    require("jax", "optax")
    import jax
    import optax

    schedule, ours = {
        "linear": (optax.linear_schedule(0.9, 0.1, STEPS), LinearAlpha),
        "cosine": (optax.cosine_decay_schedule(0.9, STEPS, alpha=0.1 / 0.9), CosineAlpha),
    }[kind]
    with jax.numpy_dtype_promotion("standard"):
        theirs = [float(schedule(i)) for i in range(STEPS + 4)]
    np.testing.assert_allclose(theirs, sequence(ours(BlurSim(), STEPS), STEPS + 3), rtol=FLOAT32.value)
