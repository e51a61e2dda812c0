"""Draw the pictures of the documentation: `python docs/pictures.py`.

It writes them beside itself, and needs the extra `demo`. All are of real photos that
come with scikit-image, in grey, values in 0..1.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.progress import track
from scipy import ndimage
from skimage import data
from skimage.color import rgb2gray

from blursim_jax import blursim, blursim_maps, blursim_terms

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))
import photos

DOCS = Path(__file__).resolve().parent
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"


def show(
    axes: Axes,
    image: np.ndarray,
    title: str,
    *,
    colours: str = "gray",
    limits: Sequence[float] = (0, 1),
) -> None:
    """One picture under its title."""
    axes.imshow(image, cmap=colours, vmin=limits[0], vmax=limits[1])
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)


def compressed() -> ConstrainedLayoutEngine:
    """A layout without bands between pictures, but with a gap above their titles."""
    return ConstrainedLayoutEngine(compress=True, h_pad=0.08)


def write(figure: Figure, path: Path) -> None:
    """Write a PNG about 1000 pixels wide, with the same margin at every side."""
    figure.savefig(
        path, dpi=990 / figure.get_figwidth(), bbox_inches="tight", pad_inches=0.12
    )


def grey(scene: photos.Scene, focus: float | None = None) -> np.ndarray:
    """The photo sharp, or focused on one nearness."""
    colour = scene.sharp if focus is None else scene.blurred(focus, aperture=7.0)
    return rgb2gray(colour).astype(np.float32)


def terms() -> Figure:
    """What each term sees: a photo in focus, and focused behind its subject."""
    scene = photos.held_out_scenes()[0]
    near, far = grey(scene, 0.9), grey(scene, 0.1)
    black = np.zeros_like(near)
    maps = [
        blursim_maps(*pair) for pair in ((near, black), (far, black), (near, far))
    ]
    figure = Figure(figsize=(9, 7.2), layout=compressed())
    grid = figure.subplots(3, 3)
    for axes, image, title in zip(
        grid[0],
        (near, far),
        ("a: focus on the front", "b: focus on the back"),
        strict=False,
    ):
        show(axes, image, title)
    show(
        grid[0, 2], np.abs(near - far), "|a - b|", colours="cividis", limits=(0, 0.3)
    )
    names = "a", "b", "difference"
    for axes, found, name in zip(grid[1], maps, names, strict=True):
        spectrum = np.log10(np.asarray(found.spectrum) + 0.01)
        show(
            axes,
            spectrum,
            f"General: spectrum, {name}",
            colours="cividis",
            limits=(-2, 4),
        )
    for axes, found, name in zip(grid[2], maps, names, strict=True):
        show(
            axes,
            np.asarray(found.edges),
            f"Specific: edges, {name}",
            colours="cividis",
            limits=(0, 25),
        )
    return figure


def readings() -> Figure:
    """Both terms against blur, at three sizes of a photo, in both normalizations."""
    photo = rgb2gray(data.astronaut()).astype(np.float32)
    figure = Figure(
        figsize=(8, 6), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1)
    )
    grid = figure.subplots(2, 2, sharex=True)
    sigmas = np.linspace(0, 4, 17)
    for row, normalization in zip(grid, ("area", "relative"), strict=True):
        for shrink, colour in ((1, BLUE), (2, ORANGE), (4, GREEN)):
            side = 512 // shrink
            sharp = photo.reshape(side, shrink, side, shrink).mean((1, 3))
            blurred = [
                ndimage.gaussian_filter(sharp, sigma, mode="nearest")
                for sigma in sigmas
            ]
            found = [
                blursim_terms(image, sharp, normalization=normalization)
                for image in blurred
            ]
            for axes, values, name in zip(
                row, zip(*found, strict=True), ("General", "Specific"), strict=True
            ):
                axes.plot(
                    sigmas, values, color=colour, label=f"{side} x {side} pixels"
                )
                axes.set_title(
                    f'{name}, normalization="{normalization}"', fontsize=11
                )
    for axes in grid.ravel():
        axes.set_ylim(0)
    for axes in grid[1]:
        axes.set_xlabel("blur, sigma in pixels")
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3
    )
    return figure


def blind_spots() -> Figure:
    """A photo and what is the same to one term or both."""
    photo = grey(photos.held_out_scenes()[1])[:160, :256]
    others = {
        "2 mean - x": 2 * photo.mean() - photo,
        "turned by 180 degrees": photo[::-1, ::-1],
        "shifted in a circle": np.roll(photo, (40, 90), (0, 1)),
        "brighter by 0.2": photo + 0.2,
        "blurred, for comparison": ndimage.gaussian_filter(photo, 1.5),
    }
    # Two columns: the lines above the pictures can be read on a phone.
    figure = Figure(figsize=(6.5, 8.4), layout=compressed())
    grid = figure.subplots(3, 2).ravel()
    show(grid[0], photo, "x, the target")
    for axes, (name, image) in zip(grid[1:], others.items(), strict=True):
        lines = [name]
        for spectrum in ("magnitude", "complex"):
            general, specific = blursim_terms(
                np.ascontiguousarray(image, np.float32), photo, spectrum=spectrum
            )
            lines.append(
                f"{spectrum}: {abs(float(general)):.3f} and "
                f"{abs(float(specific)):.3f}"
            )
        show(axes, image, "\n".join(lines), limits=(0, 1))
    return figure


def descend(
    start: np.ndarray,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    steps: int = 1500,
) -> jax.Array:
    """What Adam makes of a picture, alpha falling from 0.9 to 0.1."""
    optimizer = optax.adam(optax.cosine_decay_schedule(0.02, steps))

    def advance(carry: tuple, step: jax.Array) -> tuple:
        image, state = carry
        updates, state = optimizer.update(
            jax.grad(loss)(image, 0.9 - 0.8 * step / steps), state
        )
        return (optax.apply_updates(image, updates), state), None

    (image, _), _ = jax.lax.scan(
        advance,
        (jnp.asarray(start), optimizer.init(jnp.asarray(start))),
        jnp.arange(steps),
    )
    return image


def descents() -> Figure:
    """Where descent leads from noise and from a blurred photo, by the loss."""
    photo = grey(photos.held_out_scenes()[1])[:128, 64:192]
    noise = (
        np.random.default_rng(0).uniform(0.3, 0.7, photo.shape).astype(np.float32)
    )
    starts = {"noise": noise, "blurred": ndimage.gaussian_filter(photo, 2.0)}
    losses = {
        'spectrum="magnitude"': lambda x, alpha: blursim(x, photo, alpha=alpha),
        'spectrum="complex"': lambda x, alpha: blursim(
            x, photo, alpha=alpha, spectrum="complex"
        ),
        "magnitude + L1": lambda x, alpha: (
            blursim(x, photo, alpha=alpha) + jnp.abs(x - photo).mean()
        ),
    }
    figure = Figure(figsize=(9, 5.4), layout=compressed())
    grid = figure.subplots(2, 4)
    for row, (name, start) in zip(grid, starts.items(), strict=True):
        show(row[0], start, f"start: {name}")
        for axes, (title, loss) in zip(row[1:], losses.items(), strict=True):
            image = descend(start, loss)
            rmse = float(jnp.sqrt(jnp.mean((image - photo) ** 2)))
            show(axes, np.asarray(image), f"{title}\nRMSE {rmse:.3f}")
    return figure


PICTURES = {
    "terms": terms,
    "readings": readings,
    "blind_spots": blind_spots,
    "descents": descents,
}

if __name__ == "__main__":
    for name, draw in track(PICTURES.items(), "Drawing"):
        write(draw(), DOCS / f"{name}.png")
