"""What a run is going to take, from one sampling step and one training step that are timed on the machine it runs on."""

import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

import torch

from ..adapters.low_rank import LowRankAdapter
from ..rewards.faces import Face, FaceModel
from .rollout import Rollout
from .teacher.bank import TeacherBank
from .teacher.clip import ClipKey, TeacherClip
from .teacher.teacher import Teacher
from .trainer import Trainer, TrainingFailure
from .words import in_time, in_words

SHORT = 5.0
"""Seconds below which a job is done twice: the first call of a GPU also loads its kernels."""
ESTIMATE = "Estimate: about"  # how the sentence begins
HEAD = 0.4  # of the shorter side: the face that is looked at


@dataclass(frozen=True)
class Timing:
    """Seconds. clip: of one clip of the original model, from noise to its frames' scores. step: of one training step."""

    clip: float
    step: float


@dataclass(frozen=True)
class Forecast:
    """clips, steps: how many are going to be made. memory: bytes on the training device. disk: bytes that the run writes."""

    timing: Timing
    clips: int
    steps: int
    memory: int
    disk: int

    @property
    def seconds(self) -> float:
        """Of clips and training together."""
        return self.clips * self.timing.clip + self.steps * self.timing.step

    def __str__(self) -> str:
        clips, steps = self.clips * self.timing.clip, self.steps * self.timing.step
        return (
            f"{ESTIMATE} {in_time(self.seconds)}; {in_time(clips)} for {self.clips} clips of the original model, "
            f"{in_time(steps)} for {self.steps} training steps; {in_words(self.memory)} of memory; {in_words(self.disk)} on disk"
        )


def timed(trainer_of: Callable[[TeacherBank], Trainer], teacher: Teacher, adapter: LowRankAdapter, key: ClipKey) -> Timing:
    """Times a run that has everything loaded, and leaves it as it is but for the memory plan, which the step may send down
    its ladder.

    trainer_of: makes a trainer, which is thrown away, of the clips it is given. adapter: that it trains; put back afterwards.
    key: of the clip whose prompt is sampled. The clip itself is not made: a grey one stands in for it, with a face in the
    middle of every frame, and the training step is a real one on it.
    """
    rollout, first = teacher.rollout, teacher.first_late_step
    rollout.use_prompt(key[0])
    noise = rollout.start(key[1])
    with torch.no_grad():
        call = _seconds(lambda: rollout.run(noise, 0, 1).sum().item())
    clip = _stand_in(rollout, teacher, key)
    trainer = trainer_of(cast(TeacherBank, _OneClip(clip)))
    trainer.memory.decoder_changed = lambda decoder: setattr(teacher, "decoder", decoder)
    with _put_back(adapter):
        step = _seconds(lambda: _try(trainer))
    finished = _seconds(lambda: teacher.finished(clip))
    return Timing(clip=first * call + finished, step=step)


@dataclass(frozen=True)
class _OneClip:
    """A bank that has one clip for every key."""

    only: TeacherClip

    def clip(self, key: ClipKey) -> TeacherClip:
        return self.only


@contextmanager
def _put_back(adapter: LowRankAdapter):
    """Around changes to the adapter's weights that are not to last."""
    before = [weight.detach().clone() for weight in adapter.parameters()]
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, value in zip(adapter.parameters(), before):
                weight.copy_(value)
                weight.grad = None


def _stand_in(rollout: Rollout, teacher: Teacher, key: ClipKey) -> TeacherClip:
    """A grey clip as noisy as clips are where the window opens."""
    latents = rollout.start(key[1], teacher.first_late_step)
    frames = torch.full((teacher.decoder.count(latents), 3, *teacher.decoder.frame_size(latents)), 0.5, dtype=torch.half)
    face = _face(teacher.face_model, *frames.shape[-2:])
    scores = None if teacher.semantic_reward is None else torch.zeros(len(frames), device=latents.device)
    return TeacherClip(key[0], latents, frames, [face] * len(frames), scores)


def _face(model: FaceModel, height: int, width: int) -> Face:
    side = HEAD * min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    scale = side / model.crop_size
    matrix = torch.tensor([[scale, 0.0, left], [0.0, scale, top]])
    return Face(matrix, (left, top, left + side, top + side), 1.0)


def _try(trainer: Trainer) -> None:
    """A training step; that a grey clip may teach nothing is no failure of the run."""
    with suppress(TrainingFailure):
        trainer.memory.retrying(trainer.step)


def _seconds(job: Callable[[], object]) -> float:
    """Of the faster one of two calls, of the only one where it takes long."""
    times: list[float] = []
    while not times or (len(times) < 2 and times[0] < SHORT):
        started = time.perf_counter()
        job()
        times.append(time.perf_counter() - started)
    return min(times)
