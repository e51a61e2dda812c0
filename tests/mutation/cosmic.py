"""Small changes made by a tool, and how many the tests notice: `python tests/mutation/cosmic.py [--sample N]`.

Needs `pip install cosmic-ray==8.7.0`. Each mutant runs in a copy of the tree, against a few quick tests and, where they
pass, against many more; what ends neither within its limit is killed too. A mutant that does not compile, or that
changes nothing but a type alias, is none. Prints a Markdown table and the
survivors; exits with 1 if fewer than 90 % are killed. docs/reliability.md says why those known survive.
"""

import argparse
import ast
import difflib
import functools
import importlib
import importlib.util
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

from mutants import BATCH, CHANNELS, FLAT, FLAT_LOG, MAPS, ONE_ULP, ROOT, TREE

# Operators of cosmic-ray that are left out. One partner for each arithmetic operator stays, and of each comparison the
# neighbour and the opposite; the rest is killed by a TypeError or nearly so (shifts and bits of floats, `is` of
# numbers, `~`), and would flatter the rate.
EXCLUDED = re.compile(
    r"core/Replace("
    r"BinaryOperator_(?!(Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul)$)"
    r"|ComparisonOperator_(?!(Eq_NotEq|NotEq_Eq|Lt_LtE|Lt_Gt|LtE_Lt|LtE_Gt|Gt_GtE|Gt_Lt|Is_IsNot|IsNot_Is)$)"
    r"|UnaryOperator_(?!(Delete_USub|Delete_Not)$))"
)
IDENTICAL = "test_gradients.py::test_identical_images_are_exactly_zero[{}-%s]"
JACOBIAN = "test_gradients.py::test_full_jacobian_by_central_differences[{}-magnitude-relative-(5, 6)]"
# Of seconds, the most telling first.
QUICK = [
    FLAT,
    ONE_ULP,
    "test_errors.py::test_alpha",
    "test_errors.py::test_images",
    "test_errors.py::test_options",
    FLAT_LOG,
    FLAT.replace("magnitude-area-5", "complex-area-7"),
    IDENTICAL % "log-relative-5",
    ONE_ULP.replace("magnitude-area-5", "magnitude-relative-7"),
    MAPS,
    CHANNELS,
]
# Of a minute or so.
MORE = {
    "torch": [
        "test_errors.py",
        "test_interface.py",
        "test_values.py",
        "test_gradients.py",
        *(
            f"test_transforms_torch.py::test_{name}"
            for name in (
                "func",
                "the_transpose_of_sobel",
                "second_order_where_bins_agree",
                "transforms_by_different_arguments",
                "second_and_third_order[magnitude-area-5]",
                "large_batches_go_through_in_blocks",
                "degenerate_images_have_finite_second_derivatives",
                "the_module",
                "leaves_accumulate_and_constants_get_none",
                "the_table_of_sizes_for_the_compiler",
                "compiled_transforms_and_the_other_functions",
            )
        ),
    ],
    "jax": [
        "test_errors.py",
        "test_interface.py",
        BATCH.format("jax"),
        JACOBIAN.format("jax"),
        *(
            f"test_transforms_jax.py::test_{name}"
            for name in (
                "the_object_takes_any_leaf_from_jax",
                "the_object_is_a_frozen_pytree_with_alpha_as_its_leaf",
                "a_foreign_byte_order_is_the_same_image",
                "only_a_tpu_convolves",
                "only_a_cpu_works_in_blocks",
                "convolution_equals_slices",
                "a_prime_number_of_planes_is_cut_into_full_blocks",
                "the_gradient_by_alpha_is_the_difference_of_the_terms",
                "the_object_with_another_alpha_does_not_recompile",
                "second_order_where_bins_agree",
                "no_nan_inside[magnitude-area-5-few]",
                "arrays_spread_over_devices_stay_there[jit-(8, 256, 256)-None]",
            )
        ),
        *(
            f"test_values.py::test_{name}]"
            for name in (
                "an_empty_batch[jax",
                "blursim_mixes_the_terms[jax",
                "maps_hold_the_terms[jax-magnitude-relative-7",
                "maps_hold_the_terms[jax-complex-relative-3",
                "maps_hold_the_terms[jax-log-relative-5",
                "float64_is_computed_in_float64[jax",
                "numbers_of_every_kind_as_alpha[jax",
                "the_object_is_the_function[jax",
                "data_range_divides_the_pixels[jax",
                "complex_is_what_was_released[jax-0",
            )
        ),
        *(
            f"test_gradients.py::test_{name}"
            for name in (
                "a_dark_image_beside_a_bright_one[jax]",
                "a_flat_image_moves_as_a_whole[jax-(59, 59)]",
                "means_of_opposite_signs[jax]",
                "photos_of_8_bits[jax-complex-area-5]",
                "edges_of_strongly_blurred_photos[jax-complex-area-5]",
                "low_contrast_and_strong_blur[jax-magnitude-area-5-(64, 60)]",
                "flat_and_black_images_have_finite_gradients[jax-log-relative-5]",
            )
        ),
    ],
}


class Mutant(NamedTuple):
    """A file of the tree, the line that changes, the difference, and the whole text after that."""

    path: str
    line: int
    change: str
    source: str


def meaning(source: str) -> str:
    """The syntax tree of a file, without comments and layout."""
    return ast.dump(ast.parse(source))


def changes(before: str, after: str) -> tuple[int, str]:
    """The number of the first line that is not as before, and the difference."""
    old, new = (text.splitlines() for text in (before, after))
    places = [place for place in difflib.SequenceMatcher(None, old, new, False).get_opcodes() if place[0] != "equal"]
    number, rows = 0, []
    for _, i, j, k, m in places:
        for sign, lines, start, end in (("-", old, i, j), ("+", new, k, m)):
            for n in range(start, end):
                if lines[n].strip():
                    number = number or i + 1
                    rows.append(f"{sign} {lines[n].strip()}")
    return number, "\n".join(rows)


def mutants(package: str) -> list[Mutant]:
    """Every mutant of a package's core."""
    from cosmic_ray.commands import init  # pyright: ignore[reportMissingImports]
    from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports]
    from cosmic_ray.plugins import get_operator  # pyright: ignore[reportMissingImports]
    from cosmic_ray.work_db import WorkDB, use_db  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/work.sqlite", WorkDB.Mode.create) as work:
        init(sorted((ROOT / package).glob("_[a-z]*.py")), work, {})
        mutations = [m for item in work.work_items for m in item.mutations if not EXCLUDED.match(m.operator_name)]
    results = {}
    for mutation in sorted(mutations, key=lambda m: (m.module_path, m.operator_name, m.occurrence)):
        before = Path(mutation.module_path).read_text()
        after = mutate_code(before, get_operator(mutation.operator_name)(), mutation.occurrence)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                compile(after, mutation.module_path, "exec")
                if meaning(after) == meaning(before):
                    continue
        except SyntaxError:
            continue
        path = str(Path(mutation.module_path).relative_to(ROOT))
        results[path, after] = Mutant(path, *changes(before, after), after)
    return list(results.values())


def child(tree: Path, package: str, tests: list[str], log: Path, limit: float | None) -> None:
    """Run tests in the copy of the tree, in a process that has loaded the frameworks already."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(tree)
    # Of two mutants of one size and second, the later one would run by the bytecode of the earlier.
    sys.dont_write_bytecode = limit is not None
    if limit is not None:
        seconds = math.ceil(time.process_time() + limit)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    # Before a package that is installed; and the tests' own modules are those of the copy.
    sys.path[:] = [str(tree), *(path for path in sys.path if path != str(ROOT / "tests" / "mutation"))]
    del sys.modules["mutants"]
    import pytest

    tests = [f"tests/{test}" for test in tests]
    options = ["-x", "-q", "-rfE", "-o", "addopts=", "-m", "not slow", "-p", "no:xdist", "-p", "no:cacheprovider"]
    code = pytest.main([*options, "-k", package.removeprefix("blursim_"), *tests])
    loaded = getattr(sys.modules.get(package), "__file__", None)
    if loaded and Path(loaded).parent != tree / package:
        code = 99
    sys.stdout.flush()
    os._exit(code)


def outcome(tree: Path, package: str, tests: list[str], limit: float | None = None) -> str | None:
    """What made tests fail, None if they passed; `limit` is in seconds of the processor."""
    log = tree / "log"
    process = multiprocessing.get_context("fork").Process(target=child, args=(tree, package, tests, log, limit))
    process.start()
    # What waits for ever uses no time of the processor.
    process.join(limit and 20 * limit)
    if process.is_alive() or process.exitcode == -signal.SIGXCPU:
        process.kill()
        process.join()
        return "its time limit"
    text = log.read_text(errors="replace")
    failed = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(.*?)(?: - .*)?$", text, re.MULTILINE)
    if process.exitcode in (5, 99) or (process.exitcode == 1 and not failed):
        raise RuntimeError(f"no tests, or of another package:\n{text}")
    if process.exitcode == 0:
        return None
    return failed[1] if failed else f"exit code {process.exitcode}"


def processor_seconds() -> float:
    """What this process and those that it waited for have taken."""
    return sum(os.times()[:4])


def wilson(killed: int, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a rate, by Wilson's formula."""
    z, rate = 1.96, killed / count
    middle, half = rate + z * z / (2 * count), z * math.sqrt(rate * (1 - rate) / count + (z / count / 2) ** 2)
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def prepare(tree: Path) -> None:
    """Make the copy, and load here what every test process needs, so that each starts with it."""
    for name in TREE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tree)
    os.environ["PYTHONPATH"] = str(tree)
    os.environ["OMP_NUM_THREADS"] = "1"
    # JAX's programs that a mutant does not change are compiled once, and each in less time.
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(tree / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=1",
    }
    warnings.filterwarnings("ignore", "os.fork")
    for name in ("torch", "jax", "jax.numpy", "optax", "cv2", "skimage.data", "pytest"):
        if importlib.util.find_spec(name.partition(".")[0]):
            importlib.import_module(name)


def main() -> int:
    """Run the mutants of both packages, or a sample of each, and print the tables."""
    parser = argparse.ArgumentParser(description="Mutants made by cosmic-ray, which the tests should notice.")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="blursim_jax or blursim_torch; both, if none")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of each package at random, not all")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.sample is not None and arguments.sample < 1:
        parser.error(f"--sample: expected at least 1, got {arguments.sample}")
    if importlib.util.find_spec("cosmic_ray") is None:
        print("needs pip install cosmic-ray==8.7.0", file=sys.stderr)
        # As a shell says of a command that it does not find.
        return 127
    rows, survivors, total, all_killed = {}, [], 0, 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "tree")
        tree.mkdir()
        prepare(tree)
        for package in arguments.packages or ["blursim_jax", "blursim_torch"]:
            chosen = everything = mutants(package)
            if arguments.sample is not None:
                rng = random.Random(arguments.seed)
                chosen = rng.sample(everything, min(arguments.sample, len(everything)))
            print(f"{package}: {len(chosen)} of {len(everything)} mutants", file=sys.stderr, flush=True)
            steps = []
            for tests in ([test.format(package[8:]) for test in QUICK], MORE[package[8:]]):
                start, before = time.perf_counter(), processor_seconds()
                failed = outcome(tree, package, tests)
                if failed:
                    print(f"{failed} fails without any mutant\n{(tree / 'log').read_text()}", file=sys.stderr)
                    return 1
                steps.append(functools.partial(outcome, tree, package, tests, 20 + 3 * (processor_seconds() - before)))
                print(f"unchanged: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
            killed = 0
            for mutant in chosen:
                start = time.perf_counter()
                path = tree / mutant.path
                path.write_text(mutant.source)
                by = steps[0]() or steps[1]()
                shutil.copy(ROOT / mutant.path, path)
                row = rows.setdefault(mutant.path, [0, 0])
                row[0] += 1
                row[1] += by is not None
                killed += by is not None
                if not by:
                    survivors.append(mutant)
                seconds = time.perf_counter() - start
                print(f"{mutant.path}:{mutant.line} {by or 'SURVIVED'} {seconds:.1f} s", file=sys.stderr, flush=True)
                if not by:
                    print(mutant.change, file=sys.stderr, flush=True)
            rows[f"{package}, all"] = [len(chosen), killed]
            total, all_killed = total + len(chosen), all_killed + killed
    print("| file | mutants | killed | rate | 95 % interval |\n|---|---|---|---|---|")
    for path, (count, killed) in sorted(rows.items()):
        low, high = wilson(killed, count)
        print(f"| {path} | {count} | {killed} | {killed / count:.1%} | {low:.1%} to {high:.1%} |")
    for mutant in survivors:
        print(f"\n{mutant.path}:{mutant.line}\n```diff\n{mutant.change}\n```")
    print(f"\n{all_killed} of {total} mutants killed")
    return 0 if all_killed >= 0.9 * total else 1


if __name__ == "__main__":
    sys.exit(main())
