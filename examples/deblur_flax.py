"""A small residual network in Flax, its training step with BlurSim, and its checkpoints with Orbax."""

from pathlib import Path
from typing import Any

import command
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import photos
from flax import nnx

from blursim_jax import BlurSimTerms, blursim, blursim_terms

PEAK_LEARNING_RATE = 3e-3


class Network(nnx.Module):
    """Convolutions at half resolution, whose output is added to the blurred photo."""

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
        # Every 2 x 2 pixels become 12 channels of one: a quarter of the work, and twice the reach.
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
    alpha: jax.Array,
    loss: command.Loss,
) -> tuple[jax.Array, BlurSimTerms]:
    """Take one step; return the loss and both terms. `alpha` is data: changing it does not recompile."""

    def compute_loss(network: Network) -> tuple[jax.Array, BlurSimTerms]:
        restored = network(blurred)
        terms = blursim_terms(restored, sharp, channel_axis=-1)
        mixed = (1 - alpha) * terms.general + alpha * terms.specific
        error = restored - sharp
        waves = jnp.fft.rfft2(error, axes=(-3, -2), norm="ortho")
        ffts = jnp.mean(jnp.abs(waves.real) + jnp.abs(waves.imag)) / 2
        match loss:
            case "ffts+blursim":
                return ffts + 0.3 * mixed, terms
            case "blursim":
                return mixed, terms
            case "ffts":
                return ffts, terms
            case "l1":
                return jnp.mean(jnp.abs(error)), terms
            case "mse":
                return jnp.mean(error**2), terms

    (value, terms), gradients = nnx.value_and_grad(compute_loss, has_aux=True)(network)
    optimizer.update(network, gradients)
    return value, terms


@nnx.jit
def restore(network: Network, blurred: jax.Array) -> jax.Array:
    """Sharpen one photo (H, W, 3)."""
    return jnp.clip(network(blurred[None])[0], 0, 1)


class Run:
    """A network in training with all that a resumed run needs to end as one that was never interrupted."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        """Start at step 0; nothing is written before `save`."""
        self.out, self.settings, self.step = out, settings, 0
        steps = settings["steps"]
        self.network = Network(settings["features"], settings["layers"], nnx.Rngs(settings["seed"]))
        rate = optax.warmup_cosine_decay_schedule(0.0, PEAK_LEARNING_RATE, steps // 20, steps)
        self.optimizer = nnx.Optimizer(self.network, optax.adam(rate), wrt=nnx.Param)
        self.alpha = optax.linear_schedule(0.9, 0.1, steps)
        self.curves = {name: np.full(steps, np.nan, np.float32) for name in BlurSimTerms._fields}

    def restore(self, blurred: np.ndarray) -> np.ndarray:
        """Sharpen one photo (H, W, 3)."""
        return np.asarray(restore(self.network, jnp.asarray(blurred)))

    def compare(self, image: np.ndarray, sharp: np.ndarray) -> jax.Array:
        """BlurSim of two photos (H, W, 3)."""
        return blursim(image, sharp, alpha=0.5, channel_axis=-1)

    def alphas(self) -> np.ndarray:
        """The weight of Specific at every step."""
        return np.asarray(self.alpha(np.arange(self.settings["steps"])))

    def advance(self, scenes: list[photos.Scene]) -> float:
        """Take a step and return the loss. The batch depends on the seed and the step alone."""
        rng = np.random.default_rng((self.settings["seed"], self.step))
        blurred, sharp = photos.training_batch(scenes, rng, self.settings["batch-size"])
        alpha = self.alpha(self.step)
        loss, terms = train_step(self.network, self.optimizer, blurred, sharp, alpha, loss=self.settings["loss"])
        for name, value in terms._asdict().items():
            self.curves[name][self.step] = value
        self.step += 1
        return float(loss)

    def save(self) -> None:
        """Keep a checkpoint of this step, beside the two before it, and note that the run has come this far."""
        with self._checkpoints() as checkpoints:
            checkpoints.save(self.step, args=ocp.args.StandardSave(self._state()))
        command.write_run(self.out, self.settings, self.step)

    def load(self, step: int) -> None:
        """Go on from the checkpoint of a step.

        Raises:
            UserError: If it is of another network.
        """
        with self._checkpoints() as checkpoints:
            expected = self._state()
            # Compared beforehand, because Orbax fills the screen on a mismatch.
            if _shapes(checkpoints.item_metadata(step)) != _shapes(expected):
                raise command.UserError(f"the checkpoint of step {step} in {self.out} is of another network")
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, expected)
            state = checkpoints.restore(step, args=ocp.args.StandardRestore(abstract))
            # A later one was being written when the run was killed.
            for later in checkpoints.all_steps():
                if later > step:
                    checkpoints.delete(later)
        nnx.update((self.network, self.optimizer), state["network"])
        self.curves, self.step = state["curves"], step

    def _state(self) -> dict[str, Any]:
        return {"network": nnx.to_pure_dict(nnx.state((self.network, self.optimizer))), "curves": self.curves}

    def _checkpoints(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(max_to_keep=3, enable_async_checkpointing=False)
        folder = (self.out / "checkpoints").absolute()
        return ocp.CheckpointManager(folder, options=options, item_handlers=ocp.StandardCheckpointHandler())


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in leaves}
