"""A small residual network in PyTorch, its training step with BlurSim, and its checkpoints."""

import math
import shutil
from pathlib import Path
from typing import Any

import command
import numpy as np
import photos
import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, relu

from blursim_torch import BlurSimTerms, blursim, blursim_terms

PEAK_LEARNING_RATE = 3e-3
CHECKPOINTS_KEPT = 3


class Network(nn.Module):
    """Convolutions at half resolution, whose output is added to the blurred photo."""

    def __init__(self, features: int, layers: int) -> None:
        """Start as the identity: the last layer is zero."""
        super().__init__()
        middle = [nn.Conv2d(features, features, 3, padding=1) for _ in range(layers - 2)]
        self.first = nn.Conv2d(12, features, 3, padding=1)
        self.middle = nn.ModuleList(middle)
        self.last = nn.Conv2d(features, 12, 3, padding=1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="linear")
        for layer in middle:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, blurred: Tensor) -> Tensor:
        """Sharpen photos (N, 3, H, W) with even sides."""
        # Every 2 x 2 pixels become 12 channels of one: a quarter of the work, and twice the reach.
        x = relu(self.first(pixel_unshuffle(blurred, 2)))
        for layer in self.middle:
            x = x + relu(layer(x))
        return blurred + pixel_shuffle(self.last(x), 2)


def compute_loss(restored: Tensor, sharp: Tensor, alpha: float, loss: command.Loss) -> tuple[Tensor, BlurSimTerms]:
    """Return the loss of photos (N, 3, H, W), and both terms."""
    terms = blursim_terms(restored, sharp, channel_axis=-3)
    mixed = (1 - alpha) * terms.general + alpha * terms.specific
    waves = torch.fft.rfft2(restored - sharp, norm="ortho")
    ffts = torch.view_as_real(waves).abs().mean()
    match loss:
        case "ffts+blursim":
            return ffts + 0.3 * mixed, terms
        case "blursim":
            return mixed, terms
        case "ffts":
            return ffts, terms
        case "l1":
            return nn.functional.l1_loss(restored, sharp), terms
        case "mse":
            return nn.functional.mse_loss(restored, sharp), terms


class Run:
    """A network in training with all that a resumed run needs to end as one that was never interrupted."""

    def __init__(self, out: Path, settings: dict[str, Any]) -> None:
        """Start at step 0; nothing is written before `save`."""
        self.out, self.settings, self.step = out, settings, 0
        steps = settings["steps"]
        warm_up = steps // 20

        def share_of_peak(step: int) -> float:
            """Rise from 0, then fall to 0 along a cosine."""
            if step < warm_up:
                return step / warm_up
            return (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2

        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # So that a resumed run ends the same on a GPU too.
        torch.backends.cudnn.deterministic = True
        torch.manual_seed(settings["seed"])
        self.network = Network(settings["features"], settings["layers"]).to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), PEAK_LEARNING_RATE)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, share_of_peak)
        self.curves = {name: np.full(steps, np.nan, np.float32) for name in BlurSimTerms._fields}

    @torch.inference_mode()
    def restore(self, blurred: np.ndarray) -> np.ndarray:
        """Sharpen one photo (H, W, 3)."""
        restored = self.network(self._to_device(blurred[None]))[0]
        return restored.clamp(0, 1).permute(1, 2, 0).cpu().numpy()

    def compare(self, image: np.ndarray, sharp: np.ndarray) -> Tensor:
        """BlurSim of two photos (H, W, 3)."""
        return blursim(torch.from_numpy(image), torch.from_numpy(sharp), alpha=0.5, channel_axis=-1)

    def alphas(self) -> np.ndarray:
        """The weight of Specific at every step."""
        steps = self.settings["steps"]
        return 0.9 - 0.8 * np.arange(steps) / steps

    def advance(self, scenes: list[photos.Scene]) -> float:
        """Take a step and return the loss. The batch depends on the seed and the step alone."""
        rng = np.random.default_rng((self.settings["seed"], self.step))
        batch = photos.training_batch(scenes, rng, self.settings["batch-size"])
        blurred, sharp = (self._to_device(squares) for squares in batch)
        alpha = float(self.alphas()[self.step])
        loss, terms = compute_loss(self.network(blurred), sharp, alpha, self.settings["loss"])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        for name, value in terms._asdict().items():
            self.curves[name][self.step] = value.item()
        self.step += 1
        return loss.item()

    def save(self) -> None:
        """Keep a checkpoint of this step, beside the two before it, and note that the run has come this far."""
        folder = self._checkpoint(self.step)
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state["curves"] = {name: torch.from_numpy(values) for name, values in self.curves.items()}
        with command.replacing(folder / "state.pt") as path:
            torch.save(state, path)
        for step in self._steps()[:-CHECKPOINTS_KEPT]:
            shutil.rmtree(self._checkpoint(step))
        command.write_run(self.out, self.settings, self.step)

    def load(self, step: int) -> None:
        """Go on from the checkpoint of a step.

        Raises:
            UserError: If it is of another network.
        """
        state = torch.load(self._checkpoint(step) / "state.pt", map_location=self.device, weights_only=True)
        try:
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise command.UserError(f"the checkpoint of step {step} in {self.out} is of another network") from error
        # A later one was being written when the run was killed.
        for later in self._steps():
            if later > step:
                shutil.rmtree(self._checkpoint(later))
        self.curves = {name: values.cpu().numpy() for name, values in state["curves"].items()}
        self.step = step

    def _to_device(self, images: np.ndarray) -> Tensor:
        """Give photos (N, H, W, 3) the shape (N, 3, H, W)."""
        return torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2)

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimizer": self.optimizer, "schedule": self.schedule}

    def _checkpoint(self, step: int) -> Path:
        return self.out / "checkpoints" / str(step)

    def _steps(self) -> list[int]:
        return sorted(int(path.name) for path in (self.out / "checkpoints").iterdir())
