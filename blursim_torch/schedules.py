"""Schedules of alpha, used like those of `torch.optim.lr_scheduler`.

In JAX, use a schedule of Optax: `optax.linear_schedule(0.9, 0.1, steps)`.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from blursim_torch import _checks
from blursim_torch._images import ARRAY


class _Schedule:
    """Base class: sets `loss.alpha` from the number of steps alone.

    A restored schedule therefore continues exactly as one that was never saved.
    """

    # Attributes in the state, beside the number of steps.
    options: tuple[str, ...] = ()

    def __init__(self, loss: Any) -> None:
        if not hasattr(loss, "alpha"):
            raise TypeError(f"loss: expected an object with alpha, as BlurSim, got {type(loss).__qualname__}")
        self.loss = loss
        self.last_epoch = 0
        self._become(self)

    def get_alpha(self) -> float | Tensor:
        """Return alpha after `last_epoch` steps."""
        raise NotImplementedError

    def step(self) -> None:
        """Count one more step, or epoch, and set `loss.alpha`."""
        following = copy.copy(self)
        following.last_epoch += 1
        self._become(following)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for `load_state_dict`, in plain Python types, for `torch.save`."""
        state = {"kind": type(self).__name__, "last_epoch": self.last_epoch}
        return state | {name: getattr(self, name) for name in self.options}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore steps and options of a schedule of the same kind, and set `loss.alpha`.

        Args:
            state_dict: The result of `state_dict`.

        Raises:
            ValueError: It is of another kind, such as a schedule of the learning rate, or a number in it is out of
                range. Nothing is changed then.
            TypeError: It is no dict, or a value in it has a wrong type.
        """
        _checks.check_array("state_dict", state_dict, (dict,), "a dict")
        own = self.state_dict()
        if state_dict.get("kind") != own["kind"] or state_dict.keys() != own.keys():
            raise ValueError(
                f"state_dict: expected that of {own['kind']}, with {', '.join(own)}, got that of "
                f"{state_dict.get('kind', 'something else')}, with {', '.join(map(str, state_dict)) or 'nothing'}"
            )
        restored = copy.copy(self)
        vars(restored).update({name: value for name, value in state_dict.items() if name != "kind"})
        restored._check_state()
        self._become(restored)

    def _become(self, other: "_Schedule") -> None:
        """Set `loss.alpha` from `other` and copy its state; change nothing if its alpha is invalid."""
        alpha = other.get_alpha()
        if not isinstance(alpha, Tensor):
            _checks.check_alpha(alpha, ARRAY)
        self.loss.alpha = alpha
        vars(self).update(vars(other))

    def _check_state(self) -> None:
        """Raise unless the state is valid."""
        _check_count("last_epoch", self.last_epoch, 0)


class _FromStartToEnd(_Schedule):
    options = ("total_iters", "start", "end")

    def __init__(self, loss: Any, total_iters: int, start: float = 0.9, end: float = 0.1) -> None:
        self.last_epoch, self.total_iters, self.start, self.end = 0, total_iters, start, end
        self._check_state()
        super().__init__(loss)

    def _check_state(self) -> None:
        super()._check_state()
        _check_count("total_iters", self.total_iters, 1)
        _checks.check_alpha(self.start, name="start")
        _checks.check_alpha(self.end, name="end")
        # `torch.load` refuses NumPy's numbers.
        self.start, self.end = float(self.start), float(self.end)

    def _mix(self, share: float) -> float:
        # In this form, the ends are exactly `start` and `end`.
        return (1 - share) * self.start + share * self.end


class LinearAlpha(_FromStartToEnd):
    """Alpha linear from `start` to `end`, then constant.

        alpha(t) = (1 - s) * start + s * end, s = min(t / total_iters, 1)

    For JAX, Optax has the same schedule: `optax.linear_schedule(start, end, total_iters)`.

    Args:
        loss: A `BlurSim`, or any object whose `alpha` is to be set.
        total_iters: The number of steps until alpha is `end`.
        start: The first alpha, in [0, 1].
        end: The last alpha, in [0, 1].

    Raises:
        ValueError: A number is out of range.
        TypeError: An argument has a wrong type.

    References:
        Used like `torch.optim.lr_scheduler.LinearLR`.

    Examples:
        >>> from blursim_torch import BlurSim
        >>> from blursim_torch.schedules import LinearAlpha
        >>> loss = BlurSim()
        >>> schedule = LinearAlpha(loss, total_iters=4)
        >>> for _ in range(4):
        ...     schedule.step()
        ...     print(f"{loss.alpha:.1f}")
        0.7
        0.5
        0.3
        0.1
    """

    def get_alpha(self) -> float:
        """Return alpha after `last_epoch` steps."""
        return self._mix(min(self.last_epoch / self.total_iters, 1))


class CosineAlpha(_FromStartToEnd):
    """Alpha along half a cosine from `start` to `end`, then constant.

        alpha(t) = (1 - s) * start + s * end, s = (1 - cos(pi * min(t / total_iters, 1))) / 2

    For JAX, Optax has the same schedule if `start` is above 0: `optax.cosine_decay_schedule(start, total_iters,
    alpha=end / start)`.

    Args:
        loss: A `BlurSim`, or any object whose `alpha` is to be set.
        total_iters: The number of steps until alpha is `end`.
        start: The first alpha, in [0, 1].
        end: The last alpha, in [0, 1].

    Raises:
        ValueError: A number is out of range.
        TypeError: An argument has a wrong type.

    References:
        Used like `torch.optim.lr_scheduler.CosineAnnealingLR`.

    Examples:
        >>> from blursim_torch import BlurSim
        >>> from blursim_torch.schedules import CosineAlpha
        >>> loss = BlurSim()
        >>> schedule = CosineAlpha(loss, total_iters=4)
        >>> for _ in range(4):
        ...     schedule.step()
        ...     print(f"{loss.alpha:.3f}")
        0.783
        0.500
        0.217
        0.100
    """

    def get_alpha(self) -> float:
        """Return alpha after `last_epoch` steps."""
        return self._mix((1 - math.cos(math.pi * min(self.last_epoch / self.total_iters, 1))) / 2)


class LambdaAlpha(_Schedule):
    """Alpha as a function of the number of steps.

    Args:
        loss: A `BlurSim`, or any object whose `alpha` is to be set.
        alpha_lambda: Maps the number of steps, from 0, to alpha in [0, 1]. It is not part of `state_dict`: restore
            into a schedule with the same function.

    Raises:
        ValueError: The function returns a number out of range.
        TypeError: An argument has a wrong type.

    References:
        Used like `torch.optim.lr_scheduler.LambdaLR`.

    Examples:
        >>> from blursim_torch import BlurSim
        >>> from blursim_torch.schedules import LambdaAlpha
        >>> loss = BlurSim()
        >>> schedule = LambdaAlpha(loss, lambda step: 0.9 * 0.5**step)
        >>> schedule.step()
        >>> loss.alpha
        0.45
    """

    def __init__(self, loss: Any, alpha_lambda: Callable[[int], float | Tensor]) -> None:
        if not callable(alpha_lambda):
            raise TypeError(f"alpha_lambda: expected a function, got {type(alpha_lambda).__qualname__}")
        self.alpha_lambda = alpha_lambda
        super().__init__(loss)

    def get_alpha(self) -> float | Tensor:
        """Return alpha after `last_epoch` steps."""
        return self.alpha_lambda(self.last_epoch)


def _check_count(name: str, value: Any, least: int) -> None:
    if type(value) is not int:
        raise TypeError(f"{name}: expected an int, got {type(value).__qualname__}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
