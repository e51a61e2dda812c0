"""Planes whose rows are sharded over a mesh axis, inside `jax.shard_map`.

Each device has planes (..., R, W), the same number R of rows. Sums are reduced over devices. A transform runs along
rows and, after an all-to-all exchange, along columns. Rows beyond a device's own come from its neighbours.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from blursim_jax._layout import Layout, subtract_scaled
from blursim_jax._numerics import plane_sum
from blursim_jax._tiles import Function, in_strips


@dataclasses.dataclass(frozen=True)
class Rows(Layout):
    """The mesh axis over which rows are sharded, and its size."""

    name: Any
    size: int

    def index(self) -> jax.Array:
        """The index of this device; device 0 has the first rows."""
        return lax.axis_index(self.name)

    def shape(self, x: jax.Array) -> tuple[int, int]:
        return x.shape[-2] * self.size, x.shape[-1]

    def total(self, x: jax.Array) -> jax.Array:
        return lax.psum(plane_sum(x), self.name)

    def largest(self, x: jax.Array) -> jax.Array:
        return lax.pmax(x, self.name)

    def from_above(self, x: jax.Array) -> jax.Array:
        """`x` of the device with the rows above; the first device gets that of the last."""
        return lax.ppermute(x, self.name, [(i, (i + 1) % self.size) for i in range(self.size)])

    def from_below(self, x: jax.Array) -> jax.Array:
        """`x` of the device with the rows below; the last device gets that of the first."""
        return lax.ppermute(x, self.name, [(i, (i - 1) % self.size) for i in range(self.size)])

    def transform(self, x: jax.Array) -> jax.Array:
        """Some columns of the half spectrum, (..., R, W) to (..., H, ceil((W // 2 + 1) / size)), padded with 0."""
        z = self._pad_columns(jnp.fft.rfft(x))
        return jnp.fft.fft(lax.all_to_all(z, self.name, z.ndim - 1, z.ndim - 2, tiled=True), axis=-2)

    def inverse(self, z: jax.Array, shape: tuple[int, int]) -> jax.Array:
        z = lax.all_to_all(jnp.fft.ifft(z, axis=-2), self.name, z.ndim - 2, z.ndim - 1, tiled=True)
        return jnp.fft.irfft(z[..., : shape[1] // 2 + 1], n=shape[1])

    def columns(self, values: jax.Array) -> jax.Array:
        values = self._pad_columns(values)
        each = values.shape[-1] // self.size
        return lax.dynamic_slice_in_dim(values, self.index() * each, each, axis=-1)

    def add_zero_frequency(self, transform: jax.Array, zero_frequency: jax.Array) -> jax.Array:
        row, column = (lax.broadcasted_iota(np.int32, transform.shape, transform.ndim - i) for i in (2, 1))
        is_zero_frequency = (row == 0) & (column == 0) & (self.index() == 0)
        return transform + jnp.where(is_zero_frequency, zero_frequency, 0).astype(transform.dtype)

    def pre_emphasize(self, x: jax.Array, rho_x: jax.Array, rho_y: jax.Array) -> jax.Array:
        x = subtract_scaled(x, jnp.roll(x, 1, axis=-1), rho_x)
        above = jnp.concatenate([self.from_above(x[..., -1:, :]), x[..., :-1, :]], axis=-2)
        return subtract_scaled(x, above, rho_y)

    @staticmethod
    def in_blocks(function: Callable[..., Any], a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
        return function(a, b, alpha)

    def in_strips(self, function: Function, x: jax.Array, y: jax.Array, margin: int) -> tuple[Any, Any]:
        # A device reflects its planes at their borders, which is wrong where a neighbour has more rows. The first and
        # last `margin` rows are computed again between their true neighbours.
        rows, has_above, has_below = x.shape[-2], self.index() > 0, self.index() < self.size - 1

        def total(z: jax.Array, first: jax.Array | int) -> jax.Array:
            row = jnp.asarray(first, np.int32) + lax.broadcasted_iota(np.int32, z.shape, z.ndim - 2)
            counts = (row >= jnp.where(has_above, margin, 0)) & (row < jnp.where(has_below, rows - margin, rows))
            return plane_sum(jnp.where(counts, z, 0))

        sums, images = in_strips(function, x, y, margin, total)

        def above(z: jax.Array) -> jax.Array:
            return jnp.concatenate([self.from_above(z[..., rows - margin :, :]), z[..., : 2 * margin, :]], axis=-2)

        def below(z: jax.Array) -> jax.Array:
            return jnp.concatenate([z[..., rows - 2 * margin :, :], self.from_below(z[..., :margin, :])], axis=-2)

        ends = (above, has_above, np.s_[..., :margin, :]), (below, has_below, np.s_[..., -margin:, :])
        # One device has no neighbours and may have fewer rows than the margins.
        for side, has_neighbour, own in ends if self.size > 1 else ():
            squares, parts = jax.tree.map(lambda z: z[..., margin : 2 * margin, :], function(side(x), side(y)))
            sums = jax.tree.map(lambda z, part, on=has_neighbour: z + jnp.where(on, plane_sum(part), 0), sums, squares)
            images = jax.tree.map(
                lambda z, part, own=own, on=has_neighbour: z.at[own].set(jnp.where(on, part, z[own])), images, parts
            )
        return jax.tree.map(lambda z: lax.psum(z, self.name), sums), images

    def _pad_columns(self, z: jax.Array) -> jax.Array:
        """Pad with columns of 0 to a multiple of the number of devices."""
        return jnp.pad(z, [(0, 0)] * (z.ndim - 1) + [(0, -z.shape[-1] % self.size)])
