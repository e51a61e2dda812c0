"""Measure how far the packages are from each other and from the reference: `python tests/measure_parity.py`.

Prints a Markdown table of the largest relative differences of values and gradients (in the L2 norm), over images of
several sizes: noise, and photos, blurred and sharp.
"""

import itertools
from typing import Any

import cv2
import numpy as np
import reference
from cases import SPECTRA
from frameworks import load
from rich.console import Console
from rich.progress import track
from skimage import data

SHAPES = ((32, 32), (33, 47), (64, 61), (97, 100))


def main() -> None:
    """Compare, then print the table."""
    # PyTorch first: loaded after JAX, it may find its libraries taken.
    torch, jax = load("torch"), load("jax")
    names = ("JAX from reference", "PyTorch from reference", "PyTorch from JAX")
    found: dict[tuple[str, str, str], list[list[float]]] = {}
    dtypes, kinds = ("float64", "float32"), ("noise", "photos")
    cases = list(itertools.product(SPECTRA, dtypes, kinds, SHAPES, ("area", "relative")))
    for spectrum, dtype, kind, shape, normalization in track(cases, console=Console(stderr=True), transient=True):
        exact_a, exact_b = images(kind, shape)
        a, b = exact_a.astype(dtype), exact_b.astype(dtype)
        options: dict[str, Any] = {"spectrum": spectrum, "normalization": normalization}
        of_values = [framework.terms(a, b, **options) for framework in (jax, torch)]
        of_values.append(np.array(reference.terms(exact_a, exact_b, **options)))
        rows = [errors(x, y) for j, t, r in zip(*of_values, strict=True) for x, y in pairs(j, t, r)]
        exact = reference.gradients(exact_a, exact_b, **options)
        gradients = []
        for alpha, of_reference in zip((0.0, 1.0), exact, strict=True):
            of_jax, of_torch = (framework.gradient(a, b, alpha=alpha, **options) for framework in (jax, torch))
            gradients += [errors(x, y) for x, y in pairs(of_jax, of_torch, of_reference)]
        for what, numbers in (("value", rows), ("gradient", gradients)):
            # `np.max` returns NaN if there is one; `max` may not.
            worst = [np.max(numbers[i::3]) for i in range(3)]
            found.setdefault((dtype, what, spectrum), []).append(worst)
    print(f"| | {' | '.join(names)} |\n|---|---|---|---|")
    for (dtype, what, spectrum), numbers in sorted(found.items(), reverse=True):
        figures = " | ".join(f"{x:.0e}" for x in np.max(numbers, axis=0))
        print(f'| {dtype} {what}s, `"{spectrum}"` | {figures} |')


def images(kind: str, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a target in 0..1: noise that float32 holds exactly, or a photo of 8 bits, blurred and sharp."""
    if kind == "noise":
        a, b = np.random.default_rng(0).random((2, *shape), np.float32).astype(np.float64)
        return a, b
    sharp = data.camera()[100 : 100 + shape[0], 180 : 180 + shape[1]]
    return cv2.GaussianBlur(sharp, (0, 0), 1.5) / 255, sharp / 255


def pairs(of_jax: np.ndarray, of_torch: np.ndarray, exact: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """The pairs to compare."""
    return (of_jax, exact), (of_torch, exact), (of_torch, of_jax)


def errors(actual: np.ndarray, expected: np.ndarray) -> float:
    """The L2 norm of the difference over that of what is expected."""
    actual, expected = (np.atleast_1d(x).astype(np.float64) for x in (actual, expected))
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


if __name__ == "__main__":
    main()
