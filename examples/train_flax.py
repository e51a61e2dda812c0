"""Train a small network with BlurSim, in Flax and Optax, to sharpen photos that a lens blurred.

    python examples/train_flax.py --out deblur

It takes two minutes on two processor cores, shows what it does to photos it has not seen, and can be interrupted.
The network and its training step are in deblur_flax.py. The L1 distance beside BlurSim is what sees the faint patterns
in flat parts, to which magnitudes of spectra and edges are almost blind.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import training

if TYPE_CHECKING:
    from deblur_flax import Run


def make_run(out: Path, settings: dict[str, Any]) -> "Run":
    """Import Flax and start at step 0."""
    from deblur_flax import Run

    logging.getLogger("absl").setLevel(logging.ERROR)
    return Run(out, settings)


if __name__ == "__main__":
    training.run("flax", make_run)
