"""Non-reconstructive reward tuning (paper section 4), step by step."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..adapters.architectures import Architecture
from ..adapters.late_step import LateStepInjection
from ..adapters.low_rank import LowRankAdapter
from ..host.checkpointing import recomputed
from ..rewards.faces import Identity, largest_faces
from ..rewards.identity import identity_consistency_loss
from ..rewards.semantic import semantic_consistency_loss
from .draws import Draws
from .memory.memory import Memory
from .preservation import preservation_loss
from .settings import TrainingSettings
from .state import StepRecord, TrainingState
from .teacher.bank import TeacherBank, TeacherClip

# Gradients of half-precision models are often smaller than half precision can hold.
HALF_PRECISION_SCALE = 2.0**14
# One step on a frame with an unusual face must not undo a hundred others.
GRADIENT_CLIP = 1.0
WARMUP_STEPS = 10
# A run in which the detector finds a face on fewer than this share of frames teaches nothing.
MINIMUM_HIT_RATE = 0.2
HIT_RATE_WINDOW = 25


# (record, (teacher's frame, student's frame), both [1, 3, H, W] in 0..1)
AfterStep = Callable[[StepRecord, tuple[Tensor, Tensor]], None]


class TrainingFailure(RuntimeError):
    """The run cannot go on; the message says what to change. The last good state is kept."""


class Trainer:
    """Tunes ``adapter`` so that the student's videos show ``identity``."""

    def __init__(
        self,
        bank: TeacherBank,
        adapter: LowRankAdapter,
        injection: LateStepInjection,
        identity: Identity,
        draws: Draws,
        settings: TrainingSettings,
        state: TrainingState,
        architecture: Architecture,
        memory: Memory,
    ):
        self.bank = bank
        self.rollout = bank.rollout
        self.decoder = bank.decoder
        self.adapter = adapter
        self.injection = injection
        self.identity = identity
        self.draws = draws
        self.settings = settings
        self.state = state
        self.architecture = architecture
        self.memory = memory
        self.first_step = state.step
        self.optimizer = torch.optim.AdamW(
            adapter.parameters(), lr=settings.learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=settings.weight_decay
        )
        state.restore(adapter, self.optimizer)

    def train(self, after_step: AfterStep) -> None:
        """Run until ``settings.steps``; ``after_step`` may save, show progress, or raise to stop.

        Raises TrainingFailure if a loss is not finite or faces are never found.
        """
        while self.state.step < self.settings.steps:
            record, preview = self._step()
            self.state.step += 1
            self.state.history.append(record)
            self._check_hit_rate()
            after_step(record, preview)

    def _step(self) -> tuple[StepRecord, tuple[Tensor, Tensor]]:
        loss, record, preview = self.memory.retrying(self._gradient)
        if loss is not None:
            self._update(loss)
        return record, preview

    def _gradient(self) -> tuple[float | None, StepRecord, tuple[Tensor, Tensor]]:
        """The gradient of the coming step, with the loss."""
        loss, record, preview = self.loss(self.draws.generator(self.state.step))
        if loss is None:
            return None, record, preview
        self.optimizer.zero_grad()
        self.memory.backward(loss * self._scale)
        return loss.item(), record, preview

    def loss(self, generator: torch.Generator) -> tuple[Tensor | None, StepRecord, tuple[Tensor, Tensor]]:
        """L_train of Eq. 5 for one random prompt, one initial noise and M random frames.

        The loss is None when neither student nor teacher show a face. The last
        result is the first of the frames, the teacher's and the student's, to look at.
        """
        settings = self.settings
        clip = self.teacher_clip(*self.draws.clip(generator))
        latents = self.student_latents(clip)
        frames = self._frames(clip, self.memory.decoder.count(latents), generator)
        student = self.memory.decoder.decode(latents, frames)

        student_faces = largest_faces(self.identity.face_model, student)
        teacher_faces = [clip.faces[frame] for frame in frames]
        hits = sum(face is not None for face in student_faces)

        located = [teacher or own for teacher, own in zip(teacher_faces, student_faces)]

        identity, similarity = self._identity(student, located, generator)
        semantic = self._semantic(student[: settings.num_frames], clip, frames[: settings.num_frames])
        preserve = student.new_zeros(())
        if settings.preserve_weight:
            preserve = preservation_loss(student, clip.frames[frames], located)

        record = StepRecord(float("nan"), float("nan"), semantic.item(), preserve.item(), similarity, hits / len(frames))
        preview = clip.frames[frames[:1]].float(), student[:1].detach().cpu()
        if identity is None:
            return None, record, preview
        loss = settings.identity_weight * identity + settings.semantic_weight * semantic + settings.preserve_weight * preserve
        record.loss, record.identity = loss.item(), identity.item()
        return loss, record, preview

    def student_latents(self, clip: TeacherClip) -> Tensor:
        """z_0 of the target model G_T from the same pure noise as the teacher's clip (section 4.1).

        Starts where the window opens (before it both models are the same), and
        carries gradient through the last K steps.
        """
        self.rollout.use_prompt(clip.prompt)
        first = self.bank.first_late_step
        last = self.rollout.steps
        first_with_gradient = max(first, last - self.settings.gradient_steps)
        with torch.no_grad():
            x = self.rollout.run(clip.switch_latents, first, first_with_gradient)
        x = self.rollout.run(x, first_with_gradient, last, self.memory.recomputes)
        return self.rollout.to_vae(x)

    def teacher_clip(self, prompt: int, seed: int) -> TeacherClip:
        """The original model's clip: the adapter sleeps while the bank samples."""
        self.injection.enabled = False
        try:
            return self.bank.clip(prompt, seed)
        finally:
            self.injection.enabled = True

    def _identity(self, student, located, generator) -> tuple[Tensor | None, float]:
        """Eq. 2 on the first of the sampled frames that show a face.

        The face is looked for where the teacher's same frame has it (where the student
        has it, if the teacher shows none): late steps must not move the head, and a reward
        that follows a wandering head would let the motion shrink.
        """
        usable = [index for index, face in enumerate(located) if face is not None][: self.settings.identity_frames]
        if not usable:
            return None, float("nan")
        faces = [located[index] for index in usable]
        return identity_consistency_loss(
            student[usable], faces, self.identity, self.settings.augmentation, generator, self.settings.identity_cap
        )

    def _frames(self, clip: TeacherClip, count: int, generator: torch.Generator) -> list[int]:
        """The random frames of this step; where only the identity is rewarded, those first that show a face."""
        frames = torch.randperm(count, generator=generator).tolist()
        if not (self._scored or self.settings.preserve_weight):
            frames.sort(key=lambda frame: clip.faces[frame] is None)
        return frames[: self.memory.frames]

    @property
    def _scored(self) -> bool:
        """Whether the semantic reward takes part."""
        return self.bank.semantic_reward is not None and self.settings.semantic_weight > 0

    def _semantic(self, student: Tensor, clip: TeacherClip, frames: list[int]) -> Tensor:
        """Eqs. 3 and 4 on the M sampled frames; 0 without a semantic reward."""
        if not self._scored:
            return student.new_zeros(())
        reward, text = self.bank.semantic_reward, self.bank.text_features[clip.prompt]
        if self.memory.recomputes:
            scores = torch.cat([recomputed(lambda frame: reward.score(frame, text), frame) for frame in student.split(1)])
        else:
            scores = reward.score(student, text)
        return semantic_consistency_loss(scores, clip.scores[frames], reward.logit_scale)

    @property
    def _scale(self) -> float:
        return HALF_PRECISION_SCALE if self.rollout.dtype == torch.float16 else 1.0

    def _learning_rate(self) -> float:
        """Of the coming step; the optimizer's first moments are not yet reliable, so it rises for a few steps."""
        if self.settings.learning_rate_schedule == "constant":
            return self.settings.learning_rate
        rise = min(1.0, (self.state.step + 1) / WARMUP_STEPS)
        fall = min(1.0, 2 * (1 - self.state.step / self.settings.steps))
        return self.settings.learning_rate * rise * fall

    def _update(self, loss: float) -> None:
        self.optimizer.param_groups[0]["lr"] = self._learning_rate()
        for parameter in self.adapter.parameters():
            parameter.grad.div_(self._scale)
        norm = torch.nn.utils.clip_grad_norm_(self.adapter.parameters(), GRADIENT_CLIP)
        if not (math.isfinite(loss) and torch.isfinite(norm)):
            raise TrainingFailure(
                f"The loss is no longer a number at step {self.state.step + 1}; lower learning_rate "
                f"(now {self.settings.learning_rate:g}) or use a model in bf16 instead of fp16."
            )
        self.optimizer.step()

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
