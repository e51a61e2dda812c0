"""Value and gradient of BlurSim in PyTorch beside the formula written plainly: `python -m benchmarks.gradient_torch`.

The plain one takes Sobel by `conv2d`, subtracts the magnitudes and leaves the gradient to autograd. All rows are timed
in one run, in turn, and given as medians and as ratios to the floor: two forward and one inverse real transform of the
same tensors, with their mean squared error.
"""

import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from blursim_torch import blursim
from blursim_torch._checks import check_options
from blursim_torch._edges import specific
from blursim_torch._spectrum import general

SHAPE = (8, 3, 256, 256)
REPEATS = 50
ALPHA = 0.9


def main() -> None:
    """Time, then print the table."""
    warnings.filterwarnings("ignore", message="Torchinductor does not support code generation for complex")
    a, b = torch.from_numpy(np.random.default_rng(0).random((2, *SHAPE), np.float32))
    rows: dict[str, Callable] = {
        "floor: 3 transforms and MSE": floor,
        "blursim, value and gradient": value_and_gradient(blursim),
        "conv2d and autograd": value_and_gradient(plain),
        "our value and autograd": value_and_gradient(without_rule),
        "blursim under torch.func.grad": torch.func.grad_and_value(blursim),
        "blursim, value": blursim,
    }
    (ours, gradient), (plains, plain_gradient) = (value_and_gradient(f)(a, b) for f in (blursim, plain))
    error = torch.linalg.vector_norm(gradient - plain_gradient) / torch.linalg.vector_norm(gradient)
    if not torch.allclose(ours, plains, rtol=1e-5) or error > 1e-4:
        raise SystemExit(f"the two formulas differ: {ours} and {plains}, gradients by {error}")
    times = measure(rows, a, b)
    # After the others: once loaded, the compiler changes how fast memory is had, for better and worse.
    times |= measure({"blursim under torch.compile": value_and_gradient(torch.compile(blursim, fullgraph=True))}, a, b)
    unit = float(np.median(times["floor: 3 transforms and MSE"]))
    threads = torch.get_num_threads()
    print(f"{SHAPE} float32, cpu, {threads} threads, torch {torch.__version__}, median of {REPEATS} [quartiles]")
    for name, values in times.items():
        low, median, high = np.percentile(values, [25, 50, 75])
        print(f"{name:30} {median:7.1f} ms [{low:6.1f}, {high:6.1f}]  {median / unit:5.1f} x floor")
    plain_time = np.median(times["conv2d and autograd"])
    for name in ("value and gradient", "under torch.compile"):
        row = next(row for row in times if name in row)
        print(f"{row}: {plain_time / np.median(times[row]):.1f} times faster than conv2d and autograd")


def measure(rows: dict[str, Callable], a: Tensor, b: Tensor) -> dict[str, list[float]]:
    """Times in ms, the rows in turn."""
    for function in rows.values():
        function(a, b)
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(REPEATS):
        for name, function in rows.items():
            start = time.perf_counter()
            function(a, b)
            times[name].append(1000 * (time.perf_counter() - start))
    return times


def value_and_gradient(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """The loss followed by its gradient by the first argument."""

    def run(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        a = a.detach().requires_grad_()
        value = loss(a, b)
        return value, torch.autograd.grad(value, a)[0]

    return run


def floor(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The transforms that the formula cannot do without."""
    return torch.mean((a - b) ** 2), torch.fft.irfft2(torch.fft.rfft2(a) * torch.fft.rfft2(b), s=a.shape[-2:])


def plain(a: Tensor, b: Tensor) -> Tensor:
    """BlurSim as the formula reads, for images without zeros in spectrum or edges."""
    area = a.shape[-2] * a.shape[-1]
    squares = (torch.fft.rfft2(a).abs() - torch.fft.rfft2(b).abs()) ** 2
    # Of an even width, every column of the half spectrum but the first and the last stands for two.
    twice = 2 * torch.sum(squares, dim=(-2, -1)) - torch.sum(squares[..., [0, -1]], dim=(-2, -1))
    edges = sobel_magnitude(a) - sobel_magnitude(b)
    general = torch.sqrt(twice) / area
    specific = torch.sqrt(torch.sum(edges**2, dim=(-2, -1))) / area
    return torch.mean((1 - ALPHA) * general + ALPHA * specific)


def without_rule(a: Tensor, b: Tensor) -> Tensor:
    """BlurSim by the package's own values, by slices and adds, with the gradient left to autograd."""
    options = check_options(5, "magnitude", "area", 1.0, None)
    return torch.mean((1 - ALPHA) * general(a, b, options) + ALPHA * specific(a, b, options))


def sobel_magnitude(x: Tensor) -> Tensor:
    """Sobel gradient magnitude by convolution."""
    smooth, difference = torch.tensor([1.0, 4, 6, 4, 1]), torch.tensor([-1.0, -2, 0, 2, 1])
    kernels = torch.stack([torch.outer(smooth, difference), torch.outer(difference, smooth)])[:, None]
    padded = pad(x.flatten(0, -3)[:, None], (2, 2, 2, 2), mode="reflect")
    # Both derivatives are 0 in the corners, where the square root has no gradient.
    magnitude = torch.sqrt(torch.sum(conv2d(padded, kernels) ** 2, dim=1) + 1e-12)
    return magnitude.reshape(x.shape)


if __name__ == "__main__":
    main()
