"""The comparison of planes: both terms, their mixture, and the rule of the gradient."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from blursim_jax._checks import Options
from blursim_jax._edges import specific, specific_gradient
from blursim_jax._layout import Layout
from blursim_jax._spectrum import general, general_gradient

WHOLE_PLANES = Layout()


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def compare_planes(
    a: jax.Array, b: jax.Array, alpha: jax.Array | None, options: Options, layout: Layout = WHOLE_PLANES
) -> tuple[jax.Array, ...]:
    """The mixture of the terms for each plane pair, (..., H, W) to (...), or both terms where alpha is None.

    Returning a tuple lets one rule of differentiation serve `blursim` and `blursim_terms`.
    """

    def values(a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> tuple[jax.Array, ...]:
        return mix(general(a, b, options, layout), specific(a, b, options, layout), alpha)

    return layout.in_blocks(values, a, b, alpha)


# The gradient is written out because autodiff is several times slower. It is the rule of a `custom_jvp`: the tangent of
# the result is the inner product of gradient and tangent. From it, JAX derives forward and reverse mode, `vmap`
# and second order. The only arrays of the images' size that reverse mode stores are the gradients.
@functools.partial(compare_planes.defjvp, symbolic_zeros=True)
def _compare_planes_jvp(options: Options, layout: Layout, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    argnums = [i for i in (0, 1) if not isinstance(tangents[i], SymbolicZero)]

    def values_and_gradients(a: jax.Array, b: jax.Array, alpha: jax.Array | None) -> tuple[Any, list[Any], Any]:
        terms, gradients = None, []
        for argnum in argnums:
            general_value, general_by_x = general_gradient(a, b, options, argnum, layout)
            specific_value, specific_by_x = specific_gradient(a, b, options, argnum, layout)
            terms = general_value, specific_value
            gradients.append(mix(general_by_x, specific_by_x, alpha))
        if terms is None:
            terms = general(a, b, options, layout), specific(a, b, options, layout)
        return mix(*terms, alpha), gradients, terms[1] - terms[0]

    values, gradients, by_alpha = layout.in_blocks(values_and_gradients, *primals)
    tangents_out = jax.tree.map(jnp.zeros_like, values)
    for argnum, gradient in zip(argnums, gradients, strict=True):
        products = jax.tree.map(lambda g, t=tangents[argnum]: layout.total(g * t), gradient)
        tangents_out = jax.tree.map(jnp.add, tangents_out, products)
    if tangents[2] is not None and not isinstance(tangents[2], SymbolicZero):
        tangents_out = (tangents_out[0] + by_alpha * tangents[2],)
    return values, tangents_out


def mix(general: jax.Array, specific: jax.Array, alpha: jax.Array | None) -> tuple[jax.Array, ...]:
    """Mix the terms, values (...) or gradients (..., H, W), by alpha (...), or return both where alpha is None."""
    if alpha is None:
        return general, specific
    alpha = alpha.reshape(alpha.shape + (1,) * (general.ndim - alpha.ndim))
    return ((1 - alpha) * general + alpha * specific,)
