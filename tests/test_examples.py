"""The example programs: what they write, that they go on where they stopped, and how they fail."""

import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cases import FLOAT32
from frameworks import require

pytestmark = pytest.mark.system
ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
# What each training script needs.
TRAIN = {EXAMPLES / "train_flax.py": ("jax", "flax"), EXAMPLES / "train_torch.py": ("torch",)}
COMPARE = EXAMPLES / "compare_images.py"
# Steps enough that a signal sent after the first line of progress comes before the last step.
SHORT = ("--steps", "60", "--batch-size", "2")


def start(script: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"},
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors.strip()


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_fails(folder: Path, script: Path, *arguments: object, says: str) -> None:
    """It says so in one line with status 2, and leaves every file as it was."""
    before = contents(folder)
    status, _, errors = finish(start(script, *arguments))
    assert status == 2, errors
    assert len(errors.splitlines()) == 1, errors
    assert "Traceback" not in errors
    assert says in errors
    assert contents(folder) == before


@pytest.fixture
def assert_refuses(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """The same of a training script in this process, because it takes seconds to start one."""

    def check(folder: Path, script: Path, *arguments: object, says: str) -> None:
        monkeypatch.syspath_prepend(EXAMPLES)
        command, module = importlib.import_module("command"), importlib.import_module(script.stem)
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        before = contents(folder)
        with pytest.raises(SystemExit) as end:
            command.run(module.main)
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line and contents(folder) == before

    return check


# What one trained, the others of its group take.
GROUPS = [pytest.param(x, id=x.stem, marks=pytest.mark.xdist_group(x.stem)) for x in TRAIN]


@pytest.fixture(scope="module", params=GROUPS)
def train(request: pytest.FixtureRequest) -> Path:
    require(*TRAIN[request.param])
    return request.param


@pytest.fixture(scope="module")
def runs() -> dict[Path, tuple[Path, str]]:
    """What has been trained: pytest would train anew where tests of one script follow those of the other."""
    return {}


@pytest.fixture
def finished(train: Path, runs: dict, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    if train not in runs:
        out = tmp_path_factory.mktemp("finished") / "run"
        status, output, errors = finish(start(train, *SHORT, "--out", out))
        assert (status, errors) == (0, "")
        runs[train] = out, output
    return runs[train]


def test_training_reports(finished: tuple[Path, str]) -> None:
    out, output = finished
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics.keys() == {"steps", "motorcycle", "coffee", "flower", "mean"}
    for name, word in (("psnr", "PSNR"), ("ssim", "SSIM")):
        better = metrics["mean"]["after"][name] > metrics["mean"]["before"][name]
        assert f"{word} ended {'above' if better else 'NOT above'}" in output
    for name in ("restored.png", "curves.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert len(output.splitlines()) < 40
    assert {path.name for path in out.iterdir()} == {
        "checkpoints",
        "run.json",
        "metrics.json",
        "restored.png",
        "curves.png",
    }
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"48", "54", "60"}


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGINT,), pytest.param((signal.SIGTERM, signal.SIGINT), marks=pytest.mark.slow)],
    ids=lambda signals: "-".join(x.name for x in signals),
)
def test_interrupted_run_goes_on_to_the_same_end(
    train: Path, finished: tuple[Path, str], tmp_path: Path, signals: tuple[signal.Signals, ...]
) -> None:
    out = tmp_path / "run"
    for i, number in enumerate(signals):
        process = start(train, *SHORT, "--out", out, *(("--resume",) if i else ()))
        assert process.stdout is not None
        assert process.stdout.readline().startswith("step ")
        process.send_signal(number)
        status, _, errors = finish(process)
        assert status == 130, errors
        assert len(errors.splitlines()) == 1
        assert errors.startswith("Interrupted; step ")
        assert errors.endswith(f"--out {out} --resume")
    assert not (out / "metrics.json").exists()
    status, _, errors = finish(start(train, *SHORT, "--out", out, "--resume"))
    assert (status, errors) == (0, "")
    assert (out / "metrics.json").read_bytes() == (finished[0] / "metrics.json").read_bytes()


@pytest.mark.slow
def test_interrupted_before_the_first_step(train: Path, tmp_path: Path) -> None:
    process = start(train, *SHORT, "--out", tmp_path / "run")
    # Signals are caught before the folder is made.
    while not (tmp_path / "run").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    status, _, errors = finish(process)
    assert status == 130
    assert errors.startswith("Interrupted before the first step")
    assert len(errors.splitlines()) == 1
    assert contents(tmp_path) == {}


def test_resuming_a_finished_run_evaluates_again(train: Path, finished: tuple[Path, str], tmp_path: Path) -> None:
    out = shutil.copytree(finished[0], tmp_path / "run")
    before = contents(out)
    (out / "metrics.json").unlink()
    status, output, errors = finish(start(train, *SHORT, "--out", out, "--resume"))
    assert (status, errors) == (0, "")
    assert "PSNR ended" in output
    assert contents(out)["metrics.json"] == before["metrics.json"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--steps", "0"), "--steps"),
        (("--steps", "-3"), "--steps"),
        (("--seed", "4294967296"), "--seed"),
        (("--loss", "l3"), "--loss"),
        (("--out", "{}/file"), "cannot write"),
        (("--out", "{}/file/run"), "cannot write"),
        # No user may write here, root included.
        (("--out", "/proc/run"), "cannot write"),
        (("--out", "{}/missing", "--resume"), "no checkpoint"),
        (("--out", "{}/full", "--resume"), "no checkpoint"),
        (("--out", "{}/full"), "not empty"),
    ],
)
def test_training_refuses(
    train: Path, arguments: tuple[str, ...], says: str, tmp_path: Path, assert_refuses: Callable[..., None]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    arguments = tuple(word.replace("{}", str(tmp_path)) for word in arguments)
    out = () if "--out" in arguments else ("--out", tmp_path / "run")
    assert_refuses(tmp_path, train, *arguments, *out, says=says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--steps", "30"), "steps 60, not 30"),
        (("--seed", "1"), "seed 0, not 1"),
        (("--loss", "mse"), "loss blursim, not mse"),
        (("--batch-size", "3"), "batch-size 2, not 3"),
    ],
)
def test_resume_refuses_other_settings(
    arguments: tuple[str, ...],
    says: str,
    train: Path,
    finished: tuple[Path, str],
    assert_refuses: Callable[..., None],
) -> None:
    assert_refuses(finished[0], train, *SHORT, "--out", finished[0], "--resume", *arguments, says=says)


def test_training_refuses_a_folder_with_a_run(
    train: Path, finished: tuple[Path, str], assert_refuses: Callable[..., None]
) -> None:
    assert_refuses(finished[0], train, *SHORT, "--out", finished[0], says="--resume")


def test_resume_refuses_a_run_of_another_framework(
    train: Path, finished: tuple[Path, str], assert_refuses: Callable[..., None]
) -> None:
    (other,) = TRAIN.keys() - {train}
    names = [script.stem.removeprefix("train_") for script in (train, other)]
    says = f"framework {names[0]}, not {names[1]}"
    assert_refuses(finished[0], other, *SHORT, "--out", finished[0], "--resume", says=says)


def test_resume_refuses_another_network(
    train: Path, finished: tuple[Path, str], tmp_path: Path, assert_refuses: Callable[..., None]
) -> None:
    out = shutil.copytree(finished[0], tmp_path / "run")
    run = json.loads((out / "run.json").read_text())
    run["settings"]["features"] = 16
    (out / "run.json").write_text(json.dumps(run))
    assert_refuses(out, train, *SHORT, "--out", out, "--resume", says="features 16, not 32")


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "run.json"])
def test_resume_refuses_a_damaged_checkpoint(
    damage: str, train: Path, finished: tuple[Path, str], tmp_path: Path, assert_refuses: Callable[..., None]
) -> None:
    out = shutil.copytree(finished[0], tmp_path / "run")
    largest = max((out / "checkpoints" / "60").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    match damage:
        case "truncated":
            largest.write_bytes(content[: len(content) // 2])
        case "changed":
            content[len(content) // 2] ^= 255
            largest.write_bytes(content)
        case "missing":
            largest.unlink()
        case "run.json":
            (out / "run.json").write_text('{"settings": {')
    assert_refuses(out, train, *SHORT, "--out", out, "--resume", says="damaged")


def test_photos_are_apart_and_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    photos = importlib.import_module("photos")
    scenes = photos.training_scenes()
    pairs = photos.held_out_pairs()
    assert not {scene.name for scene in scenes} & {pair.name for pair in pairs}
    first, again = (photos.training_batch(scenes, np.random.default_rng((0, 7)), 3) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert one.shape == (3, 64, 64, 3)
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)
    for image in (*first, *(image for pair in pairs for image in pair[1:])):
        assert image.dtype == np.float32
        assert 0 <= image.min() < image.max() <= 1


def test_compare_images(tmp_path: Path) -> None:
    require("jax")
    out = tmp_path / "picture.png"
    status, output, errors = finish(start(COMPARE, "--out", out))
    assert (status, errors) == (0, "")
    assert out.read_bytes().startswith(b"\x89PNG")
    for word in ("itself", "other focus", "another photo", "slight blur", "SSIM"):
        assert word in output
    assert_fails(tmp_path, COMPARE, "--out", out, says="--force")


def test_pictures_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    command = importlib.import_module("command")
    (file := tmp_path / "file").write_text("mine")
    command.check_file(tmp_path / "new.png", force=False)
    command.check_file(file, force=True)
    for out, says in (
        (tmp_path, "is a folder"),
        (file / "picture.png", "cannot write"),
        (tmp_path / "missing" / "picture.png", "cannot write"),
    ):
        with pytest.raises(command.UserError, match=says):
            command.check_file(out, force=True)
    assert file.read_text() == "mine" and list(tmp_path.iterdir()) == [file]


def test_devices_and_processes_end_as_one(tmp_path: Path) -> None:
    """By the commands that the examples print, with fewer steps."""
    require("jax", "flax")
    require("torch")
    devices = start(EXAMPLES / "data_parallel_jax.py", "--steps", 8, "--out", tmp_path / "picture.png")
    status, output, errors = finish(devices)
    assert (status, errors) == (0, "")
    (distance,) = re.findall(r"Largest relative difference of a step: (\S+)\.$", output, re.MULTILINE)
    assert float(distance) <= FLOAT32.value and "4 devices, step 8 of 8" in output

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    command = [*torchrun, str(EXAMPLES / "ddp_torch.py"), "--steps", "8", "--out", str(tmp_path / "ddp")]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stderr
    (distance,) = re.findall(r"Largest relative difference of a step: (\S+)\.$", result.stdout, re.MULTILINE)
    # A rounding error can move a bin or a pixel across the floor of its direction, which moves a later step by 5e-6.
    assert float(distance) <= FLOAT32.rounded and "4 processes, step 8 of 8" in result.stdout
    for picture in (tmp_path / "picture.png", tmp_path / "ddp" / "losses.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "ddp" / "checkpoint.pt").exists()


def test_schedules(tmp_path: Path) -> None:
    require("torch")
    out = tmp_path / "picture.png"
    status, output, errors = finish(start(EXAMPLES / "schedules.py", "--steps", 6, "--out", out))
    assert (status, errors) == (0, "")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert output.count("the same to the bit") == 2 and "NOT" not in output
    assert_fails(tmp_path, EXAMPLES / "schedules.py", "--out", out, says="--force")


def test_parallel_examples_refuse(tmp_path: Path) -> None:
    require("jax", "flax")
    require("torch")
    out = "--out", tmp_path / "picture.png"
    assert_fails(
        tmp_path, EXAMPLES / "data_parallel_jax.py", "--batch-size", 6, *out, says="no multiple of --devices 4"
    )
    assert_fails(tmp_path, EXAMPLES / "ddp_torch.py", *out, says="torchrun")
