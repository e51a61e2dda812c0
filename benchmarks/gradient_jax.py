"""Value and gradient of BlurSim in JAX beside the formula written plainly: `python -m benchmarks.gradient_jax`.

The plain one takes Sobel by `lax.conv_general_dilated`, subtracts the magnitudes and leaves the gradient to autodiff.
All rows are timed in one run, in turn, and given as medians and as ratios to the floor: two forward and one inverse
real transform of the same arrays, with their mean squared error.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from blursim_jax import blursim

SHAPE = (24, 256, 256)
REPEATS = 50
ALPHA = 0.9


def main() -> None:
    """Time, then print the table."""
    a, b = jnp.asarray(np.random.default_rng(0).random((2, *SHAPE), np.float32))
    rows: dict[str, Callable] = {
        "floor: 3 transforms and MSE": floor,
        "blursim, value and gradient": jax.jit(jax.value_and_grad(blursim)),
        "lax.conv and autodiff": jax.jit(jax.value_and_grad(plain)),
        "blursim under vmap": jax.jit(lambda a, b: jax.vmap(jax.value_and_grad(blursim))(a, b)),
        "blursim, value": blursim,
    }
    ours, plains = (rows[name](a, b)[0] for name in list(rows)[1:3])
    if not jnp.allclose(ours, plains, rtol=1e-5):
        raise SystemExit(f"the two formulas differ: {ours} and {plains}")
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(REPEATS):
        for name, function in rows.items():
            start = time.perf_counter()
            jax.block_until_ready(function(a, b))
            times[name].append(1000 * (time.perf_counter() - start))
    unit = float(np.median(times["floor: 3 transforms and MSE"]))
    print(f"{SHAPE} float32, {jax.devices()[0].device_kind}, jax {jax.__version__}, median of {REPEATS} [quartiles]")
    for name, values in times.items():
        low, median, high = np.percentile(values, [25, 50, 75])
        print(f"{name:28} {median:7.1f} ms [{low:6.1f}, {high:6.1f}]  {median / unit:5.1f} x floor")
    ratio = np.median(times["lax.conv and autodiff"]) / np.median(times["blursim, value and gradient"])
    print(f"value and gradient: {ratio:.1f} times faster than lax.conv and autodiff")


@jax.jit
def floor(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The transforms that the formula cannot do without."""
    return jnp.mean((a - b) ** 2), jnp.fft.irfft2(jnp.fft.rfft2(a) * jnp.fft.rfft2(b), s=a.shape[-2:])


def plain(a: jax.Array, b: jax.Array) -> jax.Array:
    """BlurSim as the formula reads, for images without zeros in spectrum or edges."""
    area = a.shape[-2] * a.shape[-1]
    squares = (jnp.abs(jnp.fft.rfft2(a)) - jnp.abs(jnp.fft.rfft2(b))) ** 2
    # Of an even width, every column of the half spectrum but the first and the last stands for two.
    twice = 2 * jnp.sum(squares, axis=(-2, -1)) - jnp.sum(squares[..., [0, -1]], axis=(-2, -1))
    edges = sobel_magnitude(a) - sobel_magnitude(b)
    general = jnp.sqrt(twice) / area
    specific = jnp.sqrt(jnp.sum(edges**2, axis=(-2, -1))) / area
    return jnp.mean((1 - ALPHA) * general + ALPHA * specific)


def sobel_magnitude(x: jax.Array) -> jax.Array:
    """Sobel gradient magnitude by convolution."""
    smooth, difference = jnp.array([1.0, 4, 6, 4, 1]), jnp.array([-1.0, -2, 0, 2, 1])
    kernels = jnp.stack([jnp.outer(smooth, difference), jnp.outer(difference, smooth)])[:, None]
    padded = jnp.pad(x, ((0, 0), (2, 2), (2, 2)), mode="reflect")[:, None]
    derivatives = lax.conv_general_dilated(padded, kernels, (1, 1), "VALID")
    # Both derivatives are 0 in the corners, where the square root has no gradient.
    return jnp.sqrt(jnp.sum(derivatives**2, axis=1) + 1e-12)


if __name__ == "__main__":
    main()
