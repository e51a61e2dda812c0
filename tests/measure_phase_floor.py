"""Measure what `PHASE_FLOOR` of `_transforms.py` costs: `python tests/measure_phase_floor.py [jax|torch]`, minutes.

Prints a Markdown table of the relative error of General's gradient in float32 by the value of the constant, for images
of which some frequencies are 0 or nearly. If it is too small, rounding errors get a phase. If it is too large, true
frequencies lose theirs.
"""

import argparse
import importlib
from typing import Any

import cv2
import numpy as np
import reference
from cases import relative_error, zoo
from frameworks import load
from rich.console import Console
from rich.progress import track
from skimage import data

FLOORS = (0, 4, 8, 16, 32, 64, 128, 256)


def images(height: int, width: int) -> dict[str, np.ndarray]:
    """The images of the tests, and others of which whole bands of frequencies are 0."""
    photo = (data.camera() / np.float32(255)).astype(np.float32)
    half = cv2.resize(photo, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    whole = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    return zoo((height, width)) | {
        "tiled": np.tile(np.random.default_rng(3).random((height // 4, width // 4), np.float32), (4, 4)),
        "photo, pixels doubled": half.repeat(2, 0).repeat(2, 1),
        "blurred photo": cv2.GaussianBlur(whole, (0, 0), 2),
    }


def main() -> None:
    """Measure, then print the table."""
    parser = argparse.ArgumentParser(description="The error of the gradient by the constant PHASE_FLOOR.")
    parser.add_argument("framework", nargs="?", choices=("jax", "torch"), default="torch")
    name = parser.parse_args().framework
    framework = load(name)
    module: Any = importlib.import_module(f"blursim_{name}._transforms")
    cases = [(shape, kind, a) for shape in ((96, 100), (1024, 1024)) for kind, a in images(*shape).items()]
    exact = [reference.gradients(a, np.random.default_rng(1).random(a.shape, np.float32))[0] for *_, a in cases]
    errors = np.zeros((len(cases), len(FLOORS)))
    for j, module.PHASE_FLOOR in track(list(enumerate(FLOORS)), console=Console(stderr=True)):
        if name == "jax":
            importlib.import_module("jax").clear_caches()
        for i, (*_, a) in enumerate(cases):
            noise = np.random.default_rng(1).random(a.shape, np.float32)
            errors[i, j] = relative_error(framework.gradient(a, noise, alpha=0.0), exact[i])
    print("| size | image |", " | ".join(map(str, FLOORS)), "|\n|---|---|" + "---|" * len(FLOORS))
    for (shape, kind, _), row in zip(cases, errors, strict=True):
        print(f"| {shape[0]}x{shape[1]} | {kind} |", " | ".join(f"{x:.0e}" for x in row), "|")


if __name__ == "__main__":
    main()
