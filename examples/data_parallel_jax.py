"""Train with BlurSim in JAX on batches split over several devices, and compare with a run on one device.

    python examples/data_parallel_jax.py --devices 4

If there are fewer GPUs or TPUs than `--devices`, JAX splits the CPU into that many devices instead. On several
machines, call `jax.distributed.initialize()` first, and make each batch with `jax.make_array_from_process_local_data`.
Nothing else changes. The photos and the network are those of train_flax.py.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import command
import numpy as np
import typer
from rich.console import Console
from rich.progress import track

if TYPE_CHECKING:
    from jax.sharding import Mesh


def train(mesh: "Mesh", steps: int, batch_size: int, console: Console) -> np.ndarray:
    """Train on photos split over the devices of the mesh, and return the loss of every step."""
    import jax
    import jax.numpy as jnp
    import optax
    import photos
    from flax import nnx
    from jax.sharding import NamedSharding, PartitionSpec
    from train_flax import Network

    from blursim_jax.sharding import blursim_data_parallel

    network = Network(16, 4, nnx.Rngs(0))
    optimizer = nnx.Optimizer(network, optax.adam(1e-3), wrt=nnx.Param)
    # Every device holds a copy of the network and the optimizer.
    nnx.update(
        (network, optimizer), jax.device_put(nnx.state((network, optimizer)), NamedSharding(mesh, PartitionSpec()))
    )
    by_photo = NamedSharding(mesh, PartitionSpec("batch"))
    schedule = optax.linear_schedule(0.9, 0.1, steps)

    @nnx.jit
    def step(
        network: Network, optimizer: nnx.Optimizer, blurred: jax.Array, sharp: jax.Array, alpha: jax.Array
    ) -> jax.Array:
        def compute_loss(network: Network) -> jax.Array:
            restored = network(blurred)
            l1 = jnp.mean(jnp.abs(restored - sharp))
            return l1 + blursim_data_parallel(
                restored, sharp, mesh=mesh, axis_name="batch", alpha=alpha, channel_axis=-1
            )

        loss, gradients = nnx.value_and_grad(compute_loss)(network)
        optimizer.update(network, gradients)
        return loss

    scenes, losses = photos.training_scenes(), []
    name = f"{mesh.size} device{'s' if mesh.size > 1 else ''}"
    rounds = track(range(steps), name, console=console, disable=not console.is_terminal)
    for i in rounds:
        batch = photos.training_batch(scenes, np.random.default_rng(i), batch_size)
        blurred, sharp = jax.device_put(batch, by_photo)
        losses.append(float(step(network, optimizer, blurred, sharp, jnp.asarray(schedule(i)))))
        if not console.is_terminal and (i + 1) % max(1, steps // 4) == 0:
            console.print(f"{name}, step {i + 1} of {steps}: loss {losses[-1]:.5f}")
    return np.array(losses)


def main(
    devices: Annotated[int, typer.Option(min=2, help="Over how many devices to spread a batch.")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="How many steps to train.")] = 40,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops a step; a multiple of the devices.")] = 8,
    out: Annotated[Path, typer.Option(help="The picture of the losses to write, a PNG.")] = Path("data_parallel.png"),
    force: Annotated[bool, typer.Option("--force", help="Replace a picture that is there.")] = False,
) -> None:
    """Train on several devices and on one, and compare."""
    command.check_file(out, force)
    if batch_size % devices:
        raise command.UserError(f"--batch-size {batch_size} is no multiple of --devices {devices}")
    import jax
    import reporting
    from jax.sharding import Mesh

    jax.config.update("jax_num_cpu_devices", devices)
    found = jax.devices() if len(jax.devices()) >= devices else jax.devices("cpu")
    console = Console()
    meshes = {f"{devices} devices": Mesh(found[:devices], ("batch",)), "1 device": Mesh(found[:1], ("batch",))}
    curves = {name: train(mesh, steps, batch_size, console) for name, mesh in meshes.items()}
    reporting.report_losses(curves, out, console)


if __name__ == "__main__":
    command.run(main)
