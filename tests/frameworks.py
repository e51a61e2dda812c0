"""One face for both packages, NumPy in and NumPy out, so that a test is written once and runs through each."""

import contextlib
import functools
import importlib
import importlib.util
import os
import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest

NAMES = ("jax", "torch")
# Which extra brings a module.
EXTRAS = {
    "jax": "jax",
    "torch": "torch",
    "flax": "flax",
    "optax": "flax",
    "torchmetrics": "torchmetrics",
    **dict.fromkeys(("matplotlib", "PIL", "rich", "scipy", "skimage", "tifffile", "typer"), "cli"),
    **dict.fromkeys(("orbax", "sklearn"), "demo"),
    **dict.fromkeys(("ipykernel", "mkdocs", "mkdocs_glightbox", "mkdocs_jupyter", "mkdocstrings"), "docs"),
    **dict.fromkeys(("nbclient", "ruff"), "docs"),
    **dict.fromkeys(("cv2", "hypothesis", "psutil"), "test"),
    **dict.fromkeys(("equinox", "flatbuffers"), "dev"),
}


def is_required(framework: str) -> bool:
    """Whether BLURSIM_TEST_FRAMEWORKS, a list such as jax,torch, names it: then its lack is a failure, not a skip."""
    required = set(os.environ.get("BLURSIM_TEST_FRAMEWORKS", "").split(",")) - {""}
    if not required <= set(NAMES):
        raise ValueError(f"BLURSIM_TEST_FRAMEWORKS: expected names out of {', '.join(NAMES)}, got {required}")
    return framework in required


def require(*names: str) -> None:
    """Skip a test, or a whole file, that needs modules which are not installed, and name the extra that brings them.

    Nothing is skipped where every framework among them is required, or both are if none is among them: what is missing
    then fails when it is imported.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing and not all(map(is_required, set(names) & set(NAMES) or NAMES)):
        extras = ",".join(dict.fromkeys(EXTRAS[name] for name in missing))
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'blursim[{extras}]'", allow_module_level=True)


def count_compilations() -> list[float]:
    """A list that has one entry more for every program that XLA compiles from now on."""
    import jax

    seen = []

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seen


class Framework:
    """The public functions of one package, on NumPy arrays."""

    def __init__(self, name: str) -> None:
        """Import the package `blursim_<name>`."""
        self.name = name
        self.package: ModuleType = importlib.import_module(f"blursim_{name}")
        self.version = tuple(map(int, re.findall(r"\d+", importlib.import_module(name).__version__)[:3]))

    def internal(self, file: str) -> Any:
        """A file of the package that is not public, such as _tiles."""
        return importlib.import_module(f"{self.package.__name__}.{file}")

    def array(self, x: np.ndarray, dtype: str | None = None) -> Any:
        """An array of the framework."""
        raise NotImplementedError

    def gradient(self, a: np.ndarray, b: np.ndarray, argument: int = 0, **options: Any) -> np.ndarray:
        """The gradient of `blursim` by the predictions or by the targets."""
        raise NotImplementedError

    def hessian(self, a: np.ndarray, b: np.ndarray, **options: Any) -> np.ndarray:
        """The second derivative of `blursim` by the predictions."""
        raise NotImplementedError

    def call(self, function: str, a: np.ndarray, b: np.ndarray, **options: Any) -> Any:
        """Call a public function by name."""
        raise NotImplementedError

    def value(self, a: np.ndarray, b: np.ndarray, **options: Any) -> np.ndarray:
        """`blursim`."""
        return self.call("blursim", a, b, **options)

    def terms(self, a: np.ndarray, b: np.ndarray, **options: Any) -> np.ndarray:
        """`blursim_terms`, General and Specific along a new first axis."""
        return np.stack(self.call("blursim_terms", a, b, **options))

    def maps(self, a: np.ndarray, b: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
        """`blursim_maps`."""
        return self.call("blursim_maps", a, b, **options)


class Jax(Framework):
    """`blursim_jax`."""

    def array(self, x: np.ndarray, dtype: str | None = None) -> Any:
        import jax.numpy as jnp

        with self._precision(dtype or x.dtype):
            return jnp.asarray(x, dtype)

    def call(self, function: str, a: np.ndarray, b: np.ndarray, **options: Any) -> Any:
        import jax

        with self._precision(a.dtype, b.dtype):
            return jax.tree.map(np.asarray, getattr(self.package, function)(a, b, **options))

    def gradient(self, a: np.ndarray, b: np.ndarray, argument: int = 0, **options: Any) -> np.ndarray:
        alpha, mask = options.pop("alpha", 0.9), options.pop("mask", None)
        differentiable = tuple(i for i, x in enumerate((a, b)) if not np.issubdtype(x.dtype, np.integer))
        with self._precision(a.dtype, b.dtype):
            gradients = self._gradients(differentiable, tuple(options.items()))(a, b, alpha, mask)
            return np.asarray(gradients[differentiable.index(argument)])

    @functools.cache  # noqa: B019
    def _gradients(self, arguments: tuple[int, ...], options: tuple) -> Any:
        """One program for both gradients at any alpha: compiling is most of what a test takes."""
        import jax

        loss = functools.partial(self.package.blursim, **dict(options))
        return jax.jit(jax.grad(lambda a, b, alpha, mask: loss(a, b, alpha=alpha, mask=mask), arguments))

    def hessian(self, a: np.ndarray, b: np.ndarray, **options: Any) -> np.ndarray:
        alpha = options.pop("alpha", 0.9)
        with self._precision(a.dtype, b.dtype):
            return np.asarray(self._second_order(tuple(options.items()))(a, b, alpha))

    @functools.cache  # noqa: B019
    def _second_order(self, options: tuple) -> Any:
        """Compiled: step by step it takes a second."""
        import jax

        return jax.jit(jax.hessian(lambda a, b, alpha: self.package.blursim(a, b, alpha=alpha, **dict(options))))

    @staticmethod
    def _precision(*dtypes: Any) -> Any:
        import jax

        return jax.enable_x64(True) if "float64" in map(str, dtypes) else contextlib.nullcontext()


class Torch(Framework):
    """`blursim_torch`."""

    def array(self, x: np.ndarray, dtype: str | None = None) -> Any:
        import torch

        # A copy: arrays that are read-only, or that NumPy counts backwards, are not for PyTorch.
        return torch.tensor(np.array(x, order="C")).to(getattr(torch, dtype or str(x.dtype)))

    def call(self, function: str, a: np.ndarray, b: np.ndarray, **options: Any) -> Any:
        images = (self.array(x) if isinstance(x, np.ndarray) else x for x in (a, b))
        result = getattr(self.package, function)(*images, **self._options(options))
        return tuple(x.numpy() for x in result) if isinstance(result, tuple) else result.numpy()

    def gradient(self, a: np.ndarray, b: np.ndarray, argument: int = 0, **options: Any) -> np.ndarray:
        import torch

        images = [self.array(x) for x in (a, b)]
        images[argument].requires_grad_()
        value = self.package.blursim(*images, **self._options(options))
        return torch.autograd.grad(value, images[argument])[0].numpy()

    def hessian(self, a: np.ndarray, b: np.ndarray, **options: Any) -> np.ndarray:
        import torch

        target = self.array(b)
        value = torch.func.hessian(lambda x: self.package.blursim(x, target, **self._options(options)))
        return value(self.array(a)).numpy()

    def _options(self, options: dict) -> dict:
        return {name: self.array(x) if isinstance(x, np.ndarray) else x for name, x in options.items()}


def load(name: str) -> Framework:
    """The face of the framework of that name, if it is installed."""
    require(name)
    return {"jax": Jax, "torch": Torch}[name](name)
