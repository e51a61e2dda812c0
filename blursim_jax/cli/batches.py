"""Pairs of one size at a time through one compiled program, whose result for a pair does not depend on the others."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from blursim_jax import blursim_terms
from blursim_jax.cli.pairs import TOO_LARGE, Pair, Settings, psnr_of

# Name, pair, and value, general, specific, MSE and PSNR, or what went wrong.
Scored = tuple[str, Pair, list[float] | str]
# Of one batch, and of all that wait for theirs to be full.
BATCH_PIXELS, WAITING_PIXELS = 2**20, 2**25
# More sizes of images than this: compiled programs are let go, for memory to stay what it is.
PROGRAMS = 32


class Batches:
    """Pairs by shape and dtype, scored when there are enough of a kind."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.waiting: dict[tuple, list[tuple[str, Pair]]] = {}
        self.compiled: set[tuple] = set()
        self.pixels = 0

    def add(self, name: str, pair: Pair) -> list[Scored]:
        """Take a pair, and give a batch if one is full, else an empty one."""
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
        """Give the batches that are not full."""
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
        # Filled up, so that every batch of a shape runs the same program.
        filled = batch + batch[-1:] * (_batch_size(shape) - len(batch))
        a, b = (np.stack([pair[i] for _, pair in filled]) for i in (0, 1))
        try:
            found = np.asarray(_score(a, b, **self.settings.options(data_range)), np.float64)
        # Of memory, for images of this size.
        except RuntimeError as error:
            return [(name, pair, str(error).partition("\n")[0]) for name, pair in batch]
        return [(name, pair, self._numbers(*terms)) for (name, pair), terms in zip(batch, found.T, strict=False)]

    def _numbers(self, general: float, specific: float, mse: float) -> list[float] | str:
        if not np.isfinite([general, specific, mse]).all():
            return TOO_LARGE
        return [float(x) for x in (self.settings.mix(general, specific), general, specific, mse, psnr_of(mse))]


def _batch_size(shape: tuple[int, ...]) -> int:
    # At least two: of a single one the compiler would make another program than of each in a loop.
    return min(max(BATCH_PIXELS // (shape[0] * shape[1]), 2), 32)


@functools.partial(
    jax.jit, static_argnames=("sobel_kernel_size", "spectrum", "normalization", "data_range", "channel_axis")
)
def _score(a: jax.Array, b: jax.Array, **options: Any) -> tuple[jax.Array, ...]:
    """General, specific and MSE of every pair, one after the other: so a pair has the same bits in any batch."""

    def one(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        x, y = (z.astype(jnp.float32) for z in pair)
        return *blursim_terms(*pair, **options), jnp.mean(jnp.square((x - y) / options["data_range"]))

    return jax.lax.map(one, (a, b))
