"""What the benchmarks time is what they say: the plain formula and the released way give BlurSim's values."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from frameworks import require

from benchmarks import page

# Of even width, as the plain formula takes it; padded by OpenCV.
SHAPE = (2, 3, 37, 42)


def images() -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(0).random((2, *SHAPE), np.float32)
    return a, b


def test_the_plain_formula_in_jax() -> None:
    require("jax", "optax", "psutil", "rich")
    import jax

    from benchmarks import rows_jax

    (value, gradient), (expected, expected_gradient) = (
        jax.value_and_grad(loss)(*images()) for loss in (rows_jax.plain, rows_jax.blursim)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.linalg.norm(gradient - expected_gradient) < 1e-4 * np.linalg.norm(expected_gradient)


def test_the_plain_formula_and_the_released_way_in_pytorch() -> None:
    require("torch", "cv2", "psutil", "rich")
    import torch

    from benchmarks import rows_torch

    a, b = map(torch.from_numpy, images())
    (value, gradient), (expected, expected_gradient) = (
        rows_torch.prepare(loss, True, a, b)() for loss in (rows_torch.plain, rows_torch.blursim)
    )
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    assert torch.linalg.norm(gradient - expected_gradient) < 1e-4 * torch.linalg.norm(expected_gradient)
    released = rows_torch.released(a, b)
    np.testing.assert_allclose(released, rows_torch.blursim(a, b, spectrum="complex"), rtol=1e-5)


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
        np.testing.assert_allclose(second, first, rtol=1e-5)


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
