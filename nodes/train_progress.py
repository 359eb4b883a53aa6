"""What the Train node shows while it works: progress bar, preview picture, one line of text."""

import math
import time
from statistics import median

import comfy.utils
import torch
from PIL import Image, ImageDraw, ImageFont
from server import PromptServer
from torch import Tensor

from ..host.memory_use import MemoryUse
from ..training.forecast import ESTIMATE
from ..training.report import gist, mean, report
from ..training.result import TrainingResult
from ..training.run import COMPARISON
from ..training.state import StepRecord
from ..training.teacher.bank import BankProgress
from ..training.words import in_time

PREVIEW_SIZE, CAPTION_HEIGHT, CAPTION_SIZE = 768, 36, 24  # pixels; a node shows it at about half its size
AVERAGED_STEPS = 20
TIMED_STEPS = 50
PAUSE = 0.25
"""Seconds between two messages of the same phase."""
DROPPING = 0.6
"""Seconds that the frontend takes to drop a picture, and some more."""


class TrainProgress:
    """Called after every training step; ``say`` and ``clips`` with what happens before and after training.

    What the run will take stays below the lines until it trains.

    device: that the run trains on. step, total: training steps that are done, and that there will be.
    keeps_clips: the original model's clips stay for later runs. memory: in use. seconds: what each phase has taken; its
    name is what its lines begin with.
    """

    def __init__(self, node_id: str, device: torch.device, step: int, total: int, preview_every: int, keeps_clips: bool = False):
        self.node_id = node_id
        self.step = step
        self.total = total
        self.preview_every = preview_every
        self.keeps_clips = keeps_clips
        self.memory = MemoryUse(device)
        self.seconds: dict[str, float] = {}
        self._phase = ""
        self._last = self._shown = time.monotonic()
        self._previewed = step
        self._dropped = -DROPPING
        self._durations: list[float] = []
        self._recent: list[StepRecord] = []
        self._has_clips = False
        self._estimate = ""

    def __call__(self, record: StepRecord, frames: tuple[Tensor, Tensor]) -> None:
        self.step += 1
        self._estimate = ""  # from here on the time left is told
        self._recent = [*self._recent, record][-AVERAGED_STEPS:]
        duration, due = self._enter("Training")
        self._durations = [*self._durations, duration][-TIMED_STEPS:]
        self.memory.look()
        if not due and self.step < self.total:
            return
        picture = None
        if self.step - self._previewed >= self.preview_every:
            picture, self._previewed = self._picture(frames), self.step
        self._bar(self.step, self.total, picture)
        self.text(self._line())

    def say(self, line: str) -> None:
        """Show a line. Of lines "phase: details" those that follow another of their phase too closely are left out."""
        phase, colon, _ = line.partition(": ")
        named = colon and "." not in phase
        if not named or self._enter(phase)[1]:
            self.text(f"{line}\n{self._estimate}" if self._estimate else line)
        if line.startswith(ESTIMATE):
            self._estimate = line
        if self._phase == COMPARISON:
            self._drop_preview()

    def clips(self, progress: BankProgress) -> None:
        """The bar while the original model's clips are made."""
        self._has_clips = True
        self._bar(progress.done, progress.total)

    def cancelled(self, lora_name: str) -> None:
        """Say what the user still has; lora_name: of the file, as LoRA lists show it."""
        if self.step:
            self.text(f"Cancelled at step {self.step}; saved as {lora_name}; choose it under existing_lora to go on.")
            return
        kept = self.keeps_clips and self._has_clips
        clips = "; the original model's clips made so far stay in bank_folder" if kept else ""
        self.text(f"Cancelled before the first step; nothing was saved{clips}.")

    def finished(self, result: TrainingResult) -> str:
        """The report of the run, whose gist the node shows from now on; it has room for pictures then."""
        time.sleep(max(0.0, self._dropped + DROPPING - time.monotonic()))
        self._enter("")
        self.text(gist(result))
        return report(result, self.seconds, self.memory.at_most)

    def text(self, line: str) -> None:
        send_text(line, self.node_id)

    def _enter(self, phase: str) -> tuple[float, bool]:
        """Seconds since the last message came, and whether this one should be shown."""
        now = time.monotonic()
        duration = now - self._last
        if self._phase:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + duration
        due = phase != self._phase or now - self._shown >= PAUSE
        self._phase, self._last = phase, now
        if due:
            self._shown = now
        return duration, due

    def _bar(self, value: int, total: int, picture: Image.Image | None = None) -> None:
        """A bar of its own for each message: the host's sends nothing for less than half a percent."""
        preview = picture and ("JPEG", picture, PREVIEW_SIZE)
        comfy.utils.ProgressBar(total, node_id=self.node_id).update_absolute(value, total, preview)

    def _picture(self, frames: tuple[Tensor, Tensor]) -> Image.Image:
        """The original model's frame and the one being trained, side by side under their names."""
        names = "original model", f"step {self.step}"
        pair = enlarged(side_by_side(*frames)[0], PREVIEW_SIZE, PREVIEW_SIZE - CAPTION_HEIGHT)
        picture = Image.new("RGB", (pair.width, pair.height + CAPTION_HEIGHT), "white")
        picture.paste(pair, (0, CAPTION_HEIGHT))
        draw, font = ImageDraw.Draw(picture), ImageFont.load_default(CAPTION_SIZE)
        for name, middle in zip(names, (pair.width / 4, 3 * pair.width / 4)):
            draw.text((middle, CAPTION_HEIGHT / 2), name, "black", font, anchor="mm")
        return picture

    def _drop_preview(self) -> None:
        """Make the frontend forget the live preview, which it would go on showing in place of the node's result.

        It forgets what a node has shown before when the node appears among those that make progress.
        """
        server = PromptServer.instance
        server.send_sync("progress_state", {"prompt_id": server.last_prompt_id, "nodes": {}}, server.client_id)
        self._bar(self.total, self.total)
        self._dropped = time.monotonic()

    def _line(self) -> str:
        left = median(self._durations) * (self.total - self.step)
        similarity, loss, faces = (
            mean(getattr(record, name) for record in self._recent) for name in ("similarity", "loss", "hit_rate")
        )
        return (
            f"Training: step {self.step} of {self.total}, {in_time(left)} left; "
            f"similarity {similarity:.2f}, loss {loss:.3f}, faces found {faces:.0%}, {self.memory}"
        )


def send_text(line: str, node_id: str) -> None:
    """Show it on the node."""
    PromptServer.instance.send_progress_text(line, node_id)


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Two clips [F, 3, H, W] as one IMAGE batch [F, H, 2W, 3]."""
    return torch.cat([left, right], dim=-1).movedim(1, -1).clamp(0, 1).cpu()


def enlarged(image: Tensor, width: int, height: int) -> Image.Image:
    """[H, W, 3] in 0..1 as large as fits; what is enlarged keeps hard edges, as it is."""
    picture = Image.fromarray((image * 255).round().to(torch.uint8).numpy())
    scale = min(width / picture.width, height / picture.height)
    how = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    scale = math.floor(scale) if scale >= 2 else scale
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), how)
