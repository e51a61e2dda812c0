"""The rows of `python -m benchmarks.speed gpu` in JAX, under `jax.jit`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import rows_jax
from benchmarks.gpu_plan import TRAINING, TRANSFORMS, Job, NoDevice, Plan, Programs, Shape, clock, missing_because
from benchmarks.speed import AS_RELEASED
from blursim_jax import PRESETS, blursim

DM_PIX, VMAP = "dm_pix SSIM", "BlurSim under vmap"


class Bench(Programs):
    """Everything that the process of JAX measures."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.inputs: dict[tuple[Shape, str], tuple[jax.Array, jax.Array]] = {}

    def about(self) -> dict[str, str]:
        """Return the device."""
        device = jax.devices()[0]
        if device.platform != self.plan.device:
            raise NoDevice(f"jax {jax.__version__} sees no {self.plan.device.upper()}")
        return {"device": "CPU" if device.platform == "cpu" else device.device_kind}

    def bandwidth(self) -> float:
        """Return how many bytes a copy reads and writes in a second."""
        source = jnp.zeros(self.plan.copied // 4, jnp.float32)
        # A copy that changes nothing might be left out.
        copy = jax.jit(lambda x: x + 1)
        return 2 * source.nbytes / (self.clock(lambda: copy(source))[1] / 1000)

    def peers(self) -> tuple[dict[Shape, list[str]], dict[str, str]]:
        """Return the names of the other losses for each shape, and those that are not installed, with the reason."""
        names, missing = [AS_RELEASED, *rows_jax.PEERS, DM_PIX, VMAP], {}
        try:
            rows_jax.dm_pix_ssim()
        except Exception as error:
            names.remove(DM_PIX)
            missing[DM_PIX] = missing_because(error)
        return dict.fromkeys(self.plan.shapes, names), missing

    def time(self, job: Job) -> dict[str, Any]:
        """Return the time of a row in ms, and its memory beyond the images as a multiple of one of both batches."""
        program, images = self.program(job)
        return {"images": images, "ms": self.clock(program)}

    def images(self, job: Job) -> tuple[jax.Array, jax.Array]:
        """Return the images of a row."""
        key = job.shape, job.precision
        if key not in self.inputs:
            a, b = jnp.asarray(np.random.default_rng(0).random((2, *job.shape), np.float32), job.precision)
            self.inputs[key] = a, b
        return self.inputs[key]

    def make(self, job: Job) -> tuple[Callable[[], Any], float]:
        """Return the function to time, compiled, and its memory."""
        a, b = self.images(job)
        if job.row == DM_PIX:
            a, b = (jnp.moveaxis(x, 1, -1) for x in (a, b))
        function = jax.jit(self.function(job.row))
        # The call below uses what is compiled here.
        found: Any = function.lower(a, b).compile().memory_analysis()
        jax.block_until_ready(function(a, b))
        return lambda: function(a, b), (found.temp_size_in_bytes + found.output_size_in_bytes) / a.nbytes

    def function(self, row: str) -> Callable[[jax.Array, jax.Array], Any]:
        """Return what computes value and gradient of the loss of this name."""
        if row == TRANSFORMS:
            return transforms
        if row == VMAP:
            return jax.vmap(jax.value_and_grad(blursim))
        ours: dict[str, rows_jax.Loss] = {
            "BlurSim": blursim,
            TRAINING: lambda a, b: blursim(a, b, channel_axis=-3, **PRESETS["training"]),
            AS_RELEASED: lambda a, b: blursim(a, b, spectrum="complex"),
        }
        return jax.value_and_grad((ours | rows_jax.PEERS).get(row) or rows_jax.dm_pix_ssim())

    def clock(self, program: Callable[[], Any]) -> list[float]:
        """Return the quartiles of the time of a call in ms."""

        def calls(count: int) -> None:
            results = None
            for _ in range(count):
                results = program()
            # The device computes them one after the other.
            jax.block_until_ready(results)

        return clock(calls, self.plan.least)


def transforms(a: jax.Array, b: jax.Array) -> Any:
    """Compute the transforms that the gradient cannot do without."""
    return jnp.fft.irfft2(jnp.fft.rfft2(a), s=a.shape[-2:]), jnp.fft.rfft2(b)
