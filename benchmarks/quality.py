"""Test how well measures rank blurred images as people do: `python -m benchmarks.quality --data FOLDER`.

FOLDER holds one of these data sets, with the files that its authors distribute. The files tell which data set it is.
Only the blurred images are used:

- TID2013 (`mos_with_names.txt`): distortion 8. A rebuild of its blurred part works too (`scores.csv`, `ref`, `dist`).
- LIVE release 2 (`gblur/info.txt`, `refimgs`, `dmos.mat`): the Gaussian blur.
- KADID-10k (`dmos.csv`, `images`): distortions 1 to 3.

Images are compared as luma. PSNR, SSIM, MS-SSIM and GMSD use values in 0..255. SSIM is scikit-image's, at full
resolution. "SSIM, downsampled" is as its authors compute it, with a Gaussian window, after averaging to a shorter side
of about 256. SROCC and KROCC are the absolute rank correlations with people's scores. PLCC is the absolute linear
correlation after fitting a logistic curve with five parameters. The interval holds the SROCC of 95 % of 1000 bootstrap
samples of the reference photos. Where the data set gives the strength of the blur, the strength is listed as a measure
too. A measure that does not beat it says nothing about the pictures.
"""

import argparse
import csv
import itertools
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.progress import track
from scipy import io, ndimage, optimize, signal, stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from benchmarks import page
from blursim_jax import blursim_terms
from blursim_jax._checks import NORMALIZATIONS, SPECTRA
from blursim_jax.cli.images import read

ALPHAS = 0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0
SAMPLES = 1000


class Item(NamedTuple):
    """A blurred image, its reference, people's score of it, and the strength of its blur (NaN if unknown)."""

    image: Path
    reference: Path
    score: float
    strength: float


def items_of(folder: Path) -> list[Item]:
    """Return the blurred images of a data set, in any of the known layouts."""
    for file, load in LAYOUTS.items():
        if (folder / file).exists():
            return list(load(folder))
    raise SystemExit(f"{folder}: expected {' or '.join(LAYOUTS)}, as the data sets have them")


def _rebuilt(folder: Path) -> Iterator[Item]:
    with (folder / "scores.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            image, reference = folder / "dist" / row["image"], folder / "ref" / row["ref"]
            yield Item(image, _found(reference), float(row["mos"]), float(row["sigma"]))


def _tid2013(folder: Path) -> Iterator[Item]:
    for line in (folder / "mos_with_names.txt").read_text().splitlines():
        score, name = line.split()
        scene, distortion, level = name.lower().removesuffix(".bmp").split("_")
        if distortion == "08":
            reference = _found(folder / "reference_images" / f"{scene.upper()}.BMP")
            yield Item(_found(folder / "distorted_images" / name), reference, float(score), float(level))


def _live(folder: Path) -> Iterator[Item]:
    # All images are listed by distortion: 227 JPEG 2000, 233 JPEG, 174 noise, then blur.
    mat = io.loadmat(folder / "dmos.mat")
    scores, originals = mat["dmos"].ravel()[634:808], mat["orgs"].ravel()[634:808]
    for line in (folder / "gblur" / "info.txt").read_text().splitlines():
        if len(words := line.split()) == 3:
            reference, image, strength = words
            number = int("".join(filter(str.isdigit, image)))
            if not originals[number - 1]:
                reference = _found(folder / "refimgs" / reference)
                yield Item(_found(folder / "gblur" / image), reference, float(scores[number - 1]), float(strength))


def _kadid(folder: Path) -> Iterator[Item]:
    with (folder / "dmos.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            _, distortion, level = Path(row["dist_img"]).stem.split("_")
            if distortion in ("01", "02", "03"):
                images = (folder / "images" / row[name] for name in ("dist_img", "ref_img"))
                yield Item(*images, score=float(row["dmos"]), strength=float(level))


LAYOUTS: dict[str, Callable[[Path], Iterator[Item]]] = {
    "scores.csv": _rebuilt,
    "mos_with_names.txt": _tid2013,
    "gblur/info.txt": _live,
    "dmos.csv": _kadid,
}


def _found(path: Path) -> Path:
    """Return the file with this name, ignoring case."""
    return next((x for x in path.parent.iterdir() if x.stem.lower() == path.stem.lower()), path)


def measure(items: list[Item]) -> dict[str, np.ndarray]:
    """Compute every measure for every image, and BlurSim in every reading, with the kernel of size 5."""
    import torch
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    values: dict[str, list[float]] = {}

    def add(name: str, value: Any) -> None:
        values.setdefault(name, []).append(float(value))

    for item in track(items, "Comparing"):
        a, b = (read(path, color=False, max_pixels=2**25).pixels for path in (item.image, item.reference))
        add("strength of the blur", item.strength)
        add("PSNR", peak_signal_noise_ratio(b, a, data_range=255))
        add("SSIM", structural_similarity(b, a, data_range=255))
        add("SSIM, downsampled", ssim_downsampled(a, b))
        add("MS-SSIM", ms_ssim(torch.tensor(a)[None, None], torch.tensor(b)[None, None], data_range=255.0))
        add("GMSD", gmsd(a, b))
        for spectrum, normalization in itertools.product(SPECTRA, NORMALIZATIONS):
            terms = blursim_terms(a, b, spectrum=spectrum, normalization=normalization, data_range=255.0)
            general, specific = map(float, terms)
            for alpha in ALPHAS:
                add(f"{spectrum}, {normalization}, {alpha}", (1 - alpha) * general + alpha * specific)
    return {name: np.array(found) for name, found in values.items()}


def ssim_downsampled(a: np.ndarray, b: np.ndarray) -> float:
    """Compute SSIM for values in 0..255 as its authors' program does (Wang, Bovik, Sheikh and Simoncelli, 2004)."""
    step = max(1, round(min(a.shape) / 256))
    x, y = (ndimage.uniform_filter(z.astype(np.float64), step)[::step, ::step] for z in (a, b))
    options: Any = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    return float(np.asarray(structural_similarity(y, x, **options)))


def gmsd(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the gradient magnitude similarity deviation for values in 0..255 (Xue, Zhang, Mou and Bovik, 2014)."""
    prewitt = np.array([[1, 0, -1]] * 3) / 3

    def gradient(x: np.ndarray) -> np.ndarray:
        x = signal.convolve2d(x, np.full((2, 2), 0.25), mode="same")[::2, ::2]
        horizontal, vertical = (signal.convolve2d(x, kernel, mode="same") for kernel in (prewitt, prewitt.T))
        return np.hypot(horizontal, vertical)

    x, y = map(gradient, (a.astype(np.float64), b.astype(np.float64)))
    return float(np.std((2 * x * y + 170) / (x * x + y * y + 170)))


class Rank(NamedTuple):
    """The SROCC, KROCC and PLCC of a measure, and the interval of its SROCC."""

    srocc: float
    krocc: float
    plcc: float
    low: float
    high: float


def rank(values: np.ndarray, items: list[Item]) -> Rank:
    """Correlate a measure with people's scores."""
    scores = np.array([item.score for item in items])
    references = np.array([str(item.reference) for item in items])
    names, generator = np.unique(references), np.random.default_rng(0)
    places = {name: np.flatnonzero(references == name) for name in names}
    samples = []
    for _ in range(SAMPLES):
        chosen = np.concatenate([places[name] for name in generator.choice(names, len(names))])
        samples.append(abs(_correlation(stats.spearmanr, values[chosen], scores[chosen])))
    low, high = np.quantile(samples, (0.025, 0.975))
    srocc, krocc = (abs(_correlation(kind, values, scores)) for kind in (stats.spearmanr, stats.kendalltau))
    return Rank(srocc, krocc, abs(_correlation(stats.pearsonr, _fitted(values, scores), scores)), low, high)


def _correlation(kind: Callable[..., Any], x: np.ndarray, y: np.ndarray) -> float:
    return float(kind(x, y).statistic)


def _fitted(values: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Predict the scores from the values by fitting a logistic curve with five parameters, as is usual before PLCC."""

    def curve(x: np.ndarray, a: float, b: float, c: float, d: float, e: float) -> np.ndarray:
        return a * (0.5 - 1 / (1 + np.exp(np.clip(b * (x - c), -50, 50)))) + d * x + e

    x = (values - values.mean()) / values.std()
    slope = np.sign(_correlation(stats.spearmanr, x, scores))
    start = (slope * np.ptp(scores), 1, 0, 0, scores.mean())
    try:
        best, _ = optimize.curve_fit(curve, x, scores, start, maxfev=50_000)
    except RuntimeError:
        # The fit does not converge: PLCC is NaN.
        return np.full_like(x, np.nan)
    return curve(x, *best)


def table(ranks: dict[str, Rank]) -> str:
    """Return the Markdown table. It shows each kind of BlurSim at alpha 0.8 and at its best alpha here."""
    ours = {name: found for name, found in ranks.items() if name.split(",")[0] in SPECTRA}
    shown = {name: found for name, found in ranks.items() if name not in ours}
    shown |= {"BlurSim magnitude, area, 0.9 (the default)": ours["magnitude, area, 0.9"]}
    shown |= {f"Specific alone, {x}": ours[f"magnitude, {x}, 1.0"] for x in ("area", "relative")}
    for normalization in ("area", "relative"):
        for spectrum in SPECTRA:
            kind = {n: f for n, f in ours.items() if n.startswith(f"{spectrum}, {normalization}, ")}
            best = max(kind, key=lambda n: kind[n].srocc)
            fixed = f"{spectrum}, {normalization}, 0.8"
            labels = {fixed: fixed, best: f"{best} (best alpha)"}
            shown |= {f"BlurSim {label}": kind[name] for name, label in labels.items()}
    lines = ["| measure | SROCC | 95 % | KROCC | PLCC |", "|---|---|---|---|---|"]
    for name, r in shown.items():
        lines.append(f"| {name} | {r.srocc:.3f} | {r.low:.3f} to {r.high:.3f} | {r.krocc:.3f} | {r.plcc:.3f} |")
    return "\n".join(lines)


def draw(values: dict[str, np.ndarray], items: list[Item], names: list[str]) -> Figure:
    """Plot people's scores against some measures."""
    scores = [item.score for item in items]
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    figure = Figure(figsize=(8, 3 * math.ceil(len(names) / 2)), layout=layout)
    grid = figure.subplots(math.ceil(len(names) / 2), 2, sharey=True)
    for axes, name in zip(grid.ravel(), names, strict=True):
        axes.scatter(values[name], scores, s=12, color="#0072b2", alpha=0.6, linewidths=0)
        axes.set(xlabel=name)
    for axes in grid[:, 0]:
        axes.set_ylabel("people's score")
    return figure


def main() -> None:
    """Measure, print the table, and write the files asked for."""
    parser = argparse.ArgumentParser(description="How well measures rank blurred images as people do.")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the data set")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all values and ranks")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="write scatter plots, a PNG")
    arguments = parser.parse_args()
    items = items_of(arguments.data)
    values = {name: found for name, found in measure(items).items() if np.isfinite(found).all()}
    ranks = {name: rank(found, items) for name, found in track(values.items(), "Ranking")}
    print(f"{len(items)} images of {len({item.reference for item in items})} photos\n")
    print(table(ranks))
    if arguments.json:
        content = {
            "ranks": {n: r._asdict() for n, r in ranks.items()},
            "values": {n: v.tolist() for n, v in values.items()},
        }
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")
    if arguments.figure:
        shown = ["SSIM", "GMSD", "magnitude, area, 0.9", "log, relative, 0.8"]
        draw(values, items, shown).savefig(arguments.figure, dpi=110, **page.MARGIN)


if __name__ == "__main__":
    main()
