"""Score pairs in batches of one size, with one compiled program per size.

The scores of a pair do not depend on the other pairs in its batch.
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from blursim_jax import blursim_terms
from blursim_jax.cli.pairs import Pair
from blursim_jax.cli.scores import TOO_LARGE, psnr_of
from blursim_jax.cli.settings import Settings

# Name, pair, and either [value, general, specific, MSE, PSNR] or an error message.
Scored = tuple[str, Pair, list[float] | str]
# Pixels to aim for in one batch, and the limit for all pairs that wait for a full batch.
BATCH_PIXELS, WAITING_PIXELS = 2**20, 2**25
# Limit on compiled programs. Each image size needs one. Dropping them at this limit bounds memory.
PROGRAMS = 32


class Batches:
    """Collect pairs by shape, dtype and data range, and score each group once it is large enough."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.waiting: dict[tuple, list[tuple[str, Pair]]] = {}
        self.compiled: set[tuple] = set()
        self.pixels = 0

    def add(self, name: str, pair: Pair) -> list[Scored]:
        """Add a pair. Return the scores of a batch if one is full or too many pixels wait, else an empty list."""
        shape = pair.prediction.shape
        key = shape, pair.prediction.dtype.name, pair.data_range
        self.waiting.setdefault(key, []).append((name, pair))
        self.pixels += pair.prediction.size
        if len(self.waiting[key]) == _batch_size(shape):
            return self._score(key)
        if self.pixels > WAITING_PIXELS:
            return self._score(max(self.waiting, key=lambda k: len(self.waiting[k]) * k[0][0] * k[0][1]))
        return []

    def rest(self) -> Iterator[list[Scored]]:
        """Yield the scores of the remaining batches, which are not full."""
        while self.waiting:
            yield self._score(next(iter(self.waiting)))

    def _score(self, key: tuple) -> list[Scored]:
        batch = self.waiting.pop(key)
        shape, _, data_range = key
        self.pixels -= len(batch) * batch[0][1].prediction.size
        if key not in self.compiled and len(self.compiled) >= PROGRAMS:
            jax.clear_caches()
            self.compiled.clear()
        self.compiled.add(key)
        # Pad the batch, so that every batch of a shape runs the same program.
        filled = batch + batch[-1:] * (_batch_size(shape) - len(batch))
        a, b = (np.stack([pair[i] for _, pair in filled]) for i in (0, 1))
        try:
            found = np.asarray(_score(a, b, **self.settings.options(data_range)), np.float64)
        # XLA runs out of memory for images of this size.
        except RuntimeError as error:
            return [(name, pair, str(error).partition("\n")[0]) for name, pair in batch]
        return [(name, pair, self._numbers(*terms)) for (name, pair), terms in zip(batch, found.T, strict=False)]

    def _numbers(self, general: float, specific: float, mse: float) -> list[float] | str:
        if not np.isfinite([general, specific, mse]).all():
            return TOO_LARGE
        return [float(x) for x in (self.settings.mix(general, specific), general, specific, mse, psnr_of(mse))]


def _batch_size(shape: tuple[int, ...]) -> int:
    # At least two: XLA compiles a single pair to a different program than a loop over pairs.
    return min(max(BATCH_PIXELS // (shape[0] * shape[1]), 2), 32)


@functools.partial(
    jax.jit, static_argnames=("sobel_kernel_size", "spectrum", "normalization", "data_range", "channel_axis")
)
def _score(a: jax.Array, b: jax.Array, **options: Any) -> tuple[jax.Array, ...]:
    """General, Specific and MSE of every pair.

    Pairs are computed one after the other, so that a pair gives the same bits in any batch.
    """

    def one(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        x, y = (z.astype(jnp.float32) for z in pair)
        return *blursim_terms(*pair, **options), jnp.mean(jnp.square((x - y) / options["data_range"]))

    return jax.lax.map(one, (a, b))
