"""Computation in parts that fit in a CPU's cache: blocks of a batch, strips of the rows of large planes."""

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from blursim_jax._numerics import is_sharded, plane_sum

# A block has planes of up to this number of pixels, 1 MiB of float32, and at least one. In blocks, 24 planes of 256x256
# take less than half the time.
BLOCK_PIXELS = 2**18
# The approximate number of pixels in a strip, without margins. In strips, fewer plane-sized temporaries are allocated,
# and a strip fits in cache.
STRIP_PIXELS = 2**18


def in_blocks(function: Callable[..., Any], a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
    """Apply `function` to planes (..., H, W) and alpha (...); on a CPU, to blocks of the batch in turn.

    `function` must act on each plane by itself.
    """

    def apply(*arrays: Any) -> Any:
        return _in_blocks(function, *arrays)

    # `vmap` adds one more axis to the batch, from which the blocks are cut. Without this rule it would batch the loop
    # over blocks of one image: 2.5 times as slow.
    batched = jax.custom_batching.custom_vmap(apply)

    @batched.def_vmap
    def _(size: int, is_batched: Any, *arrays: Any) -> tuple[Any, Any]:
        every = jax.tree.map(lambda x, y: x if y else jnp.broadcast_to(x, (size, *x.shape)), arrays, tuple(is_batched))
        results = in_blocks(function, *every)
        return results, jax.tree.map(lambda _: True, results)

    # JAX cannot transpose a `custom_vmap`, so `function` is differentiated without it.
    differentiable = jax.custom_jvp(batched)
    differentiable.defjvp(lambda primals, tangents: jax.jvp(apply, primals, tangents))
    return differentiable(a, b, alpha)


def _in_blocks(function: Callable[..., Any], a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
    batch_shape, plane_shape = a.shape[:-2], a.shape[-2:]
    count, block = math.prod(batch_shape), max(1, BLOCK_PIXELS // math.prod(plane_shape))
    # The count is symbolic in a program exported for batches of any size.
    if not isinstance(count, int) or count <= block or any(map(is_sharded, jax.tree.leaves((a, b, alpha)))):
        return function(a, b, alpha)

    def by_blocks(a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
        planes = jax.tree.map(lambda x: x.reshape(count, *x.shape[len(batch_shape) :]), (a, b, alpha))
        # XLA computes both halves of a block at the same time, but parallelizes only some operations of a whole block.
        halves = min(block, 2)
        size = block // halves
        steps = count // (halves * size)
        full = halves * steps * size

        def step(_: None, block: Any) -> tuple[None, Any]:
            parts = [slice(half * size, (half + 1) * size) for half in range(halves)]
            return None, [function(*jax.tree.map(operator.itemgetter(part), block)) for part in parts]

        # Consecutive planes form a block. Any other order would copy them.
        blocks = jax.tree.map(lambda x: x[:full].reshape(steps, halves * size, *x.shape[1:]), planes)
        _, results = lax.scan(step, None, blocks)
        results = [jax.tree.map(lambda *x: jnp.concatenate(x, axis=1).reshape(full, *x[0].shape[2:]), *results)]
        if count > full:
            results.append(function(*jax.tree.map(lambda x: x[full:], planes)))
        results = jax.tree.map(lambda *x: jnp.concatenate(x), *results)
        return jax.tree.map(lambda x: x.reshape(*batch_shape, *x.shape[1:]), results)

    return lax.platform_dependent(a, b, alpha, cpu=by_blocks, default=function)


# Maps planes, or strips of their rows, to two pytrees of arrays of their shape: summands and images.
Function = Callable[[jax.Array, jax.Array], tuple[Any, Any]]
# Sums pixels over rows of planes, of which the first has this index, and may leave rows out.
Total = Callable[[jax.Array, jax.Array | int], jax.Array]


class _Strips(NamedTuple):
    """`number` strips of `rows` rows each, and `margin` more rows on both sides as input."""

    number: int
    rows: int
    margin: int


def in_strips(
    function: Function, x: jax.Array, y: jax.Array, margin: int, total: Total = lambda z, _: plane_sum(z)
) -> tuple[Any, Any]:
    """Apply `function` to planes and sum its summands; on a CPU, to strips of the rows of large planes.

    A strip is extended by `margin` rows on both sides, so that its artificial borders do not affect its own rows.
    """
    height, width = x.shape[-2:]
    rows = max(STRIP_PIXELS // width, 4 * margin)
    if 0 in x.shape or height < 2 * (rows + 2 * margin) or is_sharded(x) or is_sharded(y):
        return _at_once(function, x, y, total)
    number = -(-height // rows)
    strips = _Strips(number, -(-height // number), margin)

    def at_once(x: jax.Array, y: jax.Array) -> tuple[Any, Any]:
        sums, images = _at_once(function, x, y, total)
        return sums, match_vma(images, x, y)

    def by_strips(x: jax.Array, y: jax.Array) -> tuple[Any, Any]:
        return _by_strips(function, x, y, strips, total)

    return lax.platform_dependent(x, y, cpu=by_strips, default=at_once)


def _at_once(function: Function, x: jax.Array, y: jax.Array, total: Total) -> tuple[Any, Any]:
    summands, images = function(x, y)
    return jax.tree.map(lambda z: total(z, 0), summands), images


def _by_strips(function: Function, x: jax.Array, y: jax.Array, strips: _Strips, total: Total) -> tuple[Any, Any]:
    height, width = x.shape[-2:]
    number, rows, margin = strips
    tall = rows + 2 * margin

    def strip(images: Any, i: jax.Array) -> tuple[Any, Any]:
        # The last strip overlaps the one before. Rows in both are computed twice, but counted once.
        first = jnp.minimum(i * rows, height - rows)
        start = jnp.clip(first - margin, 0, height - tall)
        row = start + lax.broadcasted_iota(i.dtype, (*x.shape[:-2], tall, width), x.ndim - 2)
        counts = (row >= i * rows) & (row < first + rows)

        def write(image: jax.Array, part: jax.Array) -> jax.Array:
            part = lax.dynamic_slice_in_dim(part, first - start, rows, axis=-2)
            return lax.dynamic_update_slice_in_dim(image, part, first, axis=-2)

        summands, parts = function(*(lax.dynamic_slice_in_dim(z, start, tall, axis=-2) for z in (x, y)))
        sums = jax.tree.map(lambda z: total(jnp.where(counts, z, 0), start), summands)
        return jax.tree.map(write, images, parts), sums

    _, shapes = jax.eval_shape(function, x, y)
    empty = match_vma(jax.tree.map(lambda z: jnp.zeros(z.shape, z.dtype), shapes), x, y)
    images, sums = lax.scan(strip, empty, jnp.arange(number))
    return jax.tree.map(lambda z: jnp.sum(z, axis=0), sums), images


def match_vma(images: Any, x: jax.Array, y: jax.Array) -> Any:
    """Give arrays the varying manual axes of `x` and `y`, which are part of a type inside `jax.shard_map`.

    The carry of a loop and the branches for platforms must keep their types. XLA removes this operation.
    """
    varying = (x[(0,) * x.ndim] > 0) & (y[(0,) * y.ndim] > 0)
    return jax.tree.map(lambda z: jnp.where(varying, z, z), images)
