"""Several processes, by `torch.distributed` (gloo) and `jax.distributed`, against one that has all the data."""

import datetime
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import FLOAT32, relative_error
from frameworks import require
from processes import in_new_processes, new_processes

pytestmark = pytest.mark.system
# How many images each process has: unequal shares, one of them none, and equal ones.
SHARES = [[3, 0], *(pytest.param(n, marks=pytest.mark.slow) for n in ([1, 4, 0, 3], [1, 5], [3, 3], [2, 2, 2, 2]))]
shares = pytest.mark.parametrize("counts", SHARES, ids=str)


def photos_like(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Blurred and sharp images (N, 3, 16, 16), the same in every process."""
    sharp = np.random.default_rng(0).random((count, 3, 16, 16), np.float32)
    return (sharp + np.roll(sharp, 1, -1) + np.roll(sharp, 1, -2)) / 3, sharp


def distance(found: Any, expected: Any) -> float:
    """Relative, in the L2 norm over all arrays."""
    return relative_error(
        *(np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in xs]) for xs in (found, expected))
    )


def in_torch(rank: int, world: int, meeting: dict[str, str], counts: list[int]) -> dict[str, float]:
    """The recipes of the documentation for DDP, FSDP and the metric: how far from one process each one is."""
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor
    from torch.nn.parallel import DistributedDataParallel

    from blursim_torch import blursim, blursim_terms
    from blursim_torch.metrics import BlurSimMetric

    timeout = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", f"file://{meeting['file']}", timeout, world, rank)

    def network() -> torch.nn.Module:
        torch.manual_seed(0)
        layers = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 3, 3, padding=1)
        return torch.nn.Sequential(*layers)

    blurred, sharp = map(torch.from_numpy, photos_like(sum(counts)))
    own = slice(sum(counts[:rank]), sum(counts[: rank + 1]))

    def global_mean(restored: torch.Tensor, sharp: torch.Tensor) -> torch.Tensor:
        """What DDP and FSDP, which average over processes, make the mean over all images."""
        count = torch.tensor(len(sharp))
        dist.all_reduce(count)
        return blursim(restored, sharp, channel_axis=-3, reduction="sum") * dist.get_world_size() / count

    def value_and_gradients(model: torch.nn.Module) -> tuple[list, list]:
        loss = global_mean(model(blurred[own]), sharp[own])
        loss.backward()
        total = loss.detach().clone()
        dist.all_reduce(total)
        gradients = [p.grad for p in model.parameters()]
        return [total / world], [g.full_tensor() if isinstance(g, DTensor) else g for g in gradients]

    one = network()
    expected = blursim(one(blurred), sharp, channel_axis=-3)
    expected.backward()
    wanted = [expected.detach()], [p.grad for p in one.parameters()]

    ddp = value_and_gradients(DistributedDataParallel(network()))
    sharded = network()
    fully_shard(sharded, mesh=init_device_mesh("cpu", (world,)))
    fsdp = value_and_gradients(sharded)

    metric = BlurSimMetric(channel_axis=-3)
    metric.update(blurred[own], sharp[own])
    terms = blursim_terms(blurred, sharp, channel_axis=-3)
    value = blursim(blurred, sharp, channel_axis=-3)
    found = {
        "ddp value": distance(ddp[0], wanted[0]),
        "ddp gradient": distance(ddp[1], wanted[1]),
        "fsdp value": distance(fsdp[0], wanted[0]),
        "fsdp gradient": distance(fsdp[1], wanted[1]),
        "metric": distance([metric.compute()], [value]),
        "metric's terms": distance(metric.compute_terms(), terms),
        # Synchronizing leaves the process its own part.
        "own count": abs(int(metric.count) - counts[rank]),
    }
    dist.destroy_process_group()
    return found


@shares
def test_torch(counts: list[int]) -> None:
    require("torch", "torchmetrics")
    for found in in_new_processes(in_torch, len(counts), counts):
        assert all(x <= FLOAT32.value for x in found.values()), found


def in_jax(rank: int, world: int, meeting: dict[str, str], counts: list[int]) -> dict[str, float]:
    """Batches, filled up where shares are unequal, rows, and the metric: how far from one process each one is."""
    import jax
    import jax.numpy as jnp
    from flax import nnx
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from blursim_jax import blursim
    from blursim_jax.metrics import BlurSimMetric
    from blursim_jax.sharding import blursim_data_parallel, blursim_spatial_parallel

    jax.distributed.initialize(meeting["address"], world, rank)
    mesh = Mesh(np.array(jax.devices()), ("processes",))
    assert mesh.size == world
    spread = NamedSharding(mesh, PartitionSpec("processes"))
    to_global = functools.partial(jax.make_array_from_process_local_data, spread)

    blurred, sharp = photos_like(sum(counts))
    own = slice(sum(counts[:rank]), sum(counts[: rank + 1]))
    # Every process has as many as the one with most, and a mask says which of them count.
    fill = max(counts) - counts[rank]
    inputs, targets = (to_global(np.pad(x[own], ((0, fill), (0, 0), (0, 0), (0, 0)))) for x in (blurred, sharp))
    mask = to_global(np.arange(max(counts)) < counts[rank])
    kernel = np.random.default_rng(1).random((3, 3, 5, 5), np.float32) / 75

    def restore(kernel: jax.Array, images: jax.Array) -> jax.Array:
        return jax.lax.conv(images, kernel, (1, 1), "SAME")

    def loss(kernel: jax.Array, images: jax.Array, targets: jax.Array, mask: jax.Array) -> jax.Array:
        options: Any = {"channel_axis": -3, "reduction": "none"}
        values = blursim_data_parallel(restore(kernel, images), targets, mesh=mesh, axis_name="processes", **options)
        return jnp.sum(jnp.where(mask, values, 0)) / jnp.sum(mask)

    def loss_of_one(kernel: jax.Array, images: jax.Array) -> jax.Array:
        return blursim(restore(kernel, images), sharp, channel_axis=-3)

    value, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(kernel, inputs, targets, mask)
    expected, (by_kernel, by_images) = jax.jit(jax.value_and_grad(loss_of_one, (0, 1)))(kernel, blurred)
    own_gradient = np.concatenate([x.data for x in gradients[1].addressable_shards])[: counts[rank]]

    # One image, four rows of a kernel for each process and more.
    a, b = np.random.default_rng(2).random((2, 16 * world, 20), np.float32)
    rows = slice(16 * rank, 16 * (rank + 1))
    by_rows = functools.partial(blursim_spatial_parallel, mesh=mesh, axis_name="processes")
    rows_value, rows_gradient = jax.jit(jax.value_and_grad(by_rows))(to_global(a[rows]), to_global(b[rows]))
    whole_value, whole_gradient = jax.value_and_grad(blursim)(a, b)

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(spread.spec,) * 3, out_specs=PartitionSpec())
    def states(predictions: jax.Array, targets: jax.Array, mask: jax.Array) -> nnx.State:
        metric = BlurSimMetric(channel_axis=-3)
        metric.update(predictions, targets, mask)
        return jax.lax.psum(nnx.state(metric), "processes")

    metric = BlurSimMetric(channel_axis=-3)
    nnx.update(metric, states(inputs, targets, mask))
    return {
        "value": distance([value], [expected]),
        "gradient of what all share": distance([gradients[0]], [by_kernel]),
        "gradient of its own images": distance([own_gradient], [by_images[own]]) if counts[rank] else 0.0,
        "value by rows": distance([rows_value], [whole_value]),
        "gradient by rows": distance([rows_gradient.addressable_data(0)], [whole_gradient[rows]]),
        "metric": distance([metric.compute()], [blursim(blurred, sharp, channel_axis=-3)]),
    }


@shares
def test_jax(counts: list[int]) -> None:
    require("jax", "flax")
    for found in in_new_processes(in_jax, len(counts), counts):
        assert all(x <= FLOAT32.value for x in found.values()), found


def in_torch_for_ever(rank: int, world: int, meeting: dict[str, str], folder: str) -> None:
    """Train until the end of another process ends this one, with a checkpoint at every step."""
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    from blursim_torch import blursim

    dist.init_process_group("gloo", f"file://{meeting['file']}", datetime.timedelta(seconds=20), world, rank)
    model = DistributedDataParallel(torch.nn.Conv2d(3, 3, 3, padding=1))
    blurred, sharp = map(torch.from_numpy, photos_like(2))
    while True:
        blursim(model(blurred), sharp, channel_axis=-3).backward()
        if rank == 0:
            np.save(f"{folder}/temporary.npy", model.module.weight.detach().numpy())
            Path(f"{folder}/temporary.npy").replace(f"{folder}/weights.npy")


def in_jax_for_ever(rank: int, world: int, meeting: dict[str, str], folder: str) -> None:
    """The same in JAX."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from blursim_jax.sharding import blursim_data_parallel

    jax.distributed.initialize(meeting["address"], world, rank, heartbeat_timeout_seconds=20)
    mesh = Mesh(np.array(jax.devices()), ("processes",))
    spread = NamedSharding(mesh, PartitionSpec("processes"))
    blurred, sharp = (jax.make_array_from_process_local_data(spread, x) for x in photos_like(2))
    step = jax.jit(jax.grad(functools.partial(blursim_data_parallel, mesh=mesh, axis_name="processes")))
    while True:
        gradient = jax.block_until_ready(step(blurred, sharp))
        if rank == 0:
            np.save(f"{folder}/temporary.npy", np.asarray(gradient.addressable_data(0)))
            Path(f"{folder}/temporary.npy").replace(f"{folder}/weights.npy")


@pytest.mark.parametrize(
    ("work", "killed"),
    [
        (in_torch_for_ever, 0),
        (in_torch_for_ever, 1),
        (in_jax_for_ever, 0),
        # The first process learns of it by missing heartbeats.
        pytest.param(in_jax_for_ever, 1, marks=pytest.mark.slow),
    ],
)
def test_a_process_that_dies_ends_the_others(work: Callable, killed: int, tmp_path: Path) -> None:
    """With an error, within a minute; and what was saved can be read."""
    require("torch" if work is in_torch_for_ever else "jax")
    weights = tmp_path / "weights.npy"
    with new_processes(work, 2, str(tmp_path)) as processes:
        end = time.monotonic() + 120
        while not weights.exists() and time.monotonic() < end:
            time.sleep(0.1)
        assert weights.exists()
        processes[killed].kill()
        other = processes[1 - killed]
        _, errors = other.communicate(timeout=60)
        assert other.returncode != 0
        assert errors
    assert np.isfinite(np.load(weights)).all()
