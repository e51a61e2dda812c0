"""Computation in parts that fit in a CPU's cache: blocks of a batch, strips of the rows of large planes."""

import ctypes
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from blursim_torch._numerics import has_symbolic_sizes, plane_sum

# A block has planes of up to this number of pixels, 2 MiB of float32, and at least one. In smaller blocks, the calls
# take longer than the work. Larger blocks do not fit in cache.
BLOCK_PIXELS = 2**19
# The approximate number of pixels in a strip, without margins. In strips, fewer plane-sized temporaries are allocated,
# and a strip fits in cache.
STRIP_PIXELS = 2**18
# How much freed memory glibc keeps: more than the temporaries of a plane of 2048x2048. By default, it returns pieces
# above one threshold to the system, and the end of the heap above another. New allocations then cause page faults, half
# the time of most calls.
KEPT_BYTES = 2**28
# The largest piece that glibc allows to be kept.
KEPT_PIECE_BYTES = 2**25

Tensors = tuple[Tensor, ...]


def in_blocks(
    function: Callable[[Tensor, Tensor, Tensor | None], Tensors], a: Tensor, b: Tensor, alpha: Tensor | None
) -> Tensors:
    """Apply `function` to planes (..., H, W) and alpha (...); on a CPU, to blocks of the batch in turn."""
    *batch_shape, height, width = a.shape
    # Sums over planes are rounded in the order of memory, which should not depend on the caller's strides.
    a, b = a.contiguous(), b.contiguous()
    if a.device.type != "cpu":
        return function(a, b, alpha)
    keep_freed_memory()
    if has_symbolic_sizes():
        return function(a, b, alpha)
    block = max(1, BLOCK_PIXELS // (height * width))
    if a.numel() <= block * height * width:
        return function(a, b, alpha)
    a, b = a.reshape(-1, height, width), b.reshape(-1, height, width)
    alpha = None if alpha is None else alpha.reshape(-1)
    results: Tensors = ()
    for start in range(0, len(a), block):
        part = slice(start, start + block)
        block_results = function(a[part], b[part], None if alpha is None else alpha[part])
        results = results or tuple(x.new_empty(len(a), *x.shape[1:]) for x in block_results)
        for result, x in zip(results, block_results, strict=True):
            result[part] = x
    return tuple(x.reshape(*batch_shape, *x.shape[1:]) for x in results)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory in this process, unless the environment sets its thresholds."""
    _set_thresholds()


# `torch.compile` calls the function when it traces. `torch.compiler.assume_constant_result` sets this attribute, but
# imports the compiler.
keep_freed_memory._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _set_thresholds() -> None:
    if os.environ.keys() & {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"}:
        # The user has decided.
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt(m_mmap_threshold, KEPT_PIECE_BYTES)
    mallopt(m_trim_threshold, KEPT_BYTES)


# Named tuples of planes (..., H, W), some of which may be None, or the empty tuple.
Summands = TypeVar("Summands", bound=tuple)
Images = TypeVar("Images", bound=tuple)


def in_strips(
    function: Callable[[Tensor, Tensor], tuple[Summands, Images]], x: Tensor, y: Tensor, margin: int
) -> tuple[Summands, Images]:
    """Apply `function` to planes and sum its summands; on a CPU, to strips of the rows of large planes.

    A strip is extended by `margin` rows on both sides, so that its artificial borders do not affect its own rows.
    """
    height, all_rows = x.shape[-2], row_slices(x, margin)
    if len(all_rows) == 1:
        summands, images = function(x, y)
        return _each_field(plane_sum, summands), images
    sums, parts = [], []
    for rows in all_rows:
        start, stop = max(rows.start - margin, 0), min(rows.stop + margin, height)
        own = slice(rows.start - start, rows.stop - start)
        summands, images = function(x[..., start:stop, :], y[..., start:stop, :])
        sums.append(_each_field(lambda z, own=own: plane_sum(z[..., own, :]), summands))
        parts.append(_each_field(lambda z, own=own: z[..., own, :], images))
    return _each_field(lambda *z: add_strips(z), *sums), _each_field(lambda *z: join_strips(z), *parts)


def _each_field(function: Callable[..., Tensor], *tuples: Any) -> Any:
    """Apply `function` to each field of named tuples of one type. Fields that are None stay None."""
    return type(tuples[0])(*(None if field[0] is None else function(*field) for field in zip(*tuples, strict=True)))


def row_slices(x: Tensor, margin: int = 0) -> list[slice]:
    """The rows of each strip of planes (..., H, W): four times the margin or more, except in the last strip."""
    height, width = x.shape[-2:]
    if has_symbolic_sizes() or x.device.type != "cpu" or height * width <= 2 * STRIP_PIXELS:
        return [slice(None)]
    rows = max(1, STRIP_PIXELS // width, 4 * margin)
    return [slice(start, min(start + rows, height)) for start in range(0, height, rows)]


def join_strips(parts: Sequence[Tensor]) -> Tensor:
    """Planes from strips of their rows."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=-2)


def add_strips(parts: Sequence[Tensor]) -> Tensor:
    """Sums over rows from sums over strips of rows."""
    return functools.reduce(torch.add, parts)
