"""What the benchmarks time is what they say: the plain formula and the released way give BlurSim's values."""

from pathlib import Path

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
