"""Train a small network with BlurSim, in Flax and Optax, to sharpen photos that a lens blurred.

    python examples/train_flax.py --out deblur

It takes two minutes on two processor cores, and shows what the network does to photos it has not seen. It can be
interrupted and resumed.
"""

import logging
from pathlib import Path
from typing import Any

import command
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import photos
import reporting
from flax import nnx

from blursim_jax import PRESETS, BlurSim, BlurSimTerms

FEATURES, LAYERS, PEAK_LEARNING_RATE = 32, 6, 3e-3
BLURSIM = BlurSim(**PRESETS["training"], channel_axis=-1)


class Network(nnx.Module):
    """Convolutions at half resolution. Their output is added to the blurred photo."""

    def __init__(self, features: int, layers: int, rngs: nnx.Rngs) -> None:
        """Start as the identity: the last layer is zero."""
        self.first = nnx.Conv(12, features, (3, 3), rngs=rngs)
        he_normal = nnx.initializers.he_normal()
        self.middle = nnx.List(
            nnx.Conv(features, features, (3, 3), kernel_init=he_normal, rngs=rngs) for _ in range(layers - 2)
        )
        self.last = nnx.Conv(features, 12, (3, 3), kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, blurred: jax.Array) -> jax.Array:
        """Sharpen photos (N, H, W, 3) with even sides."""
        n, height, width, channels = blurred.shape
        # Every 2 x 2 pixels become one pixel with 12 channels: a quarter of the work, and twice the receptive field.
        x = blurred.reshape(n, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        x = nnx.relu(self.first(x.reshape(n, height // 2, width // 2, 4 * channels)))
        for layer in self.middle:
            x += nnx.relu(layer(x))
        x = self.last(x).reshape(n, height // 2, width // 2, 2, 2, channels)
        return blurred + x.transpose(0, 1, 3, 2, 4, 5).reshape(blurred.shape)


@nnx.jit(static_argnames="loss")
def train_step(
    network: Network,
    optimizer: nnx.Optimizer,
    blurred: jax.Array,
    sharp: jax.Array,
    loss: command.Loss,
) -> tuple[jax.Array, BlurSimTerms]:
    """Take one step, and return the loss and both terms of BlurSim."""

    def compute_loss(network: Network) -> tuple[jax.Array, BlurSimTerms]:
        restored = network(blurred)
        # XLA computes once what the loss and its terms share.
        terms = BLURSIM.terms(restored, sharp)
        match loss:
            case "blursim":
                return BLURSIM(restored, sharp), terms
            case "l1":
                return jnp.mean(jnp.abs(restored - sharp)), terms
            case "mse":
                return jnp.mean((restored - sharp) ** 2), terms

    (value, terms), gradients = nnx.value_and_grad(compute_loss, has_aux=True)(network)
    optimizer.update(network, gradients)
    return value, terms


@nnx.jit
def restore(network: Network, blurred: jax.Array) -> jax.Array:
    """Sharpen one photo (H, W, 3)."""
    return jnp.clip(network(blurred[None])[0], 0, 1)


def make_state(network: Network, optimizer: nnx.Optimizer, curves: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the content of a checkpoint: all that a resumed run needs to end exactly like an uninterrupted one."""
    return {"network": nnx.to_pure_dict(nnx.state((network, optimizer))), "curves": curves}


def open_checkpoints(out: Path) -> ocp.CheckpointManager:
    """Open the checkpoints of a run, of which the last three are kept."""
    options = ocp.CheckpointManagerOptions(max_to_keep=3, enable_async_checkpointing=False)
    folder = (out / "checkpoints").absolute()
    return ocp.CheckpointManager(folder, options=options, item_handlers=ocp.StandardCheckpointHandler())


def load(out: Path, step: int, state: dict[str, Any]) -> dict[str, Any]:
    """Return the checkpoint of a step. Delete later ones, which were being written when the run was killed."""
    with open_checkpoints(out) as checkpoints:
        for later in checkpoints.all_steps():
            if later > step:
                checkpoints.delete(later)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
        return checkpoints.restore(step, args=ocp.args.StandardRestore(abstract))


def main(
    steps: command.Steps = 1800,
    loss: command.LossOption = "blursim",
    out: command.RunFolder = Path("deblur"),
    seed: command.Seed = 0,
    batch_size: command.BatchSize = 8,
    resume: command.Resume = False,
) -> None:
    """Train a small network with BlurSim to sharpen blurred photos, and show what it does to photos held out."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    settings = {"framework": "flax", "steps": steps, "loss": loss, "seed": seed, "batch-size": batch_size}
    settings |= {"features": FEATURES, "layers": LAYERS}
    stop = command.catch_signals()
    first_step = command.open_run(out, resume, settings)

    network = Network(FEATURES, LAYERS, nnx.Rngs(seed))
    learning_rate = optax.warmup_cosine_decay_schedule(0.0, PEAK_LEARNING_RATE, steps // 20, steps)
    optimizer = nnx.Optimizer(network, optax.adam(learning_rate), wrt=nnx.Param)
    curves = {name: np.full(steps, np.nan, np.float32) for name in BlurSimTerms._fields}
    if first_step:
        state = load(out, first_step, make_state(network, optimizer, curves))
        nnx.update((network, optimizer), state["network"])
        curves = state["curves"]

    scenes = photos.training_scenes()
    if stop.is_set():
        command.end_interrupted(first_step, steps)
    with command.show_progress(first_step, steps) as show:
        for step in range(first_step, steps):
            # The batch depends only on the seed and the step.
            batch = photos.training_batch(scenes, np.random.default_rng((seed, step)), batch_size)
            blurred, sharp = map(jnp.asarray, batch)
            value, terms = train_step(network, optimizer, blurred, sharp, loss=loss)
            for name, term in terms._asdict().items():
                curves[name][step] = term
            show(step + 1, f"loss {value:.5f} (general {terms.general:.5f}, specific {terms.specific:.5f})")
            stopping = stop.is_set()
            if stopping or command.is_due(step + 1, steps):
                with open_checkpoints(out) as checkpoints:
                    state = make_state(network, optimizer, curves)
                    checkpoints.save(step + 1, args=ocp.args.StandardSave(state))
                command.write_run(out, settings, step + 1)
            if stopping:
                command.end_interrupted(step + 1, steps)

    pairs = photos.held_out_pairs()
    restored = [np.asarray(restore(network, jnp.asarray(pair.blurred))) for pair in pairs]
    reporting.report(out, pairs, restored, curves, BLURSIM)


if __name__ == "__main__":
    command.run(main)
