"""The comparison of planes: both terms, their mixture, and the rule of the gradient."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from blursim_torch._checks import Options
from blursim_torch._edges import specific, specific_gradient
from blursim_torch._numerics import per_plane, plane_sum
from blursim_torch._spectrum import general, general_gradient

# On a CPU the planes go through in blocks of at most this many pixels, 2 MiB of float32: fewer, and the calls cost more
# than the work; more, and it leaves the cache.
BLOCK_PIXELS = 2**19
# Above a limit, glibc returns freed memory to the system, to be had again by page faults: for small batches these were
# half the time. The limit is twice the largest piece ever freed, of those up to 32 MiB: one large enough for a block.
RESERVE_BYTES = 30 * 2**20

Tensors = tuple[Tensor, ...]


def compare_planes(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options) -> Tensors:
    """The mixture for every plane pair, (..., H, W) to (...), or its two terms where alpha is None."""
    if a.numel() == 0:
        # MKL transforms no empty batch.
        nothing = plane_sum(a + b)
        return (nothing, nothing) if alpha is None else (nothing + alpha,)
    if torch.compiler.is_compiling():
        return _Compiled.apply(a, b, alpha, options, _wanted(a, b, alpha))
    if not _wanted(a, b, alpha):
        # Not left to `jvp` below: of its result PyTorch takes the forward derivative for 0.
        duals = _unpack(a, b, alpha)
        if duals is not None:
            (x, y, weight), tangents = duals
            values, slopes = compare_planes(x, y, weight, options), _push(x, y, weight, options, tangents)
            return tuple(forward_ad.make_dual(*pair) for pair in zip(values, slopes, strict=True))
    return _Eager.apply(a, b, alpha, options, _wanted(a, b, alpha))[: _count(alpha)]


# The gradient is written out, because autodiff's is several times slower.
class _Compiled(torch.autograd.Function):
    """The rule for `torch.compile`, which finds by itself what value and gradient have in common."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, arguments: tuple[int, ...]) -> Tensors:
        return _in_blocks(a, b, alpha, options, arguments)[: _count(alpha)]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        *tensors, ctx.options, ctx.arguments = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *by_values: Tensor | None) -> tuple[Tensor | None, ...]:
        a, b, alpha = ctx.saved_tensors
        gradients = _values_and_gradients(a, b, alpha, ctx.options, ctx.arguments)[_count(alpha) :]
        return (*_pull(by_values, gradients, ctx.arguments), None, None)


# The gradient is computed with the value, which needs most of it. As `torch.func` shows a function's context nothing
# but inputs and outputs, the gradients are outputs too: after the values, for each of `arguments` (0 for a, 1 for b) as
# many as there are values, and for 2 the derivative by alpha.
class _Eager(torch.autograd.Function):
    """The rule for autograd and `torch.func`, with forward mode, `vmap` and derivatives of the gradient."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, arguments: tuple[int, ...]) -> Tensors:
        return _in_blocks(a, b, alpha, options, arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensors) -> None:
        *tensors, ctx.options, ctx.arguments = inputs
        ctx.count = _count(inputs[2])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, *output[ctx.count :])
        ctx.save_for_forward(*tensors, *output[ctx.count :])

    @staticmethod
    def backward(ctx: Any, *by_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        a, b, alpha, *gradients = ctx.saved_tensors
        result = _pull(by_outputs[: ctx.count], gradients, ctx.arguments)
        by_gradients = by_outputs[ctx.count :]
        if any(x is not None for x in by_gradients):
            function, primals = _gradients_of(a, b, alpha, ctx.options, ctx.arguments)
            pull = torch.func.vjp(function, *primals)[1]
            cotangents = (torch.zeros_like(g) if x is None else x for x, g in zip(by_gradients, gradients, strict=True))
            more = [*pull(tuple(cotangents)), None]
            result = [y if x is None else x if y is None else x + y for x, y in zip(result, more, strict=False)]
        return (*result, None, None)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> Tensors:
        a, b, alpha, *gradients = ctx.saved_tensors
        of_values = _push(a, b, alpha, ctx.options, tangents[:3])
        if not gradients:
            return of_values
        function, primals = _gradients_of(a, b, alpha, ctx.options, ctx.arguments)
        # The transpose of the transpose, because PyTorch nests no forward mode in another.
        pull = torch.func.vjp(function, *primals)[1]
        push = torch.func.vjp(pull, tuple(map(torch.zeros_like, gradients)))[1]
        full = (torch.zeros_like(p) if x is None else x for x, p in zip(tangents, primals, strict=False))
        return (*of_values, *push(tuple(full))[0])

    @staticmethod
    def vmap(info: Any, in_dims: tuple, *inputs: Any) -> tuple[Tensors, tuple[int, ...]]:
        def in_front(x: Any, dim: int | None) -> Any:
            if x is None:
                return None
            return x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)

        a, b, alpha = (in_front(x, dim) for x, dim in zip(inputs[:3], in_dims, strict=False))
        options, arguments = inputs[3:]
        if arguments:
            # And what a transform further out may want, which could not be seen through the batch.
            more = tuple(i for i in _wanted(a, b, alpha) if i not in arguments)
            outputs = _Eager.apply(a, b, alpha, options, arguments + more)
            outputs = outputs[: _count(alpha) * (1 + len(arguments))]
        else:
            outputs = compare_planes(a, b, alpha, options)
        return outputs, (0,) * len(outputs)


def _wanted(*tensors: Tensor | None) -> tuple[int, ...]:
    """By which of a, b and alpha a gradient may be asked for."""
    if not torch.is_grad_enabled():
        return ()
    return tuple(i for i, x in enumerate(tensors) if x is not None and x.requires_grad)


def _unpack(*tensors: Tensor | None) -> tuple[list[Any], list[Any]] | None:
    """Tensors without their tangents of forward mode, and the tangents; None if there are none to be seen."""
    try:
        duals = [(None, None) if x is None else forward_ad.unpack_dual(x) for x in tensors]
    except RuntimeError:
        # One is batched by `vmap`, whose rule above takes it out and comes here once more.
        return None
    primals, tangents = ([dual[i] for dual in duals] for i in (0, 1))
    return None if all(x is None for x in tangents) else (primals, tangents)


def _count(alpha: Tensor | None) -> int:
    return 2 if alpha is None else 1


def _pull(by_values: Any, gradients: Any, arguments: tuple[int, ...]) -> list[Tensor | None]:
    """What a change of the values means for a, b and alpha."""
    result: list[Tensor | None] = [None, None, None]
    rest = list(gradients)
    for argument in arguments:
        for by in by_values:
            gradient = rest.pop(0)
            if by is not None:
                product = (by if argument == 2 else per_plane(by)) * gradient
                before = result[argument]
                result[argument] = product if before is None else before + product
    return result


def _push(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, tangents: Any) -> Tensors:
    """What a change of a, b and alpha means for the values."""
    arguments = tuple(i for i, x in enumerate(tangents) if x is not None)
    count = _count(alpha)
    results = list(_values_and_gradients(a, b, alpha, options, arguments))
    slopes = [torch.zeros_like(results.pop(0)) for _ in range(count)]
    for argument in arguments:
        for k in range(count):
            product = results.pop(0) * tangents[argument]
            slopes[k] = slopes[k] + (product if argument == 2 else plane_sum(product))
    return tuple(slopes)


def _gradients_of(
    a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, arguments: tuple[int, ...]
) -> tuple[Callable[..., Tensors], Tensors]:
    """The gradients as a function of tensors alone, and those tensors."""

    def function(a: Tensor, b: Tensor, alpha: Tensor | None = None) -> Tensors:
        return _values_and_gradients(a, b, alpha, options, arguments)[_count(alpha) :]

    return function, (a, b) if alpha is None else (a, b, alpha)


def _values_and_gradients(
    a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, arguments: tuple[int, ...]
) -> Tensors:
    terms, gradients = None, {}
    for argument in arguments:
        if argument != 2:
            of_general, *by_general = general_gradient(a, b, options, argument)
            of_specific, *by_specific = specific_gradient(a, b, options, argument)
            terms = of_general, of_specific
            gradients[argument] = _mix_gradients(by_general, by_specific, alpha)
    if terms is None:
        terms = general(a, b, options), specific(a, b, options)
    gradients[2] = (terms[1] - terms[0],)
    return (*mix(*terms, alpha), *(gradient for argument in arguments for gradient in gradients[argument]))


def mix(general: Tensor, specific: Tensor, alpha: Tensor | None) -> Tensors:
    """Weigh the terms (...) by alpha (...); None keeps them apart."""
    return (general, specific) if alpha is None else (torch.lerp(general, specific, alpha),)


def _mix_gradients(by_general: Any, by_specific: Any, alpha: Tensor | None) -> Tensors:
    """Weigh gradients, each planes (..., H, W) and their factors (...), by alpha (...); None keeps them apart."""
    (general, general_slope), (specific, specific_slope) = by_general, by_specific
    if alpha is None:
        return general * per_plane(general_slope), specific * per_plane(specific_slope)
    # The factors together first: it is two operations less for every pixel.
    general = general * per_plane((1 - alpha) * general_slope)
    return (torch.addcmul(general, specific, per_plane(alpha * specific_slope)),)


def _in_blocks(a: Tensor, b: Tensor, alpha: Tensor | None, options: Options, arguments: tuple[int, ...]) -> Tensors:
    """Compare planes (..., H, W) with weights alpha (...), on a CPU by as many as stay in cache."""
    *batch_shape, height, width = a.shape
    # Of one order in memory, whatever they came in, for sums to be rounded alike.
    a, b = a.contiguous(), b.contiguous()
    if torch.compiler.is_compiling() or a.device.type != "cpu":
        return _values_and_gradients(a, b, alpha, options, arguments)
    torch.UntypedStorage(RESERVE_BYTES)
    block = max(1, BLOCK_PIXELS // (height * width))
    if a.numel() <= block * height * width:
        return _values_and_gradients(a, b, alpha, options, arguments)
    a, b = a.reshape(-1, height, width), b.reshape(-1, height, width)
    alpha = None if alpha is None else alpha.reshape(-1)
    results: Tensors = ()
    for start in range(0, len(a), block):
        part = slice(start, start + block)
        of_block = _values_and_gradients(a[part], b[part], None if alpha is None else alpha[part], options, arguments)
        results = results or tuple(x.new_empty(len(a), *x.shape[1:]) for x in of_block)
        for result, x in zip(results, of_block, strict=True):
            result[part] = x
    return tuple(x.reshape(*batch_shape, *x.shape[1:]) for x in results)
