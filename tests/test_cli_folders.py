"""`blursim evaluate`: rows, summary, report, interruptions, and files that are no images."""

# ruff: noqa: E402
from frameworks import require

require("jax", "typer", "PIL", "tifffile", "skimage", "matplotlib")

import base64
import contextlib
import csv
import hashlib
import html
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pytest
from blursim_command import BLURSIM, call, grey, run
from cases import FLOAT32, FLOAT64
from PIL import Image
from processes import Measured, measured
from skimage import data

from blursim_jax import blursim, blursim_terms
from blursim_jax.cli.folders import Run
from blursim_jax.cli.settings import Settings

SETTINGS = Settings(0.9, 5, "magnitude", "area", False, None, False, False, 2**25)
PHOTO = data.chelsea()
# What a bad file may take beyond what a good one takes: MiB, and seconds of the processor.
MEMORY, SECONDS = 512, 5
# A process for each of hundreds takes minutes: a share at every run of CI, the others with the slow tests.
SHARES = 32


def save(folder: Path, name: str, seed: int, shape: tuple[int, int] = (48, 64), noise: float = 0) -> None:
    """A piece of a photo, with noise or without."""
    generator = np.random.default_rng(seed)
    i, j = (int(generator.integers(n - m)) for n, m in zip(PHOTO.shape[:2], shape, strict=True))
    piece = PHOTO[i : i + shape[0], j : j + shape[1]] + noise * generator.standard_normal((*shape, 3))
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(piece, 0, 255).astype(np.uint8)).save(folder / name)


def make_pairs(tmp_path: Path) -> tuple[Path, Path]:
    """23 pairs of three sizes, some in folders of their own."""
    predictions, targets = tmp_path / "predictions", tmp_path / "targets"
    for i in range(23):
        name = f"night/{i:02}" if i % 4 == 0 else f"{i:02}"
        shape = [(48, 64), (64, 48), (50, 50)][i % 3]
        save(predictions, f"{name}.png", i, shape, 5 + i)
        save(targets, f"{name}.bmp", i, shape)
    return predictions, targets


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return make_pairs(tmp_path)


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in csv.DictReader(path.read_text().splitlines())}


@pytest.mark.parametrize(
    "options",
    [[], pytest.param(["--color", "--spectrum", "log", "--alpha", "0.3"], marks=pytest.mark.system)],
    ids=str,
)
@pytest.mark.system
def test_rows_are_what_the_library_says(folders: Any, tmp_path: Path, options: list[str], capsys: Any) -> None:
    out = tmp_path / "scores.csv"
    assert call("evaluate", *folders, "--out", out, "--json", *options) == 0
    summary, rows = json.loads(capsys.readouterr().out), rows_of(out)
    assert list(rows) == sorted(rows) and len(rows) == 23
    values = []
    for name, row in rows.items():
        paths = folders[0] / f"{name}.png", folders[1] / f"{name}.bmp"
        given: dict[str, Any] = {"data_range": 255.0}
        if options:
            a, b = (np.asarray(Image.open(path).copy()) for path in paths)
            given |= {"channel_axis": -1, "spectrum": "log"}
        else:
            a, b = map(grey, paths)
        expected = [float(blursim(a, b, alpha=0.3 if options else 0.9, **given)), *blursim_terms(a, b, **given)]
        np.testing.assert_allclose(
            [float(row[x]) for x in ("value", "general", "specific")], expected, rtol=FLOAT32.value
        )
        error = np.mean((a.astype(float) - b) ** 2) / 255**2
        assert float(row["mse"]) == pytest.approx(error, rel=FLOAT32.rounded)
        assert float(row["psnr"]) == pytest.approx(-10 * np.log10(error), rel=FLOAT32.rounded)
        assert (int(row["height"]), int(row["width"])) == a.shape[:2] and row["error"] == ""
        values.append(float(row["value"]))
    assert (summary["scored"], summary["failed"], summary["errors"]) == (23, 0, [])
    found = [summary["mean"], summary["median"], *summary["deciles"]]
    expected = [np.mean(values), np.median(values), *np.quantile(values, np.arange(0.1, 0.95, 0.1))]
    np.testing.assert_allclose(found, expected, rtol=FLOAT64.value)
    worst = sorted(zip(rows, values, strict=True), key=lambda x: -x[1])[:10]
    assert summary["worst"] == [{"name": name, "value": value} for name, value in worst]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["predictions", "scores.csv", "targets"]


def test_a_bad_pair_is_a_row_and_the_run_goes_on(folders: Any, tmp_path: Path) -> None:
    predictions, targets = folders
    (predictions / "01.png").write_bytes(b"")
    (predictions / "02.png").unlink()
    (targets / "03.bmp").unlink()
    save(predictions, "05.jpg", 5)
    save(predictions, "06.png", 6, (99, 64))
    save(predictions, "07.png", 7, (4, 64))
    save(targets, "07.bmp", 7, (4, 64))
    save(predictions, "night/.hidden.png", 1)
    (predictions / "notes.txt").write_text("not an image by name")
    (predictions / "again").symlink_to(predictions)
    out = tmp_path / "scores.csv"
    found = run("evaluate", *folders, "--out", out)
    assert found.returncode == 2
    rows = rows_of(out)
    errors = {name: row["error"] for name, row in rows.items() if row["error"]}
    assert errors == {
        "01": f"{predictions / '01.png'}: empty",
        "02": f"expected one image of this name in {predictions}, found none",
        "03": f"expected one image of this name in {targets}, found none",
        "05": f"expected one image of this name in {predictions}, found " + errors["05"].rpartition("found ")[2],
        "06": f"sizes differ: {predictions / '06.png'} is 64x99, {targets / '06.bmp'} is 64x48; "
        "--resize or --crop fits them; --crop-at top-left, if they were cut at right or bottom",
        "07": errors["07"],
    }
    assert {"05.png", "05.jpg"} == set(errors["05"].rpartition("found ")[2].split(", "))
    assert "height 4" in errors["07"]
    assert len(rows) == 23 and all(not row["value"] for row in rows.values() if row["error"])
    assert "6 of 23 pairs could not be compared:" in found.stdout
    assert found.stderr.splitlines() == [
        f"Note: left out 1 file of other kinds, by suffix, as {predictions / 'notes.txt'}",
        f"Note: left out 1 link to a folder, as {predictions / 'again'}",
        f"Note: left out 1 hidden image or folder, as {predictions / 'night' / '.hidden.png'}",
    ]
    for name, error in errors.items():
        assert f"  {name}: {error}" in found.stdout


def test_no_input_is_replaced(folders: Any) -> None:
    for out in folders[0] / "01.png", folders[1] / "night" / "00.bmp":
        before = out.read_bytes()
        with pytest.raises(Exception, match=r"is read; name another file to write$"):
            call("evaluate", *folders, "--out", out, "--force")
        assert out.read_bytes() == before


def test_folders_without_a_name_in_common(folders: Any, tmp_path: Path) -> None:
    save(tmp_path / "others", "a.png", 0)
    with pytest.raises(Exception, match=r"^no names in common between .*predictions and .*others$"):
        call("evaluate", folders[0], tmp_path / "others", "--out", tmp_path / "scores.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["others", "predictions", "targets"]


def test_exit_status_of_the_mean(folders: Any, tmp_path: Path) -> None:
    for limit, status in ((1, 0), (1e-9, 1)):
        out = tmp_path / f"{limit}.csv"
        assert call("evaluate", *folders, "--out", out, "--fail-above", limit) == status


@pytest.mark.system
def test_names_of_any_characters(tmp_path: Path) -> None:
    names = "a\rb", "c\nd", 'e",f', "  g  ", os.fsdecode(b"h\xff"), "=i()"
    for i, name in enumerate(names):
        save(tmp_path / "predictions", f"{name}.png", i, noise=9)
        save(tmp_path / "targets", f"{name}.png", i)
    out = tmp_path / "scores.csv"
    found = run("evaluate", tmp_path / "predictions", tmp_path / "targets", "--out", out)
    assert (found.returncode, found.stderr) == (0, "")
    with out.open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["name"] for row in rows) == sorted(names)
    assert all(float(row["value"]) > 0 for row in rows)


def test_what_was_done_to_an_image_stands_in_its_row(folders: Any, tmp_path: Path) -> None:
    Image.new("RGBA", (64, 48), (1, 2, 3, 99)).save(folders[0] / "03.png")
    call("evaluate", *folders, "--out", tmp_path / "scores.csv", "--resize")
    rows = rows_of(tmp_path / "scores.csv")
    assert rows["03"]["notes"] == f"{folders[0] / '03.png'}: transparent parts over white"
    assert rows["01"]["notes"] == ""


def test_few_wait_and_few_programs_are_kept(folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sizes there are; and what that changes is no value."""
    import jax

    from blursim_jax.cli import batches

    call("evaluate", *folders, "--out", tmp_path / "a.csv")
    most, cleared = [], []
    add, clear = batches.Batches.add, jax.clear_caches

    def watched(self: Any, name: str, pair: Any) -> Any:
        scored = add(self, name, pair)
        most.append((sum(map(len, self.waiting.values())), len(self.compiled)))
        return scored

    monkeypatch.setattr(batches.Batches, "add", watched)
    monkeypatch.setattr(jax, "clear_caches", lambda: cleared.append(True) or clear())
    monkeypatch.setattr(batches, "WAITING_PIXELS", 4 * 48 * 64)
    monkeypatch.setattr(batches, "PROGRAMS", 2)
    call("evaluate", *folders, "--out", tmp_path / "b.csv")
    assert np.max(most, axis=0).tolist() == [4, 2] and cleared
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_value_does_not_depend_on_the_others(folders: Any, tmp_path: Path) -> None:
    """Each alone, and all together: the same bits."""
    call("evaluate", *folders, "--out", tmp_path / "all.csv")
    together = rows_of(tmp_path / "all.csv")
    for name in itertools.islice(together, 5):
        for folder, suffix in zip(folders, (".png", ".bmp"), strict=True):
            copy = tmp_path / name / folder.name / f"{name}{suffix}"
            copy.parent.mkdir(parents=True)
            shutil.copy(folder / f"{name}{suffix}", copy)
        out = tmp_path / name / "one.csv"
        call("evaluate", *(tmp_path / name / folder.name for folder in folders), "--out", out, "--threads", 1)
        assert rows_of(out)[name] == together[name]


# Interruptions.


def test_a_run_goes_on_from_any_byte(folders: Any, tmp_path: Path) -> None:
    out, partial = tmp_path / "scores.csv", tmp_path / "scores.csv.partial"
    with Run(folders[0], folders[1], out, SETTINGS) as noted:
        noted.start(None, resume=False, force=False)
        rows = noted.score(threads=2)
        whole = partial.read_bytes()
        noted.write(rows)
        noted.finish()
    expected = out.read_bytes()
    assert not partial.exists() and whole.count(b"\n") == 24
    head = whole.index(b"\n") + 1
    for end in (head, head + 1, len(whole) // 2, len(whole) - 1, len(whole)):
        out.unlink(missing_ok=True)
        partial.write_bytes(whole[:end])
        with pytest.raises(Exception, match=r"^an interrupted run is in .*--resume goes on with it, --force starts"):
            call("evaluate", *folders, "--out", out)
        # Interrupted once more, before the table is written.
        with Run(folders[0], folders[1], out, SETTINGS) as resumed:
            resumed.start(None, resume=True, force=False)
            assert resumed.score(threads=1) == rows
        # None was scored twice.
        names = [json.loads(line)[0] for line in partial.read_bytes().splitlines()[1:]]
        assert len(names) == len(set(names)) == 23
        assert call("evaluate", *folders, "--out", out, "--resume") == 0
        assert out.read_bytes() == expected and not partial.exists()
    # Killed between the last two steps, and after the last.
    partial.write_bytes(whole)
    assert call("evaluate", *folders, "--out", out, "--resume") == 0
    with pytest.raises(Exception, match=r"no interrupted run to resume; .*scores.csv is complete, and --force"):
        call("evaluate", *folders, "--out", out, "--resume")
    assert out.read_bytes() == expected and not partial.exists()


def test_only_the_same_run_goes_on(folders: Any, tmp_path: Path) -> None:
    out, partial = tmp_path / "scores.csv", tmp_path / "scores.csv.partial"
    partial.write_text(json.dumps(["elsewhere"]) + "\n")
    for content, says in ((partial.read_bytes(), "other folders or options"), (b"\xff\n", "damaged"), (b"", "damaged")):
        partial.write_bytes(content)
        with pytest.raises(Exception, match=says):
            call("evaluate", *folders, "--out", out, "--resume")
        assert partial.read_bytes() == content
    assert call("evaluate", *folders, "--out", out, "--force") == 0
    assert len(rows_of(out)) == 23 and not partial.exists()


@pytest.mark.slow
def test_killed_ten_times(tmp_path: Path) -> None:
    """At random moments; in the end the table is that of a run that was not."""
    predictions, targets = tmp_path / "predictions", tmp_path / "targets"
    for i in range(40):
        save(predictions, f"{i:03}-0.png", i, noise=9)
        save(targets, f"{i:03}-0.png", i)
        for copy in range(1, 25):
            for folder in (predictions, targets):
                os.link(folder / f"{i:03}-0.png", folder / f"{i:03}-{copy}.png")
    command = [*BLURSIM, "evaluate", predictions, targets, "--threads", "1", "--out"]
    subprocess.run([*command, tmp_path / "whole.csv"], check=True, stdout=subprocess.DEVNULL)
    out, partial = tmp_path / "out.csv", tmp_path / "out.csv.partial"
    kills, moments = 0, random.Random(0)
    while not out.exists():
        resume = ["--resume"] if partial.exists() else []
        # A process that is killed may leave a truncated entry in the cache.
        environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": ""}
        process = subprocess.Popen([*command, out, *resume], stdout=subprocess.DEVNULL, env=environment)
        before = partial.read_bytes().count(b"\n") if resume else 0
        while kills < 10 and process.poll() is None:
            # Once it writes, after some time.
            if partial.exists() and partial.read_bytes().count(b"\n") > before:
                time.sleep(moments.uniform(0, 0.03))
                process.kill()
                kills += 1
                break
            time.sleep(0.001)
        process.wait()
        assert process.returncode in (0, -signal.SIGKILL)
        if partial.exists():
            names = [json.loads(line)[0] for line in partial.read_bytes().split(b"\n")[1:-1]]
            assert len(names) == len(set(names))
    assert kills == 10
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert len(rows_of(out)) == 1000


@pytest.mark.system
def test_progress_on_a_terminal(folders: Any, tmp_path: Path) -> None:
    """It is drawn while pairs are scored: the last one waits until that was seen."""
    pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
    for folder, suffix in zip(folders, ("png", "bmp"), strict=True):
        for i in range(100):
            os.link(folder / f"01.{suffix}", folder / f"more-{i}.{suffix}")
    terminal, stderr = pty.openpty()
    go = tmp_path / "go"
    # The last target that is read does not come before the file `go` does.
    code = f"""
import pathlib, time
from blursim_jax.cli import app, pairs

read, names = pairs.read_pair, []
def wait(prediction, target, settings):
    names.append(target)
    while len(names) == 123 and not pathlib.Path({str(go)!r}).exists():
        time.sleep(0.01)
    return read(prediction, target, settings)

import blursim_jax.cli.folders as folders
folders.read_pair = wait
app.app({["evaluate", *map(str, folders), "--out", str(tmp_path / "scores.csv"), "--threads", "1"]!r})
"""
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=os.environ | {"COLUMNS": "100"})
    os.close(stderr)
    shown = b""
    # Linux ends what is read of a terminal that is closed with an error.
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 2**16):
            shown += part
            if re.search(rb"[1-9]\d*/123.*[1-9]\d* pairs/s", shown):
                go.touch()
    os.close(terminal)
    assert process.wait() == 0
    assert go.exists() and b"123/123" in shown


@pytest.mark.system
def test_one_run_at_a_time(folders: Any, tmp_path: Path) -> None:
    out, partial = tmp_path / "scores.csv", tmp_path / "scores.csv.partial"
    fcntl = pytest.importorskip("fcntl")
    partial.write_text("what another run wrote")
    with partial.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for option in ("--resume", "--force"):
            found = run("evaluate", *folders, "--out", out, option)
            assert found.returncode == 2
            assert found.stderr == f"Error: {partial} is written by another run\n"
    assert partial.read_text() == "what another run wrote" and not out.exists()


def test_what_had_an_error_is_tried_again(folders: Any, tmp_path: Path) -> None:
    out, partial = tmp_path / "scores.csv", tmp_path / "scores.csv.partial"
    path = folders[0] / "01.png"
    content = path.read_bytes()
    path.write_bytes(b"")
    with Run(folders[0], folders[1], out, SETTINGS) as noted:
        noted.start(None, resume=False, force=False)
        assert [row.name for row in noted.score(threads=1) if row.error] == ["01"]
    path.write_bytes(content)
    assert call("evaluate", *folders, "--out", out, "--resume") == 0
    assert rows_of(out)["01"]["error"] == "" and len(rows_of(out)) == 23 and not partial.exists()


def test_a_report_is_not_replaced_by_a_resumed_run(folders: Any, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("mine")
    (tmp_path / "scores.csv.partial").write_text("{}")
    with pytest.raises(Exception, match=r"report.html is there already; --force replaces it$"):
        call("evaluate", *folders, "--out", tmp_path / "scores.csv", "--report", report, "--resume")
    assert report.read_text() == "mine"


@pytest.mark.system
def test_interrupted_from_the_keyboard(folders: Any, tmp_path: Path) -> None:
    out, partial = tmp_path / "scores.csv", tmp_path / "scores.csv.partial"
    for folder, suffix in zip(folders, ("png", "bmp"), strict=True):
        for i in range(20_000):
            os.link(folder / f"01.{suffix}", folder / f"more-{i}.{suffix}")
    process = subprocess.Popen([*BLURSIM, "evaluate", *folders, "--out", out], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") > 3):
        time.sleep(0.001)
    assert process.poll() is None, "it ended before it could be interrupted"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.fullmatch(r"Interrupted\. What was scored is in .*; --resume goes on with it\.\n", errors)
    # Whole to the last line.
    lines = partial.read_bytes().split(b"\n")
    assert lines.pop() == b"" and 3 < len([json.loads(line) for line in lines]) < 20_023


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_inside_a_destructor(folders: Any, tmp_path: Path) -> None:
    """Python drops what is raised there; the run ends all the same, after the rows that it had."""

    class Pressed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    @contextlib.contextmanager
    def progress(*_: int) -> Iterator[Callable[[int], None]]:
        def advance(count: int) -> None:
            if count:
                Pressed()

        yield advance

    with Run(folders[0], folders[1], tmp_path / "scores.csv", SETTINGS) as scores, pytest.raises(KeyboardInterrupt):
        scores.start(None, resume=False, force=False)
        scores.score(threads=None, progress=progress)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert 1 < len((tmp_path / "scores.csv.partial").read_bytes().splitlines()) < 24


def test_ctrl_c_stays_ignored_where_it_was(folders: Any, tmp_path: Path) -> None:
    """As after `nohup blursim evaluate ... &` in a script."""

    @contextlib.contextmanager
    def progress(*_: int) -> Iterator[Callable[[int], None]]:
        yield lambda _: signal.raise_signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Run(folders[0], folders[1], tmp_path / "scores.csv", SETTINGS) as scores:
            scores.start(None, resume=False, force=False)
            scores.score(threads=None, progress=progress)
    finally:
        assert signal.signal(signal.SIGINT, previous) is signal.SIG_IGN


# Bad files.


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("hostile") / "corpus"
    paths = hostile.make(folder)
    (folder.parent / "good.png").write_bytes(hostile.good("png"))
    assert len(paths) >= 350
    return paths


@pytest.fixture(scope="module")
def baseline(corpus: list[Path]) -> Measured:
    """What a good file takes."""
    found = measured(*BLURSIM, "compare", "good.png", "good.png", cwd=corpus[0].parent.parent)
    assert found.status == 0 and found.output.split()[0] == "BlurSim"
    return found


def assert_cheap(found: Measured, baseline: Measured) -> None:
    assert found.memory - baseline.memory <= MEMORY
    assert found.seconds - baseline.seconds <= SECONDS


@pytest.mark.system
@pytest.mark.xdist_group("hostile")
def test_the_cost_of_a_command_is_its_own(baseline: Measured) -> None:
    """Not that of the process which started it, and these bounds can fail."""
    held = np.ones(600 * 2**20, np.uint8)
    small = measured(sys.executable, "-c", "pass")
    assert small.memory < 100 < held.nbytes / 2**20
    assert_cheap(small, small)
    large = f"x = bytearray({MEMORY + 100} * 2**20); x[::4096] = b'1' * len(x[::4096])"
    slow = f"import time\nwhile time.process_time() < {SECONDS + 2}: pass"
    for code in (large, slow):
        with pytest.raises(AssertionError):
            assert_cheap(measured(sys.executable, "-c", code), small)


@pytest.mark.system
@pytest.mark.xdist_group("hostile")
@pytest.mark.parametrize("share", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, SHARES))])
def test_bad_files_each_by_itself(corpus: list[Path], baseline: Measured, share: int) -> None:
    """A share of them: one line, status 2, little memory, little time."""
    folder = corpus[0].parent.parent
    for path in corpus[share::SHARES]:
        found = measured(*BLURSIM, "compare", path.relative_to(folder), "good.png", cwd=folder)
        assert "Traceback" not in found.errors
        assert_cheap(found, baseline)
        # Some of those damaged at random are still images.
        if found.status == 0 and re.match(r"(head-\d+|hollow|volume)\.", path.name):
            assert found.output.split()[0] == "BlurSim"
        else:
            assert (found.status, found.output) == (2, ""), (path, found)
            assert re.fullmatch(r"Error: .*\n", found.errors), (path, found)


@pytest.fixture(scope="module")
def evaluated(corpus: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Measured, Path]:
    """All of them, and a good pair, through `evaluate`, and the folder that it was done in."""
    tmp_path = tmp_path_factory.mktemp("evaluated")
    predictions, targets = tmp_path / "predictions", tmp_path / "targets"
    targets.mkdir()
    predictions.mkdir()
    for i, path in enumerate(corpus):
        # A name each, for them to meet a good target.
        if not path.is_dir():
            os.link(path, predictions / f"{i}-{path.name}", follow_symlinks=False)
            (targets / f"{i}-{path.stem}.png").write_bytes(hostile.good("png"))
    save(predictions, "good.png", 0)
    save(targets, "good.png", 1)
    out, report = tmp_path / "out.csv", tmp_path / "out.html"
    options = "--out", out, "--report", report, "--threads", 1
    return measured(*BLURSIM, "evaluate", predictions, targets, *options, cwd=tmp_path), tmp_path


@pytest.mark.system
@pytest.mark.xdist_group("hostile")
def test_a_folder_of_bad_files_takes_little_memory(evaluated: tuple[Measured, Path], baseline: Measured) -> None:
    assert evaluated[0].memory - baseline.memory <= MEMORY


@pytest.mark.system
@pytest.mark.xdist_group("hostile")
def test_a_folder_of_bad_files(evaluated: tuple[Measured, Path]) -> None:
    found, folder = evaluated
    out, targets = folder / "out.csv", folder / "targets"
    assert found.status == 2 and re.fullmatch(r"(Note: .*\n)?", found.errors)
    with out.open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(list(targets.iterdir()))
    assert [row["error"] for row in rows if row["name"] == "good"] == [""]
    failed = [row for row in rows if row["error"]]
    assert len(failed) > 180 and f"{len(failed)} of {len(rows)} pairs could not be compared:" in found.output
    assert not [row for row in failed if "\n" in row["error"]]


# The report.


class Page(HTMLParser):
    """What a page loads, and its tags that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a folder with names that are markup, and a bad pair."""
    tmp_path = tmp_path_factory.mktemp("report")
    folders = make_pairs(tmp_path)
    for folder, noise in zip(folders, (40, 0), strict=True):
        save(folder, "<script>alert(1)<&quot;.png", 1, noise=noise)
        save(folder, f"{'long' * 50}.png", 2, noise=noise)
    (folders[0] / "02.png").write_bytes(b"<b>")
    out = tmp_path / "report.html"
    assert call("evaluate", *folders, "--out", tmp_path / "scores.csv", "--report", out) == 2
    return out


@pytest.mark.system
@pytest.mark.xdist_group("report")
def test_the_report_is_one_whole_file(report: Path) -> None:
    text = report.read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    # The spread of values, a thumbnail of every pair, and the worst ten.
    count = len(re.findall("<tr><td><img", text))
    assert count == text.count("<tr><td><") > 10
    assert len(page.sources) == 11 + count and page.sources[0].startswith("data:image/png;base64,")
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources[1:])
    # A picture of a pair took half a MiB as a PNG.
    assert len(text) < 11 * 2**18
    # The policy lets the page's own script run, and no other.
    (script,) = re.findall("<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in text and f"script-src 'sha256-{digest}'" in text
    assert text.count("<script") == 1 and "&lt;script&gt;alert(1)&lt;&amp;quot;" in text
    assert "1 pair could not be compared" in text


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.system
@pytest.mark.xdist_group("report")
@pytest.mark.skipif(BROWSER is None, reason="no Chromium installed")
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (1280, True)])
def test_the_report_in_a_browser(report: Path, tmp_path: Path, width: int, dark: bool) -> None:
    """It draws all pictures, lays nothing beyond its width, and is as light or dark as the reader's system."""
    assert BROWSER is not None
    # In a frame, as no window is narrower than 500 pixels. What is wider than the frame, and pictures that are not
    # drawn, come to the title of the page around it.
    frame = tmp_path / "frame.html"
    frame.write_text(
        "<script>addEventListener('message', event => { document.title = event.data })</script>"
        f"<iframe width={width} height=900 frameborder=0 src=probed.html></iframe>"
    )
    probe = """<script>addEventListener("load", () => {
        const images = [...document.images], pairs = document.querySelector("#pairs tbody");
        const column = number => [...pairs.rows].map(row => row.cells[number].textContent);
        const values = column(2).map(Number), worst_first = values.every((x, i) => !i || x <= values[i - 1]);
        document.querySelectorAll("#pairs button")[1].click();
        parent.postMessage(JSON.stringify({
            worst_first, by_name: column(1),
            width: innerWidth,
            wide: document.documentElement.scrollWidth - innerWidth,
            drawn: images.filter(image => image.naturalWidth > 100).length,
            ground: getComputedStyle(document.body).backgroundColor}), "*");
    })</script></body>"""
    allowed = "default-src 'none'; script-src 'unsafe-inline'"
    page = tmp_path / "probed.html"
    page.write_text(report.read_text().replace("</body>", probe).replace("default-src 'none'", allowed))
    scheme = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", profile, *scheme]
    dump = subprocess.run(
        [*command, "--virtual-time-budget=9000", "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = json.loads(re.findall(r"<title>(.*?)</title>", dump.stdout)[0])
    assert found["width"] == width
    assert found["drawn"] == 11
    assert found["worst_first"]
    by_name = list(map(html.unescape, found["by_name"]))
    assert by_name == sorted(by_name) and len(by_name) > 10
    assert found["wide"] <= 0
    assert found["ground"] == ("rgb(22, 24, 27)" if dark else "rgb(255, 255, 255)")
    picture = tmp_path / "page.png"
    subprocess.run([*command, f"--screenshot={picture}", report.as_uri()], capture_output=True, timeout=120)
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(2**24) or []) > 100
