"""The comparison of planes: both terms, their mixture, and the rule of the gradient."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from blursim_torch._checks import Options
from blursim_torch._edges import specific, specific_gradient
from blursim_torch._numerics import ScaledPlanes, is_tracing, per_plane, plane_sum
from blursim_torch._spectrum import general, general_gradient
from blursim_torch._tiles import Tensors, in_blocks


def compare_planes(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options) -> Tensors:
    """The mixture of the terms for each plane pair, (..., H, W) to (...), or both terms where alpha is None.

    Returning a tuple lets one rule of differentiation serve `blursim` and `blursim_terms`.
    """
    if a.numel() == 0:
        # MKL refuses to transform an empty batch.
        empty = plane_sum(a + b)
        return (empty, empty) if alpha is None else (empty + alpha,)
    if is_tracing():
        # A trace records operations, not the rule below, and so is differentiated by autograd.
        return _in_blocks(a, b, alpha, options, ())
    if torch.compiler.is_compiling():
        return _Compiled.apply(a, b, alpha, options, _needs_gradient(a, b, alpha))[: _value_count(alpha)]
    if not _needs_gradient(a, b, alpha):
        # Forward mode over forward mode would be wrong by `jvp` below, whose result PyTorch treats as constant.
        duals = _unpack_duals(a, b, alpha)
        if duals is not None:
            (x, y, weight), tangents = duals
            values, tangents_out = compare_planes(x, y, weight, options), _jvp(x, y, weight, options, tangents)
            return tuple(forward_ad.make_dual(*pair) for pair in zip(values, tangents_out, strict=True))
    return _Eager.apply(a, b, alpha, options, _needs_gradient(a, b, alpha))[: _value_count(alpha)]


# The gradient is written out because autodiff is several times slower. It is computed together with the value, with
# which it shares most of the work. `torch.func` lets a context save inputs and outputs only, so the gradients are
# outputs: after the values, one gradient of each value for argnums 0 (a) and 1 (b), and one derivative for argnum 2
# (alpha).
class _Compiled(torch.autograd.Function):
    """The rule for `torch.compile`, without second order."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, argnums: tuple[int, ...]) -> Tensors:
        return _in_blocks(a, b, alpha, options, argnums)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        ctx.argnums, ctx.count = inputs[-1], _value_count(inputs[2])
        ctx.mark_non_differentiable(*output[ctx.count :])
        ctx.save_for_backward(*output[ctx.count :])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        return (*_vjp(cotangents[: ctx.count], ctx.saved_tensors, ctx.argnums), None, None)


class _Eager(torch.autograd.Function):
    """The rule for autograd and `torch.func`, with forward mode, `vmap` and derivatives of the gradient."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, argnums: tuple[int, ...]) -> Tensors:
        return _in_blocks(a, b, alpha, options, argnums)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        *tensors, ctx.options, ctx.argnums = inputs
        ctx.count = _value_count(inputs[2])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *output[ctx.count :])
        ctx.save_for_forward(*tensors, *output[ctx.count :])

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        a, b, alpha, *gradients = ctx.saved_tensors
        result = _vjp(cotangents[: ctx.count], gradients, ctx.argnums)
        of_gradients = cotangents[ctx.count :]
        if any(x is not None for x in of_gradients):
            function, primals = _gradients_of(a, b, alpha, ctx.options, ctx.argnums)
            vjp = torch.func.vjp(function, *primals)[1]
            dense = (torch.zeros_like(g) if x is None else x for x, g in zip(of_gradients, gradients, strict=True))
            second_order = [*vjp(tuple(dense)), None]
            pairs = zip(result, second_order, strict=False)
            result = [y if x is None else x if y is None else x + y for x, y in pairs]
        return (*result, None, None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensors:
        a, b, alpha, *gradients = ctx.saved_tensors
        of_values = _jvp(a, b, alpha, ctx.options, tangents[:3])
        if not gradients:
            return of_values
        function, primals = _gradients_of(a, b, alpha, ctx.options, ctx.argnums)
        # A jvp as the vjp of a vjp, because PyTorch does not nest `torch.func.jvp` in forward mode.
        vjp = torch.func.vjp(function, *primals)[1]
        jvp = torch.func.vjp(vjp, tuple(map(torch.zeros_like, gradients)))[1]
        dense = (torch.zeros_like(p) if x is None else x for x, p in zip(tangents, primals, strict=False))
        return (*of_values, *jvp(tuple(dense))[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple, *inputs: Any) -> tuple[Tensors, tuple[int, ...]]:
        def batch_first(x: Any, dim: int | None) -> Any:
            if x is None:
                return None
            return x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)

        a, b, alpha = (batch_first(x, dim) for x, dim in zip(inputs[:3], in_dims, strict=False))
        options, argnums = inputs[3:]
        if argnums:
            # An outer transform may need more gradients, which the batched tensors hid.
            hidden = tuple(i for i in _needs_gradient(a, b, alpha) if i not in argnums)
            outputs = _Eager.apply(a, b, alpha, options, argnums + hidden)
            outputs = outputs[: _value_count(alpha) * (1 + len(argnums))]
        else:
            outputs = compare_planes(a, b, alpha, options)
        return outputs, (0,) * len(outputs)


def _needs_gradient(*tensors: Tensor | None) -> tuple[int, ...]:
    """Which of a, b and alpha (0, 1, 2) may need a gradient."""
    if not torch.is_grad_enabled():
        return ()
    return tuple(i for i, x in enumerate(tensors) if x is not None and x.requires_grad)


def _unpack_duals(*tensors: Tensor | None) -> tuple[list[Any], list[Any]] | None:
    """Primals and tangents of forward mode, or None where there are no tangents."""
    try:
        duals = [(None, None) if x is None else forward_ad.unpack_dual(x) for x in tensors]
    except RuntimeError:
        # A tensor is batched by `vmap`, whose rule above calls `compare_planes` again without the batch.
        return None
    primals, tangents = ([dual[i] for dual in duals] for i in (0, 1))
    return None if all(x is None for x in tangents) else (primals, tangents)


def _value_count(alpha: Tensor | None) -> int:
    """How many values `compare_planes` has: the mixture, or both terms where alpha is None."""
    return 2 if alpha is None else 1


def _vjp(cotangents: Any, gradients: Any, argnums: tuple[int, ...]) -> list[Tensor | None]:
    """The cotangents of a, b and alpha from those of the values; None where there is none."""
    result: list[Tensor | None] = [None, None, None]
    rest = list(gradients)
    for argnum in argnums:
        for cotangent in cotangents:
            gradient = rest.pop(0)
            if cotangent is not None:
                product = (cotangent if argnum == 2 else per_plane(cotangent)) * gradient
                total = result[argnum]
                result[argnum] = product if total is None else total + product
    return result


def _jvp(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, tangents: Any) -> Tensors:
    """The tangents of the values from those of a, b and alpha."""
    argnums = tuple(i for i, x in enumerate(tangents) if x is not None)
    count = _value_count(alpha)
    results = list(_values_and_gradients(a, b, alpha, options, argnums))
    tangents_out = [torch.zeros_like(results.pop(0)) for _ in range(count)]
    for argnum in argnums:
        for k in range(count):
            product = results.pop(0) * tangents[argnum]
            tangents_out[k] = tangents_out[k] + (product if argnum == 2 else plane_sum(product))
    return tuple(tangents_out)


def _gradients_of(
    a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, argnums: tuple[int, ...]
) -> tuple[Callable[..., Tensors], Tensors]:
    """The gradients as a function of tensors, and these tensors."""

    def function(a: Tensor, b: Tensor, alpha: Tensor | None = None) -> Tensors:
        return _values_and_gradients(a, b, alpha, options, argnums)[_value_count(alpha) :]

    return function, (a, b) if alpha is None else (a, b, alpha)


def _in_blocks(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, argnums: tuple[int, ...]) -> Tensors:
    return in_blocks(functools.partial(_values_and_gradients, options=options, argnums=argnums), a, b, alpha)


def _values_and_gradients(
    a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, argnums: tuple[int, ...]
) -> Tensors:
    terms, gradients = None, {}
    for argnum in argnums:
        if argnum != 2:
            general_value, general_by_x = general_gradient(a, b, options, argnum)
            specific_value, specific_by_x = specific_gradient(a, b, options, argnum)
            terms = general_value, specific_value
            gradients[argnum] = _mix_gradients(general_by_x, specific_by_x, alpha)
    if terms is None:
        terms = general(a, b, options), specific(a, b, options)
    gradients[2] = (terms[1] - terms[0],)
    return (*mix(*terms, alpha), *(gradient for argnum in argnums for gradient in gradients[argnum]))


def mix(general: Tensor, specific: Tensor, alpha: Tensor | None) -> Tensors:
    """Mix the terms (...) by alpha (...), or return both where alpha is None."""
    return (general, specific) if alpha is None else (torch.lerp(general, specific, alpha),)


def _mix_gradients(general: ScaledPlanes, specific: ScaledPlanes, alpha: Tensor | None) -> Tensors:
    """Mix the gradients of the terms, as `mix` does the terms."""
    if alpha is None:
        return general.planes * per_plane(general.factor), specific.planes * per_plane(specific.factor)
    # The factors are multiplied first, which saves two passes over the pixels.
    planes = general.planes * per_plane((1 - alpha) * general.factor)
    return (torch.addcmul(planes, specific.planes, per_plane(alpha * specific.factor)),)
