"""The rows of `python -m benchmarks.speed` in JAX: the functions to time for an image shape (N, C, H, W)."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.speed import ALPHA, AS_RELEASED, OPTIONS, name_of, peak_of
from blursim_jax import blursim

Loss = Callable[[jax.Array, jax.Array], jax.Array]


def rows(shape: tuple[int, int, int, int], part: str, gradient: bool) -> dict[str, Callable[[], Any]]:
    """Return the functions to time by name: the floor and each loss of the part, with its gradient if `gradient`."""
    images = np.random.default_rng(0).random((2, *shape), np.float32)
    a, b = jnp.asarray(images)
    losses: dict[str, Loss] = {"BlurSim": blursim}
    if part == "options":
        losses = {name_of(options): lambda a, b, o=options: blursim(a, b, **o) for options in OPTIONS}
    if part == "peers":
        losses[AS_RELEASED] = lambda a, b: blursim(a, b, spectrum="complex")
        losses |= PEERS
    functions: dict[str, Callable[[], Any]] = {"floor": prepare(floor_gradient if gradient else floor, a, b)}
    functions |= {name: prepare(derive(loss, gradient), a, b) for name, loss in losses.items()}
    if part == "peers":
        channels_last = (jnp.moveaxis(x, 1, -1) for x in (a, b))
        functions["dm_pix SSIM"] = prepare(derive(dm_pix_ssim(), gradient), *channels_last)
        functions["BlurSim under vmap"] = prepare(lambda a, b: jax.vmap(derive(blursim, gradient))(a, b), a, b)
    return functions


def memory(side: int) -> dict[str, float]:
    """Return the peak memory of value and gradient beyond the inputs, as a multiple of one image of that side."""
    a, b = (jnp.asarray(np.random.default_rng(seed).random((side, side), np.float32)) for seed in (0, 1))
    compiled = jax.jit(jax.value_and_grad(blursim)).lower(a, b).compile()
    found: Any = compiled.memory_analysis()
    peak = peak_of(lambda: jax.block_until_ready(compiled(a, b)))
    return {
        "memory at 4096x4096 by XLA, images": (found.temp_size_in_bytes + found.output_size_in_bytes) / a.nbytes,
        "memory at 4096x4096, resident, images": peak / a.nbytes,
    }


def first_call(side: int) -> float:
    """Return how many seconds the first value and gradient take, including compilation."""
    a, b = jnp.asarray(np.random.default_rng(0).random((2, side, side), np.float32))
    start = time.perf_counter()
    jax.block_until_ready(jax.jit(jax.value_and_grad(blursim))(a, b))
    return time.perf_counter() - start


def derive(loss: Loss, gradient: bool) -> Callable[[jax.Array, jax.Array], Any]:
    """Return the loss function, or a function that returns the loss and its gradient."""
    return jax.value_and_grad(loss) if gradient else loss


def prepare(function: Callable, a: jax.Array, b: jax.Array) -> Callable[[], Any]:
    """Compile the function, and return a call that waits for its result."""
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(a, b))


def floor(a: jax.Array, b: jax.Array) -> Any:
    """Compute MSE and the transforms that the formula cannot do without."""
    return mse(a, b), jnp.fft.rfft2(a), jnp.fft.rfft2(b)


def floor_gradient(a: jax.Array, b: jax.Array) -> Any:
    """Compute MSE and the transforms that the gradient cannot do without."""
    return mse(a, b), jnp.fft.irfft2(jnp.fft.rfft2(a), s=a.shape[-2:]), jnp.fft.rfft2(b)


def mse(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the mean squared error."""
    return jnp.mean((a - b) ** 2)


def l1(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the mean absolute error."""
    return jnp.mean(jnp.abs(a - b))


def l1_of_ffts(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the frequency loss of MIMO-UNet (Cho et al., 2021), on half spectra."""
    difference = jnp.fft.rfft2(a) - jnp.fft.rfft2(b)
    return (jnp.mean(jnp.abs(difference.real)) + jnp.mean(jnp.abs(difference.imag))) / 2


def dm_pix_ssim() -> Loss:
    """Return the negative SSIM of dm_pix, which takes channels last, or raise an ImportError if it is not installed."""
    import dm_pix  # pyright: ignore[reportMissingImports]

    return lambda a, b: -jnp.mean(dm_pix.ssim(a, b))


def plain(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute BlurSim directly from its formula, for images without zeros in the spectrum or the edges."""
    area = a.shape[-2] * a.shape[-1]
    squares = (jnp.abs(jnp.fft.rfft2(a)) - jnp.abs(jnp.fft.rfft2(b))) ** 2
    # For an even width, every column of the half spectrum except the first and the last counts twice.
    twice = 2 * jnp.sum(squares, axis=(-2, -1)) - jnp.sum(squares[..., [0, -1]], axis=(-2, -1))
    edges = sobel_magnitude(a) - sobel_magnitude(b)
    general = jnp.sqrt(twice) / area
    specific = jnp.sqrt(jnp.sum(edges**2, axis=(-2, -1))) / area
    return jnp.mean((1 - ALPHA) * general + ALPHA * specific)


def sobel_magnitude(x: jax.Array) -> jax.Array:
    """Compute the Sobel gradient magnitude by convolution."""
    smooth, difference = jnp.array([1.0, 4, 6, 4, 1]), jnp.array([-1.0, -2, 0, 2, 1])
    kernels = jnp.stack([jnp.outer(smooth, difference), jnp.outer(difference, smooth)])[:, None]
    padded = jnp.pad(x.reshape(-1, 1, *x.shape[-2:]), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    derivatives = lax.conv_general_dilated(padded, kernels, (1, 1), "VALID")
    # Both derivatives are 0 in the corners, and the square root has no gradient at 0.
    return jnp.sqrt(jnp.sum(derivatives**2, axis=1) + 1e-12).reshape(x.shape)


PEERS: dict[str, Loss] = {"MSE": mse, "L1": l1, "L1 of FFTs": l1_of_ffts, "lax.conv and autodiff": plain}
