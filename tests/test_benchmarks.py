"""What the benchmarks time is what they say: the plain formula and the released way give BlurSim's values."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from cases import FLOAT32, assert_close
from frameworks import require

from benchmarks import page

NUMBER = re.compile(r"\d+\.\d+")
# Of even width, as the plain formula takes it; padded by OpenCV.
SHAPE = (2, 3, 37, 42)


def images() -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(0).random((2, *SHAPE), np.float32)
    return a, b


@pytest.mark.slow
def test_the_plain_formula_in_jax() -> None:
    require("jax", "optax", "psutil", "rich")
    import jax

    from benchmarks import rows_jax

    (value, gradient), (expected, expected_gradient) = (
        jax.value_and_grad(loss)(*images()) for loss in (rows_jax.plain, rows_jax.blursim)
    )
    assert_close(value, expected, FLOAT32.rounded)
    assert_close(gradient, expected_gradient, FLOAT32.degenerate)


def test_the_plain_formula_and_the_released_way_in_pytorch() -> None:
    require("torch", "cv2", "psutil", "rich")
    import torch

    from benchmarks import rows_torch

    a, b = map(torch.from_numpy, images())
    (value, gradient), (expected, expected_gradient) = (
        rows_torch.prepare(loss, True, a, b)() for loss in (rows_torch.plain, rows_torch.blursim)
    )
    assert_close(value.detach(), expected.detach(), FLOAT32.rounded)
    assert_close(gradient, expected_gradient, FLOAT32.degenerate)
    released = rows_torch.released(a, b)
    np.testing.assert_allclose(released, rows_torch.blursim(a, b, spectrum="complex"), rtol=FLOAT32.rounded)


def test_a_peer_is_the_same_in_both() -> None:
    require("jax", "optax", "psutil", "rich")
    require("torch", "cv2")
    import torch

    from benchmarks import rows_jax, rows_torch

    a, b = images()
    for name in ("l1", "l1_of_ffts"):
        first, second = (
            getattr(rows_jax, name)(a, b),
            getattr(rows_torch, name)(torch.from_numpy(a), torch.from_numpy(b)),
        )
        np.testing.assert_allclose(second, first, rtol=FLOAT32.rounded)


def test_a_table_takes_the_place_of_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "DOCS", tmp_path)
    (tmp_path / "page.md").write_text("before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n")
    assert page.read("page.md", "x") == "old\n"
    page.write("page.md", "x", "new\n")
    assert (tmp_path / "page.md").read_text() == "before\n<!-- x -->\nnew\n<!-- end of x -->\nafter\n"
    with pytest.raises(ValueError, match="expected its marks"):
        page.write("page.md", "y", "new\n")
    assert [path.name for path in tmp_path.iterdir()] == ["page.md"]


def save(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (64, 48, 3), dtype=np.uint8))
    return path


def test_data_sets_are_read_as_they_are_given_out(tmp_path: Path) -> None:
    require("jax", "matplotlib", "scipy", "rich", "tifffile")
    from scipy import io

    from benchmarks import quality

    rebuilt, tid, live, kadid = (tmp_path / name for name in ("rebuilt", "tid", "live", "kadid"))
    image, reference = save(rebuilt / "dist" / "i01_08_1.png", 0), save(rebuilt / "ref" / "I01.png", 1)
    (rebuilt / "scores.csv").write_text("image,ref,sigma,mos\ni01_08_1.png,I01.png,0.5,5.25\n")
    assert quality.items_of(rebuilt) == [quality.Item(image, reference, 5.25, 0.5)]

    image, reference = save(tid / "distorted_images" / "i02_08_3.bmp", 0), save(tid / "reference_images" / "i02.BMP", 1)
    (tid / "mos_with_names.txt").write_text("5.5 I01_07_1.bmp\n4.75 I02_08_3.bmp\n")
    assert quality.items_of(tid) == [quality.Item(image, reference, 4.75, 3)]

    images = [save(live / "gblur" / f"img{i}.bmp", i) for i in (1, 2)]
    reference = save(live / "refimgs" / "bikes.bmp", 9)
    (live / "gblur" / "info.txt").write_text("bikes.bmp img1.bmp 1.5\nbikes.bmp img2.bmp 0\n")
    # Blur is the fourth of five distortions; the second image is the photo itself.
    scores, originals = np.zeros((1, 982)), np.zeros((1, 982))
    scores[0, 634], originals[0, 635] = 31.5, 1
    io.savemat(live / "dmos.mat", {"dmos": scores, "orgs": originals})
    assert quality.items_of(live) == [quality.Item(images[0], reference, 31.5, 1.5)]

    image, reference = save(kadid / "images" / "I01_03_05.png", 0), save(kadid / "images" / "I01.png", 1)
    rows = "I01_03_05.png,I01.png,2.5,0.3\nI01_04_05.png,I01.png,1,0.3\n"
    (kadid / "dmos.csv").write_text(f"dist_img,ref_img,dmos,var\n{rows}")
    assert quality.items_of(kadid) == [quality.Item(image, reference, 2.5, 5)]


def test_ranks_of_measures() -> None:
    require("jax", "matplotlib", "scipy", "rich", "tifffile")
    from benchmarks import quality

    scores = np.random.default_rng(0).random(40)
    items = [quality.Item(Path("a"), Path(f"{i % 8}"), score, 0) for i, score in enumerate(scores)]
    # A measure that falls where the score rises, along a curve.
    perfect = quality.rank(np.exp(-3 * scores), items)
    assert [perfect.srocc, perfect.krocc, perfect.low, perfect.high] == pytest.approx([1, 1, 1, 1])
    assert perfect.plcc > 0.999
    chance = quality.rank(np.random.default_rng(1).random(40), items)
    assert chance.srocc < 0.4 and chance.low < chance.srocc < chance.high
    image = 255 * np.random.default_rng(2).random((32, 48))
    assert quality.gmsd(image, image) == 0 < quality.gmsd(image, image[::-1])


@pytest.mark.system
def test_a_loss_is_what_its_name_says() -> None:
    require("torch", "skimage", "sklearn", "rich", "matplotlib")
    import torch

    from benchmarks.training import losses
    from blursim_torch import blursim

    a, b = map(torch.from_numpy, images())
    named = losses.loss_of("L1 + 0.3 x BlurSim log relative 7 0.9 to 0.1")
    for done, alpha in ((0.0, 0.9), (0.5, 0.5), (1.0, 0.1)):
        options = {"spectrum": "log", "normalization": "relative", "sobel_kernel_size": 7, "channel_axis": -3}
        expected = (a - b).abs().mean() + 0.3 * blursim(a, b, alpha=alpha, **options)
        torch.testing.assert_close(named(a, b, done), expected)
    transforms = np.fft.rfft2((a - b).numpy(), norm="ortho")
    expected = (np.abs(transforms.real) + np.abs(transforms.imag)).mean() / 2
    np.testing.assert_allclose(losses.loss_of("L1 of FFTs")(a, b, 0.0), expected, rtol=FLOAT32.rounded)


@pytest.mark.system
def test_a_training_run_improves_and_writes_itself_down(tmp_path: Path) -> None:
    require("torch", "skimage", "sklearn", "rich", "matplotlib")
    from benchmarks.training import jobs, runs

    run = runs.Run("gaussian", "MSE", seed=0, steps=120)
    runs.execute(run, tmp_path)
    found = json.loads(run.path(tmp_path).read_text())["scores"]
    given = runs.judge(None, jobs.held_out_pairs("gaussian"))
    assert found["PSNR"] > given["PSNR"]
    assert found["GMSD"] < given["GMSD"]
    assert found["correlation"] > given["correlation"]


@pytest.mark.system
@pytest.mark.parametrize("task", ["defocus", "gaussian", "motion", "bokeh"])
def test_every_blur_weakens_edges_and_keeps_brightness(task: str) -> None:
    require("torch", "skimage", "sklearn", "rich", "matplotlib")
    from benchmarks.training import jobs

    pairs = jobs.held_out_pairs(task)
    assert len(pairs) == 12
    for pair in pairs:
        blurred, sharp = (pair.target, pair.given[..., :3]) if task == "bokeh" else pair
        assert pair.given.shape[-1] == (4 if task == "bokeh" else 3)
        assert abs(blurred.mean() - sharp.mean()) < 0.01
        assert np.abs(np.diff(blurred, axis=0)).mean() < np.abs(np.diff(sharp, axis=0)).mean()


@pytest.mark.system
def test_differences_are_to_the_best_rival_and_positive_where_better(monkeypatch: pytest.MonkeyPatch) -> None:
    require("torch", "skimage", "sklearn", "rich", "matplotlib")
    from benchmarks.training import jobs, studies, tables

    # By seed, of each score; GMSD is better where it is less.
    scores = {
        "ours": {"PSNR": (31, 32, 33), "SSIM": (0.92, 0.93, 0.94), "GMSD": (0.03, 0.04, 0.05)},
        "near": {"PSNR": (30, 31, 32), "SSIM": (0.91, 0.91, 0.91), "GMSD": (0.04, 0.05, 0.06)},
        "far": {"PSNR": (29, 29, 29), "SSIM": (0.95, 0.95, 0.95), "GMSD": (0.09, 0.09, 0.09)},
    }
    study = studies.Study(jobs.TASKS, list(scores), 3)
    monkeypatch.setitem(studies.STUDIES, "losses", study)
    results = {run: {name: x[run.seed] for name, x in scores[run.loss].items()} for run in study.runs()}
    lines = tables.differences(results, "ours", ["near", "far"]).splitlines()[2:]
    assert lines[0].startswith("| PSNR | +1.00 ± 0.00 (near) |")
    # Student's t of 2 degrees of freedom, 4.303, times 0.01 over the root of 3.
    assert lines[1].startswith("| SSIM | -0.0200 ± 0.0248 (far) |")
    assert lines[2].startswith("| GMSD | +0.0100 ± 0.0000 (near) |")


@pytest.mark.system
def test_the_published_tables_are_those_of_the_published_results() -> None:
    require("torch", "skimage", "sklearn", "rich", "matplotlib")
    from benchmarks.training import runs, studies, tables

    published = json.loads((page.DOCS / "training_results.json").read_text())
    results = {runs.Run(*(x[name] for name in runs.Run._fields)): x["scores"] for x in published}
    assert results.keys() == {run for study in studies.STUDIES.values() for run in study.runs()}
    count = 0
    for place, study in studies.STUDIES.items():
        shown = page.read("training_results.md", place)
        computed = tables.tables(results, study, tables.SCORES[place])
        assert NUMBER.sub("#", shown) == NUMBER.sub("#", computed)
        # In units of the last digit: results are published with one digit more.
        found, expected = ([int(x.replace(".", "")) for x in NUMBER.findall(text)] for text in (shown, computed))
        assert np.abs(np.subtract(found, expected)).max() <= 1
        count += len(found)
    assert count > 500
