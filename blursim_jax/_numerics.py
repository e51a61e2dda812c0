"""Square root, division and norm that are 0, never NaN, where the plain ones have no value or gradient."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def safe_sqrt(x: jax.Array) -> jax.Array:
    """The square root, with gradient 0 (not inf) at 0."""
    # Two `where`s: with one, the gradient of the branch not taken is 0 * inf = NaN.
    zero = x == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def safe_divide(x: jax.Array, y: jax.Array) -> jax.Array:
    """The quotient, with value and gradients 0 where the divisor is 0."""
    return divide_where(y != 0, x, y)


def divide_where(condition: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """The quotient, with value and gradients 0 where the condition does not hold."""
    return jnp.where(condition, x / jnp.where(condition, y, 1), 0)


def plane_sum(x: jax.Array) -> jax.Array:
    """The sum over every plane, (..., H, W) to (...)."""
    return jnp.sum(x, axis=(-2, -1))


def norm(x: jax.Array, total: Callable[[jax.Array], jax.Array] = plane_sum) -> jax.Array:
    """The Frobenius norm of every plane, (..., H, W) to (...), with gradient 0 at 0; `total` sums over a plane."""
    return safe_sqrt(total(x * x))


def per_plane(x: jax.Array) -> jax.Array:
    """Give one number a plane, (...), the shape (..., 1, 1) that multiplies planes."""
    return x[..., None, None]


def is_spread(x: jax.Array) -> bool:
    """Whether the type of `x` says that an axis lies on several devices, so that JAX lets no reshape cut across it."""
    return any(axis is not None for axis in jax.typeof(x).sharding.spec)
