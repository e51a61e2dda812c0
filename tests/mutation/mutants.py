"""Wrong versions of the packages, each of which the tests must notice: `python tests/mutation/mutants.py [NAME ...]`.

A mutant is one replacement in one file, and the one test that is to fail for it, so that it takes seconds. Each runs in
a copy of the tree, after all these tests have passed on an unchanged copy. Prints a Markdown table; exits with 1 if a
mutant survived.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# What the tests below need.
TREE = ("pyproject.toml", "blursim_jax", "blursim_torch", "tests")
# Against the reference: noise, flat and black images of 8 x 9; one pixel moved by one rounding error in 64 x 60, with
# gradients; images of little contrast. Against the other package: both gradients under "relative".
FLAT = "test_values.py::test_flat_and_black_images_are_finite[{}-magnitude-area-5]"
FLAT_RELATIVE = FLAT.replace("magnitude-area-5", "magnitude-relative-7")
FLAT_LOG = FLAT.replace("magnitude-area-5", "log-relative-5")
ONE_ULP = "test_gradients.py::test_one_pixel_one_ulp_away[{}-magnitude-area-5]"
LOW_CONTRAST = "test_gradients.py::test_low_contrast_and_strong_blur[{}-magnitude-area-5-(64, 60)]"
PARITY = "test_parity.py::test_float64[magnitude-relative-7]"
# By themselves: a batch and its images, maps, transforms.
BATCH = "test_values.py::test_a_batch_in_blocks_is_its_images[{}]"
CHANNELS = "test_values.py::test_channels_are_averaged[{}]"
SHORT = "test_values.py::test_short_dtypes_are_computed_in_float32[{}-float16-1.0]"
STRIPS = "test_gradients.py::test_large_images[{}-magnitude-relative-7]"
MAPS = "test_values.py::test_maps_show_where[{}]"
SECOND_JAX = "test_transforms_jax.py::test_no_nan_inside[magnitude-area-5-few]"
FUNC_TORCH = "test_transforms_torch.py::test_func[magnitude-area-5]"
MASK = "test_metrics.py::test_a_mask_leaves_images_out_whatever_they_hold[{}]"
TERMS = "test_values.py::test_terms_are_those_of_the_reference[{}-complex_l1-rms-5-float32-(12, 11)]"
PIXELS = "test_values.py::test_pixels_that_a_mask_leaves_out[{}-complex_l1-rms-5-None]"
DEVICES = "test_sharding.py::test_the_same_value_and_gradients_as_on_one_device[magnitude-area-5]"

Change = tuple[str, str]


# What pytest ends with if it runs none.
NO_TESTS = 5


class Mutant(NamedTuple):
    """`old` becomes `new` in a file of a package, and `test` has to fail."""

    name: str
    package: str
    broken: str
    path: str
    old: str
    new: str
    test: str


def idea(
    name: str,
    broken: str,
    test: str,
    file: str,
    *,
    both: Change | None = None,
    jax: Change | None = None,
    torch: Change | None = None,
) -> Iterator[Mutant]:
    """The mutants of one idea: the same change in both packages, or a change in each."""
    for framework, change in (("jax", both or jax), ("torch", both or torch)):
        if change:
            package = f"blursim_{framework}"
            yield Mutant(
                f"{framework}-{name}", package, broken, f"{package}/{file}", *change, f"tests/{test.format(framework)}"
            )


MUTANTS = [
    # General.
    *idea(
        "no-nyquist-weight",
        "the Nyquist column counts twice",
        ONE_ULP,
        "_spectrum.py",
        jax=("weights[-1] = 1", "weights[-1] = 2"),
        torch=("(column == 0) | (2 * column == width)", "column == 0"),
    ),
    *idea(
        "dc-twice",
        "the column of frequency 0 counts twice",
        ONE_ULP,
        "_spectrum.py",
        jax=("weights[0] = 1", "weights[0] = 2"),
        torch=("(column == 0) | (2 * column == width)", "2 * column == width"),
    ),
    *idea(
        "height-for-width",
        "the half spectrum is weighed by whether the height is even",
        "test_values.py::test_a_half_spectrum_of_every_width[{}-8]",
        "_spectrum.py",
        jax=(
            "return safe_sqrt(_sum_from_half(e * e, width, layout))",
            "return safe_sqrt(_sum_from_half(e * e, height, layout))",
        ),
        torch=(
            "        squares.append(_sum_from_half(e * e, width))\n    return",
            "        squares.append(_sum_from_half(e * e, a.shape[-2]))\n    return",
        ),
    ),
    *idea(
        "bins-for-side",
        "de-emphasis takes the number of bins for the number of pixels",
        LOW_CONTRAST,
        "_transforms.py",
        jax=("np.arange(count) / size", "np.arange(count) / count"),
        torch=("(2 * math.pi / size)", "(2 * math.pi / count)"),
    ),
    *idea(
        "other-way-round",
        "pre-emphasis takes the wrong predecessor of the first pixel of a row",
        LOW_CONTRAST,
        "_layout.py",
        jax=("jnp.where(first_column, x[..., -1:], plane(start - 1))", "plane(start - 1)"),
    ),
    *idea(
        "other-way-round",
        "pre-emphasis takes the following pixel for the preceding one",
        LOW_CONTRAST,
        "_transforms.py",
        torch=(
            "torch.cat([x.narrow(dim, last, 1), x.narrow(dim, 0, last)], dim)",
            "torch.cat([x.narrow(dim, 1, last), x.narrow(dim, 0, 1)], dim)",
        ),
    ),
    *idea(
        "no-area-in-general",
        "General is not divided by N",
        FLAT,
        "_spectrum.py",
        jax=("level_scale(target, b, options) / (height * width)\n", "level_scale(target, b, options)\n"),
        torch=("level_scale(target, b, options) / area\n", "level_scale(target, b, options)\n"),
    ),
    *idea(
        "naive-spectra",
        "magnitudes are subtracted, not had from the difference",
        ONE_ULP,
        "_spectrum.py",
        jax=(
            "e = safe_divide(difference.real * both.real + difference.imag * both.imag, magnitude + other_magnitude)",
            "e = magnitude - other_magnitude",
        ),
        torch=(
            "e = dot(difference, add(transform, other)).div_(magnitude + other_magnitude)",
            "e = magnitude - other_magnitude",
        ),
    ),
    *idea(
        "difference-of-transforms",
        "images are subtracted after the transform",
        ONE_ULP,
        "_spectrum.py",
        jax=(
            "difference = half_spectrum(a - b, layout)",
            "difference = half_spectrum(a, layout) - half_spectrum(b, layout)",
        ),
        torch=("difference = half_spectrum(a - b)", "difference = half_spectrum(a) - half_spectrum(b)"),
    ),
    *idea(
        "no-imaginary-part",
        "the inner product leaves the imaginary part out",
        FLAT,
        "_spectrum.py",
        jax=(" + difference.imag * both.imag", ""),
    ),
    *idea(
        "no-imaginary-part",
        "the inner product leaves the imaginary part out",
        FLAT,
        "_complex.py",
        torch=("products[..., 0] + products[..., 1]", "products[..., 0]"),
    ),
    *idea(
        "no-conjugate",
        "the inner product conjugates twice",
        FLAT,
        "_spectrum.py",
        jax=(" + difference.imag * both.imag", " - difference.imag * both.imag"),
        torch=("dot(difference, add(transform, other))", "dot(difference, add(transform, other).conj_physical())"),
    ),
    *idea(
        "no-phase-floor",
        "bins that are rounding errors have a phase",
        "test_gradients.py::test_a_flat_image_moves_as_a_whole[{}-(59, 59)]",
        "_transforms.py",
        both=("PHASE_FLOOR = 64", "PHASE_FLOOR = 0"),
    ),
    *idea(
        "mean-given-back-whole",
        "frequency 0 is given back what one of the two filters took from it",
        "test_gradients.py::test_means_of_opposite_signs[{}]",
        "_transforms.py",
        jax=("(height * width) * (1 - rho_x) * (1 - rho_y)", "(height * width) * (1 - rho_x)"),
        torch=("rfft2(x, mean * (height * width))", "rfft2(x, mean * (height * width) * (1 - rho_x))"),
    ),
    *idea(
        "wrong-log-offset",
        "c is one grey level, without sqrt(N)",
        FLAT_LOG,
        "_spectrum.py",
        jax=("return math.sqrt(area) * options.grey_level()", "return options.grey_level()"),
        torch=("return area**0.5 * options.grey_level()", "return options.grey_level()"),
    ),
    *idea(
        "white-in-log",
        '"log" is divided by white',
        "test_values.py::test_data_range_divides_the_pixels[{}]",
        "_spectrum.py",
        both=('    if options.spectrum == "log":\n        return', "    if False:\n        return"),
    ),
    *idea(
        "sign-and-abs",
        "the second derivative misses bins that agree",
        "test_transforms_{}.py::test_second_order_where_bins_agree",
        "_spectrum.py",
        jax=(
            "sign * jnp.log1p(sign * e / (smaller + _log_offset(area, options)))",
            "jnp.sign(e) * jnp.log1p(jnp.abs(e) / (smaller + _log_offset(area, options)))",
        ),
        torch=(
            "sign * torch.log1p(sign * e / (smaller + _log_offset(area, options)))",
            "torch.sign(e) * torch.log1p(torch.abs(e) / (smaller + _log_offset(area, options)))",
        ),
    ),
    *idea(
        "no-grey-level",
        "the variance of a flat target is 0",
        FLAT_RELATIVE,
        "_spectrum.py",
        both=(" + options.grey_level() ** 2", ""),
    ),
    *idea(
        "contrast-of-prediction",
        "General is divided by the prediction's contrast",
        FLAT_RELATIVE,
        "_spectrum.py",
        jax=("general_scale(contrast(b, options, layout), b,", "general_scale(contrast(a, options, layout), b,"),
        torch=("general_scale(contrast(b, options), b,", "general_scale(contrast(a, options), b,"),
    ),
    *idea(
        "no-optimal-size",
        "the area is not the one that OpenCV pads to",
        "test_values.py::test_complex_is_what_was_released[{}-0]",
        "_spectrum.py",
        jax=("height, width = optimal_dft_size(height), optimal_dft_size(width)", "pass"),
        torch=("area = _padded_area(b)", "pass"),
    ),
    *idea(
        "sign-for-roles",
        "the gradient by the targets is that by the predictions with its sign turned",
        PARITY,
        "_spectrum.py",
        jax=(
            "distance, gradient = _distance_gradient(*((a, b) if argnum == 0 else (b, a)), options, layout)",
            "distance, gradient = _distance_gradient(a, b, options, layout)\n    gradient *= 1 - 2 * argnum",
        ),
        torch=(
            "(gradient, factor) = _distance_gradient(*((a, b) if argnum == 0 else (b, a)), options)",
            "(gradient, factor) = _distance_gradient(a, b, options)\n    gradient = gradient * (1 - 2 * argnum)",
        ),
    ),
    *idea(
        "constant-contrast",
        "the gradient by the targets takes their contrast for a constant",
        PARITY,
        "_spectrum.py",
        both=("if argnum == 1 and target is not None:", "if False:"),
    ),
    # Specific.
    *idea(
        "symmetric-border",
        "the border repeats the end pixels",
        FLAT,
        "_edges.py",
        jax=(
            "lax.slice_in_dim(x, 1, pad + 1, axis=axis), (axis,))\n"
            "    after = lax.rev(lax.slice_in_dim(x, size - 1 - pad, size - 1, axis=axis)",
            "lax.slice_in_dim(x, 0, pad, axis=axis), (axis,))\n"
            "    after = lax.rev(lax.slice_in_dim(x, size - pad, size, axis=axis)",
        ),
        torch=(
            "x.narrow(dim, 1, pad).flip(dim), x.narrow(dim, last - pad, pad)",
            "x.narrow(dim, 0, pad).flip(dim), x.narrow(dim, last + 1 - pad, pad)",
        ),
    ),
    *idea(
        "border-not-folded",
        "the gradient leaves out what lies beyond a border",
        PARITY,
        "_edges.py",
        jax=(
            "_weigh_ends(_smooth(_weigh_ends(x, -2, 2), -2, size), -2, 0.5)",
            "_smooth(x, -2, size)",
        ),
        torch=("_reflect(in_memory(x), -2, pad, ends=2)", "_reflect(in_memory(x), -2, pad)"),
    ),
    *idea(
        "wrong-axis",
        "one derivative is taken or smoothed along the wrong axis",
        FLAT,
        "_edges.py",
        jax=("_smooth(_difference(padded, -1, size), -2, size)", "_smooth(_difference(padded, -1, size), -1, size)"),
    ),
    *idea(
        "one-sided",
        "the outermost pixels of a derivative are not on both sides",
        FLAT,
        "_edges.py",
        torch=(
            "_shifted(padded, dim, middle, middle) - _shifted(padded, dim, middle, -middle)",
            "_shifted(padded, dim, middle, middle) - _shifted(padded, dim, middle, 0)",
        ),
    ),
    *idea(
        "transposed-kernels",
        "the gradient exchanges both derivatives, which values cannot show",
        ONE_ULP,
        "_edges.py",
        jax=("(weight * edges.x, weight * edges.y, size)", "(weight * edges.y, weight * edges.x, size)"),
        torch=("sobel_transpose(weighted_x, weighted_y, size)", "sobel_transpose(weighted_y, weighted_x, size)"),
    ),
    *idea(
        "wrong-tap",
        "one weight of the smoothing is wrong",
        FLAT,
        "_taps.py",
        both=("(1, 4, 6, 4, 1)", "(1, 4, 5, 4, 1)"),
    ),
    *idea(
        "no-area-in-specific",
        "Specific is not divided by N",
        FLAT,
        "_edges.py",
        jax=("1 / (area * options.white)", "1 / options.white"),
        torch=("1 / options.white) / area", "1 / options.white)"),
    ),
    *idea(
        "no-grey-level-of-edges",
        "the edges of a flat target are 0",
        FLAT_RELATIVE,
        "_edges.py",
        both=("sqrt(squared_b + offset)", "sqrt(squared_b)"),
    ),
    *idea(
        "strips-without-margins",
        "a border is reflected where a strip ends",
        STRIPS,
        "_edges.py",
        both=("return 2 * (size // 2)", "return 0"),
    ),
    *idea(
        "rows-counted-twice",
        "the rows that two strips go over are summed twice",
        STRIPS,
        "_tiles.py",
        jax=("(row >= i * rows)", "(row >= first)"),
        torch=("plane_sum(z[..., own, :])", "plane_sum(z)"),
    ),
    *idea(
        "naive-edges",
        "E(a) - E(b) is subtracted, not had from the difference",
        ONE_ULP,
        "_edges.py",
        jax=(
            "e = safe_divide(dx * (ax + bx) + dy * (ay + by), edges_a.magnitude + edges_b.magnitude)",
            "e = edges_a.magnitude - edges_b.magnitude",
        ),
        torch=(
            "e = torch.addcmul(dx.mul_(ax + bx), dy, ay + by).div_(edges_a.magnitude + edges_b.magnitude)",
            "e = edges_a.magnitude - edges_b.magnitude",
        ),
    ),
    *idea(
        "no-direction-floor",
        "edges that are rounding errors have a direction",
        "test_gradients.py::test_photos_of_8_bits[{}-complex-area-5]",
        "_edges.py",
        both=("DIRECTION_FLOOR = 1", "DIRECTION_FLOOR = 0"),
    ),
    *idea(
        "smoothing-first",
        "pixels are smoothed before they are subtracted",
        "test_gradients.py::test_edges_of_strongly_blurred_photos[{}-complex-area-5]",
        "_edges.py",
        jax=(
            "_smooth(_difference(_reflect(x, -2, size // 2), -2, size), -1, size)",
            "_difference(_reflect(_smooth(x, -1, size), -2, size // 2), -2, size)",
        ),
        torch=(
            "_smooth(in_memory(_difference(padded, -2, size)), -1, size)",
            "_difference(_smooth(padded, -1, size), -2, size)",
        ),
    ),
    *idea(
        "constant-edges",
        "the gradient by the targets takes their edges' norm for a constant",
        PARITY,
        "_edges.py",
        both=("differentiates_scale = argnum == 1 and", "differentiates_scale = False and"),
    ),
    # Zeros and NaN.
    *idea(
        "one-where-in-sqrt",
        "the square root has gradient NaN at 0",
        SECOND_JAX,
        "_numerics.py",
        jax=("jnp.sqrt(jnp.where(zero, 1, x))", "jnp.sqrt(x)"),
    ),
    *idea(
        "plain-sqrt",
        "the square root has gradient inf at 0",
        "test_transforms_torch.py::test_degenerate_images_have_finite_second_derivatives",
        "_numerics.py",
        torch=("return safe_divide(x, torch.sqrt(_inf_for_zero(x)))", "return torch.sqrt(x)"),
    ),
    *idea(
        "one-where-in-division",
        "the quotient has gradient NaN where the divisor is 0",
        SECOND_JAX,
        "_numerics.py",
        jax=("x / jnp.where(condition, y, 1)", "x / y"),
    ),
    *idea(
        "plain-division",
        "0 / 0 is NaN",
        "test_gradients.py::test_identical_images_are_exactly_zero[{}-magnitude-area-5]",
        "_numerics.py",
        torch=("return x / _inf_for_zero(y)", "return x / y"),
    ),
    *idea(
        "nan-hidden",
        "NaN in pixels gives the value 0",
        "test_values.py::test_nan_and_inf_come_through[{}-nan]",
        "_numerics.py",
        jax=("divide_where(y != 0, x, y)", "divide_where(y > 0, x, y)"),
    ),
    # The mixture, the batch, the rule of the gradient.
    *idea(
        "alpha-turned-round",
        "alpha weighs General",
        "test_values.py::test_blursim_mixes_the_terms[{}]",
        "_planes.py",
        jax=("((1 - alpha) * general + alpha * specific,)", "((1 - alpha) * specific + alpha * general,)"),
        torch=("torch.lerp(general, specific,", "torch.lerp(specific, general,"),
    ),
    *idea(
        "mean-before-alpha",
        "the mean of all alphas weighs every image",
        BATCH,
        "_loss.py",
        jax=("alpha.astype(a.dtype)[..., None]", "jnp.mean(alpha.astype(a.dtype))"),
        torch=("(weight.unsqueeze(-1) if per_image else weight).expand(", "weight.mean().expand("),
    ),
    *idea(
        "sum-for-mean",
        "sum and mean are mixed up",
        "test_values.py::test_a_batch_is_its_images[{}]",
        "_loss.py",
        jax=('{"mean": jnp.mean, "sum": jnp.sum,', '{"mean": jnp.sum, "sum": jnp.mean,'),
        torch=('{"mean": torch.mean, "sum": torch.sum,', '{"mean": torch.sum, "sum": torch.mean,'),
    ),
    *idea(
        "channels-mixed-first",
        "channels are averaged before they are compared",
        CHANNELS,
        "_images.py",
        jax=(
            "a, b = to_planes(predictions, options, dtype), to_planes(targets, options, dtype)",
            "a, b = (jnp.mean(to_planes(x, options, dtype), -3, keepdims=True) for x in (predictions, targets))",
        ),
        torch=(
            "a, b = to_planes(predictions, options, dtype), to_planes(targets, options, dtype)",
            "a, b = (torch.mean(to_planes(x, options, dtype), -3, keepdim=True) for x in (predictions, targets))",
        ),
    ),
    *idea(
        "channels-exchanged",
        "channels last become channels first with height and width exchanged",
        MAPS,
        "_images.py",
        jax=("jnp.moveaxis(images, -1, -3)", "jnp.swapaxes(images, -1, -3)"),
        torch=("images.movedim(-1, -3)", "images.transpose(-1, -3)"),
    ),
    *idea(
        "data-range-of-one",
        "the targets are not divided by data_range",
        "test_parity.py::test_dtypes[magnitude-area-5-uint8]",
        "_images.py",
        both=(
            "to_planes(targets, options, dtype)",
            "to_planes(targets, options._replace(data_range=(0.0, 1.0)), dtype)",
        ),
    ),
    *idea(
        "float16-throughout",
        "float16 is computed in float16",
        SHORT,
        "_images.py",
        jax=('for image in images) else "float32")', "for image in images) else images[0].dtype.name)"),
        torch=("for image in images) else torch.float32", "for image in images) else images[0].dtype"),
    ),
    *idea(
        "white-is-one",
        "of data_range, what is no power of two is left out",
        "test_values.py::test_data_range_divides_the_pixels[{}]",
        "_spectrum.py",
        jax=("jnp.full(b.shape[:-2], 1 / options.white, b.dtype)", "jnp.ones(b.shape[:-2], b.dtype)"),
        torch=("b.new_full(b.shape[:-2], 1 / options.white)", "b.new_ones(b.shape[:-2])"),
    ),
    *idea(
        "last-block-lost",
        "the last block, which is not full, is not computed",
        BATCH,
        "_tiles.py",
        jax=(
            "results.append(function(*jax.tree.map(lambda x: x[full",
            "results.append(function(*jax.tree.map(lambda x: 0 * x[full",
        ),
        torch=("range(0, len(a), block)", "range(0, len(a) - block + 1, block)"),
    ),
    *idea(
        "memory-goes-back",
        "a compiled program lets glibc return freed memory to the system",
        "test_isolation.py::test_torch_keeps_freed_memory[compiled]",
        "_tiles.py",
        torch=("keep_freed_memory()\n    if has_symbolic_sizes():", "if has_symbolic_sizes():"),
    ),
    *idea(
        "alpha-of-another",
        "in blocks, planes get the alpha of others",
        BATCH,
        "_tiles.py",
        jax=("(a, b, alpha))\n        # XLA", "(a, b, None if alpha is None else alpha[::-1]))\n        # XLA"),
        torch=("alpha[part]", "alpha[:1]"),
    ),
    *idea(
        "vmap-is-no-batch",
        "vmap batches the loop over blocks",
        "test_transforms_jax.py::test_vmap_computes_the_blocks_of_the_batch[gradient-None]",
        "_tiles.py",
        jax=("jax.custom_jvp(batched)", "jax.custom_jvp(apply)"),
    ),
    *idea(
        "vmap-shares-the-first",
        "under vmap, what is not batched is not repeated",
        "test_transforms_jax.py::test_vmap[magnitude-jit]",
        "_tiles.py",
        jax=("jnp.broadcast_to(x, (size, *x.shape)), arrays", "jnp.zeros((size, *x.shape), x.dtype), arrays"),
    ),
    *idea(
        "alpha-slope-turned",
        "the derivative by alpha has the other sign",
        "test_transforms_jax.py::test_the_gradient_by_alpha_is_the_difference_of_the_terms",
        "_planes.py",
        jax=("terms[1] - terms[0]", "terms[0] - terms[1]"),
    ),
    *idea(
        "alpha-slope-turned",
        "the derivative by alpha has the other sign",
        FUNC_TORCH,
        "_planes.py",
        torch=("terms[1] - terms[0]", "terms[0] - terms[1]"),
    ),
    *idea(
        "incoming-gradient-ignored",
        "reverse mode does not multiply by what comes in",
        FUNC_TORCH,
        "_planes.py",
        torch=("product = (cotangent if argnum == 2 else per_plane(cotangent)) * gradient", "product = gradient"),
    ),
    *idea(
        "vmap-drops-the-axis",
        "vmap takes the first axis for the batch, whichever it is",
        FUNC_TORCH,
        "_planes.py",
        torch=("else x.movedim(dim, 0)", "else x"),
    ),
    # Maps and checks.
    *idea(
        "no-shift",
        "the map of the spectrum has frequency 0 in its corner",
        MAPS,
        "_maps.py",
        jax=(
            "jnp.fft.fftshift(jnp.concatenate([half, mirrored], axis=-1), axes=(-2, -1))",
            "jnp.concatenate([half, mirrored], axis=-1)",
        ),
        torch=(
            "torch.fft.fftshift(torch.cat([half, mirrored], dim=-1), dim=(-2, -1))",
            "torch.cat([half, mirrored], dim=-1)",
        ),
    ),
    *idea(
        "shift-back",
        "the map of the spectrum is shifted the other way, which odd sizes show",
        MAPS,
        "_maps.py",
        both=("fft.fftshift(", "fft.ifftshift("),
    ),
    *idea(
        "half-mirrored-in-a-line",
        "the map of the spectrum is mirrored about the wrong row",
        "test_values.py::test_maps_of_spectra_have_every_frequency_in_its_place[{}-(9, 12)]",
        "_maps.py",
        jax=("axis=(-2, -1)), 1, axis=-2)", "axis=(-2, -1)), 0, axis=-2)"),
        torch=("(-2, -1)), 1, -2)", "(-2, -1)), 0, -2)"),
    ),
    *idea(
        "alpha-nan",
        "NaN is an alpha",
        "test_errors.py::test_alpha",
        "_checks.py",
        both=("if not 0 <= alpha <= 1:", "if alpha < 0 or alpha > 1:"),
    ),
    *idea(
        "shapes-broadcast",
        "images of other batch shapes are compared",
        "test_errors.py::test_images",
        "_checks.py",
        both=("if predictions != targets:", "if predictions[-2:] != targets[-2:]:"),
    ),
    *idea(
        "kernel-size-ignored",
        "the Sobel kernel has size 5, whatever is asked for",
        ONE_ULP.replace("magnitude-area-5", "complex-relative-3"),
        "_checks.py",
        both=("sobel_kernel_size=size,", "sobel_kernel_size=5,"),
    ),
    # Metrics, schedules, devices.
    *idea(
        "mask-times",
        "masked images are multiplied by 0",
        MASK,
        "metrics.py",
        jax=("jnp.where(chosen, a, 0)", "chosen.astype(a.dtype) * a"),
        torch=("torch.where(chosen, preds, 0)", "chosen * preds"),
    ),
    *idea(
        "mask-counts",
        "masked images count",
        MASK,
        "metrics.py",
        jax=("jnp.sum(images)", "jnp.asarray(images.size)"),
        torch=("images.sum()", "images.numel()"),
    ),
    *idea(
        "mean-of-means",
        "the metric is the mean of the updates' means",
        "test_metrics.py::test_the_mean_over_all_images_of_any_size[{}-{{'spectrum': 'complex', 'channel_axis': -1}}]",
        "metrics.py",
        jax=("jnp.sum(values)", "jnp.mean(values)"),
        torch=("general.to(self.general_total.dtype).sum()", "general.to(self.general_total.dtype).mean()"),
    ),
    *idea(
        "metric-drifts",
        "the sums of a metric are float32 without compensation",
        "test_metrics.py::test_sums_do_not_drift[{}-2000]",
        "metrics.py",
        jax=("+ compensation[...]\n", "\n"),
        torch=('== "mps" else torch.float64', '== "mps" else torch.float32'),
    ),
    *idea(
        "metric-cast",
        "the sums of a metric follow the dtype of the model",
        "test_metrics.py::test_torchmetrics_sums_exactly_whatever_it_is_cast_to[in a module]",
        "metrics.py",
        torch=("return moved if moved.dtype == x.dtype else x.to(moved.device)", "return moved"),
    ),
    *idea(
        "options-merged",
        "states of other options are added",
        "test_metrics.py::test_torchmetrics_states_of_other_options_are_refused[{{'spectrum': 'log'}}]",
        "metrics.py",
        torch=(
            "not isinstance(options, Tensor) or not torch.equal(options.detach().cpu().float(), own.float())",
            "False",
        ),
    ),
    # Pixels, masks, and the L1 of spectra.
    *idea(
        "sum-for-mean-modulus",
        "complex_l1 is divided by N, as magnitude is",
        TERMS,
        "_spectrum.py",
        jax=("(height * width) ** 1.5", "(height * width)"),
        torch=("area**1.5", "area"),
    ),
    *idea(
        "rounding-pulls",
        "under complex_l1, bins of rounding alone have a phase",
        "test_gradients.py::test_a_difference_of_few_bins[{}]",
        "_spectrum.py",
        jax=(
            "divide_where(has_phase, jnp.full_like(magnitude,",
            "divide_where(magnitude != 0, jnp.full_like(magnitude,",
        ),
        torch=(
            "divide_above(emphasized.phase_floor(rows), torch",
            "divide_above(0 * emphasized.phase_floor(rows), torch",
        ),
    ),
    *idea(
        "rms-of-area",
        "under rms, Specific is divided by N",
        TERMS,
        "_edges.py",
        jax=("(math.sqrt(area) * gain", "(area * gain"),
        torch=("/ area**0.5", "/ area"),
    ),
    *idea(
        "rms-without-gain",
        "under rms, Specific grows with the kernel",
        TERMS,
        "_edges.py",
        jax=("(math.sqrt(area) * gain * options.white)", "(math.sqrt(area) * options.white)"),
        torch=("(options.white * sobel_gain(options.sobel_kernel_size))) / area**0.5", "options.white) / area**0.5"),
    ),
    *idea(
        "black-is-zero",
        "black is not subtracted",
        "test_values.py::test_black_may_be_below_zero[{}-magnitude-area-5]",
        "_images.py",
        both=("planes = planes - options.black", "planes = planes + 0 * options.black"),
    ),
    *idea(
        "integers-as-they-come",
        "white of integer images is 1",
        "test_values.py::test_the_dtype_sets_the_data_range[{}-uint8-255]",
        "_checks.py",
        both=("float(LARGEST_INTEGER.get(predictions, 1))", "1.0"),
    ),
    *idea(
        "mask-inverted",
        "pixels that count are left out",
        PIXELS,
        "_images.py",
        jax=("jnp.where(counts, a, b), b", "jnp.where(counts, b, a), b"),
        torch=("torch.where(mask.unsqueeze(-3), a, b)", "torch.where(mask.unsqueeze(-3), b, a)"),
    ),
    *idea(
        "mask-to-black",
        "what a mask leaves out of the prediction is 0, not the target",
        PIXELS,
        "_images.py",
        jax=("jnp.where(counts, a, b), b", "jnp.where(counts, a, 0), b"),
        torch=("torch.where(mask.unsqueeze(-3), a, b)", "torch.where(mask.unsqueeze(-3), a, 0)"),
    ),
    *idea(
        "masked-by-products",
        "a NaN that a mask leaves out comes through",
        PIXELS,
        "_images.py",
        torch=("torch.where(mask.unsqueeze(-3), a, b)", "b + mask.unsqueeze(-3) * (a - b)"),
    ),
    *idea(
        "alpha-is-static",
        "alpha of a module is a constant of a compiled program",
        "test_transforms_jax.py::test_alpha_inside_a_module_never_recompiles[flax]",
        "_module.py",
        jax=("if isinstance(alpha, float) or", "if False and"),
    ),
    *idea(
        "alpha-is-static",
        "alpha of a module is a constant of a compiled program",
        "test_transforms_torch.py::test_alpha_hardly_recompiles[module]",
        "_module.py",
        torch=("self._weight if torch.compiler.is_compiling() else self.alpha", "self.alpha"),
    ),
    *idea(
        "alpha-cast",
        "a tensor as alpha follows the dtype of the model",
        "test_transforms_torch.py::test_the_module",
        "_module.py",
        torch=("moved if moved.dtype == self.alpha.dtype else self.alpha.to(moved.device)", "moved"),
    ),
    *idea(
        "restored-unset",
        "a restored schedule leaves alpha as it is",
        "test_schedules.py::test_saved_and_restored_at_every_step_the_same_to_the_bit[linear]",
        "schedules.py",
        torch=("self._become(restored)", "vars(self).update(vars(restored))"),
    ),
    *idea(
        "any-kind",
        "a schedule takes the state of another kind",
        "test_schedules.py::test_a_state_of_another_kind_changes_nothing",
        "schedules.py",
        torch=('state_dict.get("kind") != own["kind"] or ', ""),
    ),
    *idea(
        "sum-over-devices",
        "the mean over devices is their sum",
        DEVICES,
        "sharding.py",
        jax=('"mean": lax.pmean', '"mean": lax.psum'),
    ),
    *idea(
        "no-neighbour",
        "the first rows of a device take no rows from the one above",
        DEVICES,
        "_rows.py",
        jax=("jnp.where(on, part, z[own])", "z[own]"),
    ),
    *idea(
        "wrong-neighbour",
        "rows come from below instead of above",
        DEVICES,
        "_rows.py",
        jax=("(i, (i + 1) % self.size)", "(i, (i - 1) % self.size)"),
    ),
    *idea(
        "margins-count-twice",
        "rows next to another device count twice",
        DEVICES,
        "_rows.py",
        jax=("jnp.where(has_above, margin, 0)", "0"),
    ),
    *idea(
        "columns-of-the-first",
        "every device weighs its columns as the first does",
        DEVICES,
        "_rows.py",
        jax=("self.index() * each, each", "0, each"),
    ),
    # The command.
    *idea(
        "blue-for-red",
        "luma takes blue for red",
        "test_cli_images.py::test_what_is_in_the_file[PNG, 16-bit colour-grey]",
        "cli/images.py",
        jax=("0.299, 0.587, 0.114], np", "0.114, 0.587, 0.299], np"),
    ),
    *idea(
        "high-bytes-alone",
        "of colours of 16 bits the lower 8 are left out",
        "test_cli_images.py::test_what_is_in_the_file[PNG, 16-bit colour-colour]",
        "cli/images.py",
        jax=("|= np.asarray(low.getchannel(band))", "|= 0"),
    ),
    *idea(
        "lying-down",
        "images are not turned upright",
        "test_cli_images.py::test_upright[a.jpg-6]",
        "cli/images.py",
        jax=("ImageOps.exif_transpose(image) if", "image if"),
    ),
    *idea(
        "premultiplied",
        "colours of 16 bits multiplied by their opacity pass",
        "test_cli_images.py::test_what_would_be_read_wrongly_is_refused[premultiplied 16 bits]",
        "cli/images.py",
        jax=("(I|RGB|RGBA);16", "(I|RGB|RGB[Aa]);16"),
    ),
    *idea(
        "half-a-row",
        "what was half written stays in the way of what follows",
        "test_cli_folders.py::test_a_run_goes_on_from_any_byte",
        "cli/rows.py",
        jax=("        file.truncate(whole)\n", ""),
    ),
    *idea(
        "scored-twice",
        "a resumed run scores every pair once more",
        "test_cli_folders.py::test_a_run_goes_on_from_any_byte",
        "cli/folders.py",
        jax=("if name not in self._done]", "]"),
    ),
    *idea(
        "no-lock",
        "two runs write one file",
        "test_cli_folders.py::test_one_run_at_a_time",
        "cli/rows.py",
        jax=("if not lock(self._file):", "if False:"),
    ),
    *idea(
        "in-any-order",
        "rows are in the order in which they were scored",
        "test_cli_folders.py::test_rows_are_what_the_library_says[[]]",
        "cli/folders.py",
        jax=("for name in sorted(self._done)]", "for name in self._done]"),
    ),
    *idea(
        "replaced-unasked",
        "a file that is there is replaced",
        "test_cli.py::test_nothing_is_replaced_unasked",
        "cli/files.py",
        jax=("os.path.lexists(path) and not force", "os.path.lexists(path) and force"),
    ),
    *idea(
        "bombs",
        "images are decoded whatever their size",
        "test_cli_images.py::test_pixels_are_capped_before_decoding",
        "cli/formats.py",
        jax=("if width * height > max_pixels:", "if False:"),
    ),
]


def mutate(mutant: Mutant, source: str) -> str:
    """The file's text with the mutant's change, or `ValueError` if the text to be changed is not there once."""
    count = source.count(mutant.old)
    if count != 1:
        raise ValueError(f"{mutant.name}: expected its text once in {mutant.path}, found it {count} times")
    return source.replace(mutant.old, mutant.new)


def run(tests: Iterable[str], ring: Sequence[str], mutant: Mutant | None = None) -> subprocess.CompletedProcess[str]:
    """Run tests by their ids, if they are of the ring, in a copy of the tree, changed by a mutant."""
    with tempfile.TemporaryDirectory() as folder:
        for name in TREE:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, Path(folder, name), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, folder)
        if mutant:
            path = Path(folder, mutant.path)
            path.write_text(mutate(mutant, path.read_text()))
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "-n", "0", "-p", "no:cacheprovider", *ring, *tests],
            cwd=folder,
            # Before a package that is installed; and what a mutant does not change is compiled once.
            env=os.environ | {"PYTHONPATH": folder, "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "xla")},
            capture_output=True,
            text=True,
        )


def killed_by(result: subprocess.CompletedProcess[str]) -> str | None:
    """The test that failed, None if all passed or none is of the ring; `RuntimeError` if they did not run."""
    failed = re.search(r"^FAILED (tests/.*?)(?: - .*)?$", result.stdout, re.MULTILINE)
    if result.returncode == 1 and failed:
        return failed[1].removeprefix("tests/")
    if result.returncode not in (0, NO_TESTS):
        raise RuntimeError(f"pytest ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    return None


def main() -> int:
    """Run the mutants named on the command line, or all, and print the table."""
    parser = argparse.ArgumentParser(description="Wrong versions of the packages, which the tests must notice.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as jax-dc-twice; all, if none is given")
    parser.add_argument("--default", action="store_true", help="count what the tests of every run notice alone")
    arguments = parser.parse_args()
    names, ring = arguments.names, [] if arguments.default else ["-m", "not slow"]
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        parser.error(f"no mutants: {', '.join(sorted(unknown))}")
    mutants = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    failed = killed_by(run(dict.fromkeys(mutant.test for mutant in mutants), ring))
    if failed:
        print(f"{failed} fails without any mutant", file=sys.stderr)
        return 1
    print("| mutant | package | what is broken | killed by | seconds |\n|---|---|---|---|---|")
    killed = 0
    for mutant in mutants:
        start = time.perf_counter()
        test = killed_by(run([mutant.test], ring, mutant))
        killed += test is not None
        seconds = time.perf_counter() - start
        row = (mutant.name, mutant.package, mutant.broken, test or "SURVIVED", f"{seconds:.1f}")
        print(f"| {' | '.join(row)} |", flush=True)
    print(f"{killed} of {len(mutants)} mutants killed")
    return 0 if killed == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
