"""Non-reconstructive reward tuning (section 4 of the paper), step by step."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ..adapters.low_rank import LowRankAdapter
from ..host.checkpointing import recomputed
from ..rewards.faces import largest_faces
from .draws import Draws
from .memory.memory import Memory
from .objective import NO_FACE, Objective
from .rollout import Rollout
from .settings import TrainingSettings
from .state import StepRecord, TrainingState
from .teacher.bank import TeacherBank
from .teacher.clip import TeacherClip

# The scaler starts with this factor, because gradients are often too small for half precision to hold.
HALF_PRECISION_SCALE = 2.0**14
MOST_SKIPPED = 10
"""A run in half precision ends after so many steps in a row without a finite gradient."""
# The gradient's norm is clipped to this, so that one step on an unusual face does not undo a hundred others.
GRADIENT_CLIP = 1.0
WARMUP_STEPS = 10
# A run teaches nothing if the detector finds a face in a smaller share of its frames.
MINIMUM_HIT_RATE = 0.2
HIT_RATE_WINDOW = 25

Preview = tuple[Tensor, Tensor]
"""One frame of the teacher and the same frame of the student, both [1, 3, H, W] in 0..1."""
AfterStep = Callable[[StepRecord, Preview], None]


class TrainingFailure(RuntimeError):
    """Raised when a run cannot go on; the message says what to change. The last good state is kept."""


class Trainer:
    """Tunes ``adapter`` until the student's videos show the objective's identity.

    first_late_step: the number of the sampling step in which the window opens; the adapter does nothing before it.
    """

    def __init__(
        self,
        rollout: Rollout,
        bank: TeacherBank,
        objective: Objective,
        adapter: LowRankAdapter,
        draws: Draws,
        settings: TrainingSettings,
        state: TrainingState,
        memory: Memory,
        first_late_step: int,
    ):
        self.rollout = rollout
        self.bank = bank
        self.objective = objective
        self.adapter = adapter
        self.draws = draws
        self.settings = settings
        self.state = state
        self.memory = memory
        self.first_late_step = first_late_step
        self.first_step = state.step
        self.skipped = 0
        self.optimizer = torch.optim.AdamW(
            adapter.parameters(), lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=settings.weight_decay
        )
        self.scaler = GradScaler(
            rollout.latent.device.type, init_scale=HALF_PRECISION_SCALE, enabled=rollout.dtype == torch.float16
        )
        state.restore(adapter, self.optimizer, self.scaler)

    def train(self, after_step: AfterStep) -> None:
        """Train to step ``settings.steps``; ``after_step`` may save, show progress, or raise to stop.

        Raises TrainingFailure if the loss stops being finite or if faces are hardly ever found.
        """
        while self.state.step < self.settings.steps:
            record, preview = self.memory.retrying(self.step)
            self.state.add(record)
            self._check_hit_rate()
            after_step(record, preview)

    def step(self) -> tuple[StepRecord, Preview]:
        """Make one step of reward tuning, from a random prompt to the update of the adapter."""
        self.optimizer.zero_grad()
        generator = self.draws.generator(self.state.step)
        clip = self.bank.clip(self.draws.clip_key(generator))  # c ~ p(c), z_T ~ N(0, I): section 4.3; G_S(z_T, c)
        latents = self.student_latents(clip)  # G_T(z_T, c) from the same noise: sections 4.1 and 4.4
        frames = self.frames(clip, generator)  # i, M of them
        student = self.memory.decoder.decode(latents, frames)
        teacher = clip.frames[frames]

        own = largest_faces(self.objective.identity.face_model, student)
        heads = [clip.faces[frame] or face for frame, face in zip(frames, own)]
        scores = None if clip.scores is None else clip.scores[frames]
        icr = self.objective.icr(student, heads, generator)  # Eq. 2
        scr = self.objective.scr(student, scores, clip.prompt, recomputed if self.memory.recomputes else None)  # Eqs. 3, 4
        preservation = self.objective.preservation(student, teacher, heads)
        loss, similarity = NO_FACE, NO_FACE
        if icr is not None:
            total = self.objective.total(icr.loss, scr, preservation)  # Eq. 5
            self.memory.backward(self.scaler.scale(total))
            loss, similarity = total.item(), icr.similarity
            self._update(loss)

        record = StepRecord(
            loss=loss,
            identity=NO_FACE if icr is None else icr.loss.item(),
            semantic=scr.item(),
            preserve=preservation.item(),
            similarity=similarity,
            hit_rate=sum(face is not None for face in own) / len(frames),
        )
        return record, (teacher[:1].float(), student[:1].detach().cpu())

    def student_latents(self, clip: TeacherClip) -> Tensor:
        """z_0 of the target model G_T, in the form that the VAE expects, from the noise of the teacher's clip (section 4.1).

        Sampling starts where the window opens, because both models agree up to there; the last K steps carry gradient.
        """
        self.rollout.use_prompt(clip.prompt)
        last = self.rollout.steps
        first_with_gradient = max(self.first_late_step, last - self.settings.gradient_steps)
        with torch.no_grad():
            x = self.rollout.run(clip.switch_latents, self.first_late_step, first_with_gradient)
        x = self.rollout.run(x, first_with_gradient, last, self.memory.recomputes)
        return self.rollout.to_vae(x)

    def frames(self, clip: TeacherClip, generator: torch.Generator) -> list[int]:
        """The numbers of this step's random frames; if the identity alone is rewarded, frames with a face come first."""
        frames = torch.randperm(len(clip.frames), generator=generator).tolist()
        if not (self.objective.scores_meaning or self.settings.preserve_weight):
            frames.sort(key=lambda frame: clip.faces[frame] is None)
        return frames[: self.memory.frames]

    def _update(self, loss: float) -> None:
        """Update the adapter by AdamW on the clipped gradient.

        Half precision may overflow; then the update is left out and the scale halved. Raises TrainingFailure if loss or
        gradient is not finite, in half precision only after ten such steps in a row.
        """
        self.optimizer.param_groups[0]["lr"] = self._learning_rate()
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), GRADIENT_CLIP)
        if math.isfinite(loss) and torch.isfinite(norm):
            self.skipped = 0
            self.scaler.step(self.optimizer)
            self.scaler.update()
            return
        self.skipped += 1
        if not self.scaler.is_enabled() or self.skipped == MOST_SKIPPED:
            raise TrainingFailure(
                f"The loss is no longer a number at step {self.state.step + 1}; lower learning_rate "
                f"(now {self.settings.learning_rate:g}) or use a model in bf16 instead of fp16."
            )
        self.scaler.update(self.scaler.get_scale() * self.scaler.get_backoff_factor())

    def _learning_rate(self) -> float:
        """The learning rate of the coming step; it rises over the first few, while AdamW's moments are still unreliable."""
        if self.settings.learning_rate_schedule == "constant":
            return self.settings.learning_rate
        rise = min(1.0, (self.state.step + 1) / WARMUP_STEPS)
        fall = min(1.0, 2 * (1 - self.state.step / self.settings.steps))
        return self.settings.learning_rate * rise * fall

    def _check_hit_rate(self) -> None:
        recent = self.state.history[self.first_step :][-HIT_RATE_WINDOW:]
        if len(recent) < HIT_RATE_WINDOW:
            return
        rate = sum(record.hit_rate for record in recent) / len(recent)
        if rate < MINIMUM_HIT_RATE:
            raise TrainingFailure(
                f"A face was found in only {rate:.0%} of the last {HIT_RATE_WINDOW} steps' frames; use prompts "
                "that show the face large and from the front, or raise width and height."
            )
