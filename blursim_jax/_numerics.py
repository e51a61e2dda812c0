"""Square root, division and norm whose gradient at 0 is 0, not NaN or inf; sums over planes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def safe_sqrt(x: jax.Array) -> jax.Array:
    """The square root, with gradient 0 (not inf) at 0."""
    # With one `where`, the gradient of the unused branch would be 0 * inf = NaN.
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def safe_divide(x: jax.Array, y: jax.Array) -> jax.Array:
    """The quotient, with value and gradients 0 where the divisor is 0."""
    return divide_where(y != 0, x, y)


def divide_where(condition: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The quotient, with value and gradients 0 where the condition is false."""
    return jnp.where(condition, x / jnp.where(condition, y, 1), 0)


def bin_magnitude(z: jax.Array) -> jax.Array:
    """The magnitude of each bin, with gradient 0 at 0."""
    return safe_sqrt(z.real * z.real + z.imag * z.imag)


def plane_sum(x: jax.Array) -> jax.Array:
    """The sum over each plane, (..., H, W) to (...)."""
    return jnp.sum(x, axis=(-2, -1))


def norm(x: jax.Array, total: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The Frobenius norm of each plane, (..., H, W) to (...), with gradient 0 at 0; `total` sums over a plane."""
    return safe_sqrt(total(x * x))


def per_plane(x: jax.Array) -> jax.Array:
    """Reshape one number per plane, (...), to (..., 1, 1), which broadcasts over planes."""
    return x[..., None, None]


def is_sharded(x: jax.Array) -> bool:
    """Whether `x` has an explicitly sharded axis, across which JAX refuses to reshape."""
    return any(axis is not None for axis in jax.typeof(x).sharding.spec)
