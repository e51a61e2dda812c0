"""Run the long tests, and record what they show: `python -m benchmarks.reliability [ROW ...]`.

All rows together take about two hours. The script runs the command of each row, or of the rows named. It writes each
row into the table of docs/reliability.md as soon as its command has ended, so an interruption keeps what was measured
before. The column `code` is the version of the packages that was tested: the start of a hash of their files. `--code`
prints the current version. The exit status is 1 if a row does not hold.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from rich.console import Console

from benchmarks import page

ROOT = Path(__file__).resolve().parents[1]
HEAD = "| row | what | promise | found | holds | code |\n|---|---|---|---|---|---|\n"


class Result(NamedTuple):
    """The result of a command. For pytest, it has the numbers of passed and failed tests, and the recorded figures."""

    code: int
    output: str
    passed: int
    failed: int
    figures: dict[str, list[float]]

    def total(self, name: str) -> str:
        """Return the sum of the figures recorded under a name."""
        return f"{sum(self.figures.get(name, [])):,.0f}"

    def largest(self, *parts: str, form: str = ".0e") -> str:
        """Return the largest of the figures whose comma-separated names have all these parts.

        Figures with "value" in their names count only if "value" is one of the parts.
        """
        named = [(set(key.split(", ")), xs) for key, xs in self.figures.items()]
        found = [x for key, xs in named if set(parts) <= key and ("value" in key) == ("value" in parts) for x in xs]
        return format(max(found), form) if found else "no figure"


class Row(NamedTuple):
    """One row of the table. `found` describes what a result shows."""

    what: str
    promise: str
    command: str
    found: Callable[[Result], str]


def test(arguments: str) -> str:
    """Return the command that runs these tests, including slow ones."""
    return f"python -m pytest -m 'slow or not slow' {arguments}"


def of_nearly(result: Result) -> str:
    """Describe the largest figures by spectrum and image."""
    return ". ".join(
        f"`{spectrum}`: value {result.largest(spectrum, 'value')}; gradient, noise: "
        f"{result.largest(spectrum, 'noise', 'median')} at the median, {result.largest(spectrum, 'noise')} at most, "
        f"blurred photo: {result.largest(spectrum, 'blurred photo')}, 8-bit photo: {result.largest(spectrum, 'photo')}"
        for spectrum in ("magnitude", "complex", "log")
    )


def of_steps(result: Result) -> str:
    """Describe the compilations and the growth of memory, by framework."""
    parts = []
    for name in ("jax", "torch", "torch.compile"):
        compiled = "" if name == "torch" else f"{result.largest(name, 'compiled', form='.0f')} compilations, "
        parts.append(f"{name}: {compiled}{result.largest(name, 'MiB more', form='.1f')} MiB more")
    return "; ".join(parts)


def of_sizes(result: Result) -> str:
    """Describe the memory, in JAX also the memory per image size."""
    jax = {name: result.largest("jax", name, form=".0f") for name in ("MiB a size", "highest MiB", "MiB kept")}
    return (
        f"PyTorch: {result.largest('torch', 'highest MiB', form='.1f')} MiB at most. JAX: a size takes "
        f"{jax['MiB a size']} MiB; cleared every 4 sizes, {jax['highest MiB']} MiB at most, and {jax['MiB kept']} MiB "
        "from the start to the end"
    )


ROWS = {
    "laws": Row(
        "Laws, on images drawn by hypothesis",
        "no violation in 10,000 draws in each framework; except under `relative` and `log`, images times 2^k give the "
        "value times 2^k, to the bit, for k from -20 to 40",
        test("tests/test_laws.py -k 'test_law and 1000'"),
        lambda r: f"{r.failed} violations; draws: JAX {r.total('draws, jax')}, PyTorch {r.total('draws, torch')}",
    ),
    "fuzz": Row(
        "Random calls, right and wrong",
        "no surprise in 100,000 calls in each framework",
        test("tests/test_fuzz.py -k 000"),
        lambda r: f"{r.failed} surprises; calls: JAX {r.total('calls, jax')}, PyTorch {r.total('calls, torch')}",
    ),
    "errors": Row(
        "Invalid input: type and text of every error",
        "all exact, both packages",
        test("tests/test_errors.py"),
        lambda r: f"{r.passed} of {r.passed + r.failed} tests passed",
    ),
    "identical": Row(
        "Identical images, alpha 0, 0.5 and 1",
        "1,000 pairs: value and gradients exactly 0, Hessian finite",
        test("tests/test_laws.py -k identical_pairs"),
        lambda r: f"{r.failed} failures; pairs: JAX {r.total('pairs, jax')}, PyTorch {r.total('pairs, torch')}",
    ),
    "nearly": Row(
        "Nearly identical images: one pixel or all one rounding error away, or times 1 + 1e-6",
        "value 1e-6, gradient 5e-6; 2e-5 for weak frequencies, 2e-4 for 8-bit edges times 1 + 1e-6; `log`: value 2e-5, "
        "gradient 4e-4; [see below](#what-float32-cannot-do)",
        test("tests/test_gradients.py -k nearly"),
        of_nearly,
    ),
    "degenerate": Row(
        "Degenerate images, gradients of the two packages, at 96x100 and 1024x1024",
        "5e-5; 5e-4 for strongly blurred noise at 1024x1024, [see below](#what-float32-cannot-do)",
        test("tests/test_parity.py -k more_pixels"),
        lambda r: "; ".join(
            f"{name} {r.largest(name, '96x100')}, {r.largest(name, '1024x1024')}"
            for name in dict.fromkeys(key.partition(",")[0] for key in r.figures)
        ),
    ),
    "mutants": Row(
        "Wrong versions, written by hand (`tests/mutation/mutants.py`)",
        "all noticed",
        "python tests/mutation/mutants.py",
        lambda r: "".join(re.findall(r"\d+ of \d+ mutants killed", r.output)),
    ),
    "mutation": Row(
        "Wrong versions, made by cosmic-ray: 150 of each package at random",
        "90 % noticed; [the others](#what-the-tests-do-not-notice)",
        "python tests/mutation/cosmic.py --sample 150 --seed 1",
        lambda r: "; ".join(
            f"{name} {killed} of {count}, {rate}"
            for name, count, killed, rate in re.findall(r"\| (\w+), all \| (\d+) \| (\d+) \| ([\d.]+%)", r.output)
        ),
    ),
    "steps": Row(
        "100,000 steps with an alpha each",
        "no compilation, live arrays constant, memory grows by less than 5 MiB after step 1,000",
        test("tests/test_endurance.py -k 100000"),
        of_steps,
    ),
    "sizes": Row(
        "1,000 sizes of image",
        "memory bounded; in JAX by `jax.clear_caches()`",
        test("tests/test_endurance.py -k '1000 and (sizes or clearing)'"),
        of_sizes,
    ),
    "threads": Row(
        "8 threads of 100 calls, 3 processes, 1 and 2 cores, workers by fork and by spawn",
        "the same bits, with [two exceptions](#the-same-bits)",
        test("tests/test_concurrency.py"),
        lambda r: f"{r.passed} of {r.passed + r.failed} tests passed",
    ),
    "versions": Row(
        "The oldest and the newest versions accepted, of all but PyTorch",
        "a part of the tests passes with both",
        ".ci/versions",
        lambda r: "; ".join(re.findall(r"^(?:flax|jax|numpy|optax)==\S+|\d+ passed", r.output, re.MULTILINE)),
    ),
    "import": Row(
        "Import: the other framework, connections, files, global state; requirements locked by hash",
        "nothing loaded, opened or changed; the locked versions are those tested",
        test("tests/test_isolation.py tests/test_supply.py"),
        lambda r: f"{r.passed} of {r.passed + r.failed} tests passed",
    ),
    "build": Row(
        "Wheel and source archive built twice",
        "the same bytes",
        ".ci/build",
        lambda r: f"{len(re.findall('^[0-9a-f]{64} ', r.output, re.MULTILINE))} files, the same both times",
    ),
    "audit": Row(
        "Known vulnerabilities of what is locked",
        "none",
        "pip-audit --disable-pip --strict -r requirements-test.txt",
        # Without the name of the logger.
        lambda r: (
            "none"
            if r.code == 0
            else re.sub(r"^ERROR:\S+?:", "", (r.output.strip().splitlines() or ["nothing was said"])[-1])
        ),
    ),
    "accelerator": Row(
        "A GPU beside the CPU",
        "1e-5; TF32, determinism, half precision, streams",
        "python -m pytest -o addopts= -W default -m accelerator tests/test_accelerator.py",
        lambda r: f"{r.passed} passed, {r.failed} failed" if r.passed + r.failed else "not run: no GPU was at hand",
    ),
}


def code() -> str:
    """Return the start of a hash of the files of both packages."""
    files = sorted(path for package in ("blursim_jax", "blursim_torch") for path in (ROOT / package).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:8]


def run(command: str) -> Result:
    """Run a command in the repository, with this Python first on `PATH`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # A framework that is not installed is a failure, not a skip.
        environment = os.environ | {
            "BLURSIM_TEST_FRAMEWORKS": "jax,torch",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        if "-m pytest" in command:
            environment["PYTEST_ADDOPTS"] = f"--junitxml={report}"
        done = subprocess.run(
            command, shell=True, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        passed = failed = 0
        figures: dict[str, list[float]] = {}
        for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
            failed += any(case.find(tag) is not None for tag in ("failure", "error"))
            passed += not any(case.find(tag) is not None for tag in ("failure", "error", "skipped"))
            for figure in case.iter("property"):
                figures.setdefault(figure.attrib["name"], []).append(float(figure.attrib["value"]))
    return Result(done.returncode, done.stdout, passed, failed, figures)


def write(name: str, line: str) -> None:
    """Replace the row of that name, or insert it in the order of `ROWS`."""
    lines = {
        kept.split("`")[1]: kept for kept in page.read("reliability.md", "table").splitlines() if kept.startswith("| `")
    }
    lines[name] = line
    table = "".join(f"{lines[row]}\n" for row in ROWS if row in lines)
    page.write("reliability.md", "table", HEAD + table)


def main() -> int:
    """Run the rows named on the command line, or all rows."""
    parser = argparse.ArgumentParser(description="Run the long tests, and write down what they show.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"out of {', '.join(ROWS)}; all, if none is given")
    parser.add_argument("--code", action="store_true", help="print the version of the packages, and run nothing")
    arguments = parser.parse_args()
    if arguments.code:
        print(code())
        return 0
    names = arguments.rows
    unknown = set(names) - set(ROWS)
    if unknown:
        parser.error(f"no rows: {', '.join(sorted(unknown))}")
    console, broken = Console(), []
    for name in names or ROWS:
        row, version, start = ROWS[name], code(), time.perf_counter()
        with console.status(f"{name}: {row.command}"):
            result = run(row.command)
        minutes = (time.perf_counter() - start) / 60
        found = row.found(result)
        if result.code == 0 and (result.passed or "pytest" not in row.command):
            verdict = "yes"
        else:
            # Only a missing tool, GPU or list of vulnerabilities makes a row "not run". Anything else is a failure.
            absent = result.code == 127 or (name == "accelerator" and result.code == 0)
            absent |= name == "audit" and "could not be audited" in result.output
            verdict = "not run" if absent else "**no**"
        write(name, f"| `{name}` | {row.what} | {row.promise} | {found} | {verdict} | {version} |")
        console.print(f"{name}: {verdict}: {found} ({minutes:.1f} min)")
        if verdict == "**no**":
            broken.append(name)
        # The output of "mutation" lists the mutants that the tests do not notice.
        if verdict == "**no**" or name == "mutation":
            console.print(result.output[-9000:], markup=False, highlight=False)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
