"""Compare BlurSim with MSE, L1 and SSIM on real photos, in a table and in pictures of edges and spectra.

    python examples/compare_images.py --out compare_images.png

The reference is the motorcycle scene, focused on the background. All images are grey, with values in 0..1.
"""

from pathlib import Path
from typing import Annotated, Literal

import command
import numpy as np
import photos
import reporting
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from scipy import ndimage
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from blursim_jax import blursim, blursim_maps

ALPHA = 0.8
SPECTRA: tuple[Literal["magnitude", "complex", "log"], ...] = "magnitude", "complex", "log"


def load_images() -> dict[str, np.ndarray]:
    """Return the reference first, then the images to compare with it. All are grey (H, W), of one size."""
    motorcycle, coffee, _ = photos.held_out_scenes()
    background = motorcycle.blurred(focus=0.1, aperture=6.0)
    colour = {
        "itself": background,
        "other focus": motorcycle.blurred(focus=0.9, aperture=6.0),
        "another photo": coffee.sharp,
        "slight blur": ndimage.gaussian_filter(background, (0.7, 0.7, 0)),
    }
    height = min(len(image) for image in colour.values())
    return {name: rgb2gray(image[:height]).astype(np.float32) for name, image in colour.items()}


def make_table(images: dict[str, np.ndarray]) -> Table:
    """Compare every image with the first."""
    reference = next(iter(images.values()))
    table = Table(
        title="Reference: the motorcycle, focus on the background",
        caption=f"Grey, values in 0..1. BlurSim: alpha {ALPHA}, normalization area. The same: 0, in SSIM 1.",
    )
    table.add_column("Image", no_wrap=True)
    for heading in (*(f"BlurSim\n{spectrum}" for spectrum in SPECTRA), "MSE", "L1", "SSIM"):
        table.add_column(heading, justify="right")
    for name, image in images.items():
        values = [blursim(image, reference, alpha=ALPHA, spectrum=spectrum) for spectrum in SPECTRA]
        error = image - reference
        values += [np.mean(error**2), np.mean(np.abs(error)), structural_similarity(image, reference, data_range=1.0)]
        table.add_row(name, *(f"{float(value):.4f}" for value in values))
    return table


def draw(images: dict[str, np.ndarray]) -> Figure:
    """Draw one row per image: the image, its edges and spectrum, and where both differ from the reference's."""
    reference = next(iter(images.values()))
    rows = []
    for image in images.values():
        # The difference from a black image is the image itself.
        of_image, difference = blursim_maps(image, np.zeros_like(image)), blursim_maps(image, reference)
        spectra = (np.log10(np.asarray(maps.spectrum) + 0.01) for maps in (of_image, difference))
        edges = (np.asarray(maps.edges) for maps in (of_image, difference))
        rows.append((image, *edges, *spectra))
    figure = Figure(figsize=(12, 1.75 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 5)
    titles = ("image", "edges", "difference of edges", "spectrum (log10)", "difference (log10)")
    for column, title in enumerate(titles):
        panels = [row[column] for row in rows]
        shown = None
        for axes, panel in zip(grid[:, column], panels, strict=True):
            shown = axes.imshow(
                panel,
                cmap="gray" if title == "image" else "cividis",
                vmin=min(panel.min() for panel in panels),
                vmax=max(panel.max() for panel in panels),
            )
            axes.set(xticks=[], yticks=[])
        grid[0, column].set_title(title)
        if shown is not None:
            figure.colorbar(shown, ax=grid[:, column], orientation="horizontal", shrink=0.9, aspect=30, pad=0.01)
    for axes, name in zip(grid[:, 0], images, strict=True):
        axes.set_ylabel(name)
    return figure


def main(
    out: Annotated[Path, typer.Option(help="The picture to write, a PNG.")] = Path("compare_images.png"),
    force: Annotated[bool, typer.Option("--force", help="Replace a picture that is there.")] = False,
) -> None:
    """Compare real photos by BlurSim, MSE, L1 and SSIM, and draw their edges, spectra and differences."""
    command.check_file(out, force)
    images = load_images()
    reporting.save_figure(draw(images), out)
    console = Console()
    console.print(make_table(images))
    console.print(f"Wrote {out}.", soft_wrap=True)


if __name__ == "__main__":
    command.run(main)
