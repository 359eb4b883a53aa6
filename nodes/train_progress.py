"""What the Train node shows while it works: progress bar, preview picture, one line of text."""

import time

import comfy.utils
import torch
from PIL import Image
from server import PromptServer
from torch import Tensor

from ..training.run import TrainingRun
from ..training.state import StepRecord

PREVIEW_SIZE = 512
AVERAGED_STEPS = 20


class TrainProgress:
    """Called after every training step."""

    def __init__(self, node_id: str, run: TrainingRun, preview_every: int):
        self.node_id = node_id
        self.run = run
        self.preview_every = preview_every
        self.bar = comfy.utils.ProgressBar(run.settings.steps, node_id=node_id)
        self.started = time.monotonic()
        self.first_step = run.state.step

    def __call__(self, record: StepRecord, frames: tuple[Tensor, Tensor]) -> None:
        step, total = self.run.state.step, self.run.settings.steps
        picture = ("JPEG", to_pil(side_by_side(*frames)[0]), PREVIEW_SIZE) if step % self.preview_every == 0 else None
        self.bar.update_absolute(step, total, picture)
        self.text(self._line(step, total))

    def text(self, line: str) -> None:
        PromptServer.instance.send_progress_text(line, self.node_id)

    def _line(self, step: int, total: int) -> str:
        recent = self.run.state.history[-AVERAGED_STEPS:]
        seconds = (time.monotonic() - self.started) / (step - self.first_step) * (total - step)
        similarity = _mean([record.similarity for record in recent])
        faces = _mean([record.hit_rate for record in recent])
        return (f"step {step} of {total}, {_duration(seconds)} left; similarity {similarity:.2f}, "
                f"loss {_mean([record.loss for record in recent]):.3f}, faces found {faces:.0%}")


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Two clips [F, 3, H, W] as one IMAGE batch [F, H, 2W, 3]."""
    return torch.cat([left, right], dim=-1).movedim(1, -1).clamp(0, 1).cpu()


def to_pil(image: Tensor) -> Image.Image:
    """[H, W, 3] in 0..1, enlarged with hard edges to a size that can be seen."""
    picture = Image.fromarray((image * 255).round().to(torch.uint8).numpy())
    factor = max(1, PREVIEW_SIZE // picture.width)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
