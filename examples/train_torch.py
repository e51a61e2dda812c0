"""Train a small network with BlurSim, in PyTorch, to sharpen photos that a lens blurred.

    python examples/train_torch.py --out deblur

It takes a minute or two on two processor cores, shows what it does to photos it has not seen, and can be interrupted.
The network and its training step are in deblur_torch.py. It is the job of train_flax.py, crop for crop.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import training

if TYPE_CHECKING:
    from deblur_torch import Run


def make_run(out: Path, settings: dict[str, Any]) -> "Run":
    """Import PyTorch and start at step 0."""
    # Read once, on import. By default threads wait in a busy loop for milliseconds, and where another program keeps a
    # core busy, a step takes twenty times as long.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from deblur_torch import Run

    return Run(out, settings)


if __name__ == "__main__":
    training.run("torch", make_run)
