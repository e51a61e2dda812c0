"""The comparison of planes: both terms, their mixture, and the rule of the gradient."""

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from blursim_jax._checks import Options
from blursim_jax._edges import specific, specific_gradient
from blursim_jax._numerics import is_spread, plane_sum
from blursim_jax._spectrum import general, general_gradient

# On a CPU the planes go through in blocks of at most this many pixels, 1 MiB of float32, which stay in cache:
# less than half the time of all 24 planes of 256 x 256 at once.
BLOCK_PIXELS = 2**18


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def compare_planes(a: jax.Array, b: jax.Array, alpha: jax.Array | None, options: Options) -> tuple[jax.Array, ...]:
    """The mixture for every plane pair, (..., H, W) to (...), or its two terms where alpha is None."""

    def values(a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> tuple[jax.Array, ...]:
        return mix(general(a, b, options), specific(a, b, options), alpha)

    return _in_blocks(values, a, b, alpha)


# The gradient is written out, because autodiff's is several times slower, and as the rule of a `custom_jvp`: the
# tangent is its inner product with the planes' tangents, from which JAX has forward and reverse mode, `vmap` and
# second order. In reverse mode the one image-sized array kept is the gradient itself.
@functools.partial(compare_planes.defjvp, symbolic_zeros=True)
def _compare_planes_jvp(options: Options, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    arguments = [i for i in (0, 1) if not isinstance(tangents[i], SymbolicZero)]

    def values_and_gradients(a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> tuple[Any, list[Any], Any]:
        terms, gradients = None, []
        for argument in arguments:
            of_general, by_general = general_gradient(a, b, options, argument)
            of_specific, by_specific = specific_gradient(a, b, options, argument)
            terms = of_general, of_specific
            gradients.append(mix(by_general, by_specific, alpha))
        if terms is None:
            terms = general(a, b, options), specific(a, b, options)
        return mix(*terms, alpha), gradients, terms[1] - terms[0]

    values, gradients, by_alpha = _in_blocks(values_and_gradients, *primals)
    gradients = dict(zip(arguments, gradients, strict=True))
    return values, tangent_of(values, gradients, by_alpha, tangents)


def tangent_of(
    values: tuple[jax.Array, ...],
    gradients: dict[int, Any],
    by_alpha: jax.Array,
    tangents: tuple,
    total: Callable[[jax.Array], jax.Array] = plane_sum,
) -> tuple[jax.Array, ...]:
    """The values' tangent, from their gradients by each argument; `total` sums over a plane."""
    tangent = jax.tree.map(jnp.zeros_like, values)
    for argument, gradient in gradients.items():
        products = jax.tree.map(lambda g, t=tangents[argument]: total(g * t), gradient)
        tangent = jax.tree.map(jnp.add, tangent, products)
    if tangents[2] is not None and not isinstance(tangents[2], SymbolicZero):
        tangent = (tangent[0] + by_alpha * tangents[2],)
    return tangent


def mix(general: jax.Array, specific: jax.Array, alpha: jax.Array | None) -> tuple[jax.Array, ...]:
    """Weigh the terms' values (...), or their gradients (..., H, W), by alpha (...); None keeps them apart."""
    if alpha is None:
        return general, specific
    alpha = alpha.reshape(alpha.shape + (1,) * (general.ndim - alpha.ndim))
    return ((1 - alpha) * general + alpha * specific,)


def _in_blocks(function: Callable[..., Any], a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
    """Apply `function` to planes (..., H, W) and alpha (...), on a CPU by as many as stay in cache."""
    batch_shape, plane_shape = a.shape[:-2], a.shape[-2:]
    count, block = math.prod(batch_shape), max(1, BLOCK_PIXELS // math.prod(plane_shape))
    # Not an int: exported for batches of any size.
    if not isinstance(count, int) or count <= block or any(map(is_spread, jax.tree.leaves((a, b, alpha)))):
        return function(a, b, alpha)

    def in_blocks(a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> Any:
        planes = jax.tree.map(lambda x: x.reshape(count, *x.shape[len(batch_shape) :]), (a, b, alpha))
        # A block of several planes in two parts that XLA computes at the same time: of a whole, it divides only some
        # operations among threads.
        parts = min(block, 2)
        size = block // parts
        steps = count // (parts * size)
        full = parts * steps * size

        def step(_: None, block: Any) -> tuple[None, Any]:
            rows = [slice(part * size, (part + 1) * size) for part in range(parts)]
            return None, [function(*jax.tree.map(operator.itemgetter(part), block)) for part in rows]

        # Whole steps of the planes as they lie in memory: any other order would be a copy of them.
        blocks = jax.tree.map(lambda x: x[:full].reshape(steps, parts * size, *x.shape[1:]), planes)
        _, results = lax.scan(step, None, blocks)
        results = [jax.tree.map(lambda *x: jnp.concatenate(x, axis=1).reshape(full, *x[0].shape[2:]), *results)]
        if count > full:
            results.append(function(*jax.tree.map(lambda x: x[full:], planes)))
        results = jax.tree.map(lambda *x: jnp.concatenate(x), *results)
        return jax.tree.map(lambda x: x.reshape(*batch_shape, *x.shape[1:]), results)

    return lax.platform_dependent(a, b, alpha, cpu=in_blocks, default=function)
