"""The operations that need whole planes, such as sums and transforms, wherever the rows of the planes are."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from blursim_jax._numerics import plane_sum
from blursim_jax._tiles import in_blocks, in_strips


class Layout:
    """Whole planes (..., H, W). `_rows.Rows` overrides each method for planes sharded by rows."""

    total = staticmethod(plane_sum)
    in_blocks = staticmethod(in_blocks)
    in_strips = staticmethod(in_strips)

    def shape(self, x: jax.Array) -> tuple[int, int]:
        """Height and width of the whole planes."""
        return x.shape[-2], x.shape[-1]

    def largest(self, x: jax.Array) -> jax.Array:
        """The maximum over devices of a value per device."""
        return x

    def transform(self, x: jax.Array) -> jax.Array:
        """The half spectrum."""
        return jnp.fft.rfft2(x)

    def inverse(self, z: jax.Array, shape: tuple[int, int]) -> jax.Array:
        """The planes of this height and width whose half spectrum is `z`."""
        return jnp.fft.irfft2(z, s=shape)

    def columns(self, values: jax.Array) -> jax.Array:
        """This device's part of one value per column of the half spectrum, (..., 1, W // 2 + 1)."""
        return values

    def add_zero_frequency(self, transform: jax.Array, zero_frequency: jax.Array) -> jax.Array:
        """Add (..., 1, 1) to the bin of frequency 0."""
        beside = [(0, n - m, 0) for n, m in zip(transform.shape, zero_frequency.shape, strict=True)]
        return transform + lax.pad(zero_frequency.astype(transform.dtype), jnp.zeros((), transform.dtype), beside)

    def pre_emphasize(self, x: jax.Array, rho_x: jax.Array, rho_y: jax.Array) -> jax.Array:
        """x[i, j] - rho_x x[i, j - 1], then the same along columns with rho_y; both wrap around."""
        height, width = x.shape[-2:]
        # Each plane is flattened and preceded by a copy of its last row and one pixel. Every pixel's left neighbour is
        # then the preceding element, except in the first column. Padding a plane by a column would move every row,
        # which is several times slower.
        line = x.reshape(*x.shape[:-2], height * width)
        end = lax.slice_in_dim(line, (height - 1) * width - 1, height * width, axis=-1)
        line = lax.optimization_barrier(lax.concatenate([end, line], line.ndim - 1))
        first_column = lax.broadcasted_iota(np.int32, x.shape, x.ndim - 1) == 0

        def plane(start: int) -> jax.Array:
            return lax.slice_in_dim(line, start, start + height * width, axis=-1).reshape(x.shape)

        def along_rows(start: int) -> jax.Array:
            x = plane(start)
            return subtract_scaled(x, jnp.where(first_column, x[..., -1:], plane(start - 1)), rho_x)

        return subtract_scaled(along_rows(width + 1), along_rows(1), rho_y)


def subtract_scaled(x: jax.Array, previous: jax.Array, rho: jax.Array) -> jax.Array:
    """Return `x - rho * previous`."""
    # The difference comes first, because it is exact where a plane is smooth. The product rho * previous would add
    # rounding errors as large as the transform's.
    return (x - previous) + (1 - rho) * previous
