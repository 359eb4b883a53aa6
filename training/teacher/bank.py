"""What the frozen model contributes to every training step, computed once.

The adapter is off before the late-step window, so the trajectory up to the
window and the whole video of the original model G_S are constants of
(prompt, initial noise). Remembering them changes speed, never results.
"""

import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass

import comfy.model_management
import torch
from torch import Tensor

from ...rewards.faces import FaceModel, largest_faces
from ...rewards.semantic import SemanticReward
from ..clip_batches import batches
from ..decoding.frame_decoder import FrameDecoder
from ..rollout import Rollout
from .clip import TeacherClip, clip_difference
from .clip_files import ClipFiles, ClipKey, noise_tolerance
from .high_noise_expert import EarlySteps
from .location import check_space, in_words

# Frames scored at once: bounds the memory of a large image encoder.
SCORED_TOGETHER = 8


class StaleBank(Exception):
    """The files were another model's and are gone; the bank has to be built again. The message is for the user."""


@dataclass(frozen=True)
class BankProgress:
    """done, total: clips of this run. reused: how many of them an earlier run had left. size: of all in bytes.

    place: where they are, for people.
    """

    done: int
    total: int
    reused: int
    size: int
    seconds_left: float
    place: str

    def __str__(self) -> str:
        reused = f", {self.reused} from an earlier run" if self.reused else ""
        left = f"{self.seconds_left / 60:.0f} min" if self.seconds_left >= 90 else f"{self.seconds_left:.0f} s"
        return f"Original model's clips: {self.done} of {self.total}{reused}; {in_words(self.size)} {self.place}, {left} left"


class TeacherBank:
    """Teacher clips by (prompt, noise seed).

    text_features: of every prompt, for the semantic reward. early_steps: of another expert,
    if the model has two. clips: where they are remembered; with None every clip is sampled again
    when it is needed, which gives the same losses, slowly. together: clips sampled in one model call,
    None for as many as pay; more than one changes results by rounding.

    The caller disables the adapter while the bank samples.
    """

    def __init__(
        self,
        rollout: Rollout,
        decoder: FrameDecoder,
        face_model: FaceModel,
        semantic_reward: SemanticReward | None,
        text_features: Tensor | None,
        first_late_step: int,
        early_steps: EarlySteps | None = None,
        clips: MutableMapping[ClipKey, TeacherClip] | None = None,
        together: int | None = None,
    ):
        self.rollout = rollout
        self.decoder = decoder
        self.face_model = face_model
        self.semantic_reward = semantic_reward
        self.text_features = text_features
        self.first_late_step = first_late_step
        self.early_steps = early_steps
        self.clips = clips
        self.together = together

    def clip(self, prompt: int, seed: int) -> TeacherClip:
        """Recall the teacher's clip, or sample it. Raises ValueError if it is no picture."""
        clip = None if self.clips is None else self.clips.get((prompt, seed))
        if clip is None:
            (clip,) = self._sample([(prompt, seed)])
            if self.clips is not None:
                self.clips[prompt, seed] = clip
        return clip.to(self.rollout.latent.device)

    def build(self, first: ClipKey, others: list[ClipKey], tell: Callable[[BankProgress], None]) -> TeacherClip:
        """Make every clip that is not known yet; returns the one of ``first``.

        Where the clips are files, ``first`` is sampled again and has to be what a file of it holds, else
        ``StaleBank`` is raised. Raises ValueError if the clips do not fit on the disk.
        """
        if self.clips is None:
            return self.clip(*first)
        clip = self._confirmed(first, others) if isinstance(self.clips, ClipFiles) else self.clip(*first)
        wanted = list(dict.fromkeys(key for key in others if key != first))
        missing = [key for key in wanted if key not in self.clips]
        size, place = clip.size, "on disk" if isinstance(self.clips, ClipFiles) else "in memory"
        check_space(self.clips, size * len(missing))
        reused, started, made = len(wanted) - len(missing), time.monotonic(), 0

        def progress() -> BankProgress:
            left = (time.monotonic() - started) / made * (len(missing) - made) if made else 0.0
            return BankProgress(1 + reused + made, 1 + len(wanted), reused, size * (1 + len(wanted)), left, place)

        tell(progress())
        together = self.together or self.rollout.most_together()
        for batch in batches(missing, together, self.rollout.can_share):
            for key, made_clip in zip(batch, self._sample_what_fits(batch)):
                self.clips[key] = made_clip
                made += 1
            tell(progress())
        return clip.to(self.rollout.latent.device)

    def _confirmed(self, first: ClipKey, others: list[ClipKey]) -> TeacherClip:
        """The clip of ``first``, sampled now; a file that this model, text encoder or VAE would not make ends it all."""
        witness = witness_of(self.clips, first, others)
        if witness is None:
            return self.clip(*first)
        (again,) = self._sample([witness])
        if clip_difference(again, self.clips[witness]) > noise_tolerance(self.rollout.dtype):
            self.clips.clear()
            raise StaleBank("Original model's clips: those in the folder are another model's; they are made anew")
        return again if witness == first else self.clip(*first)

    def _sample_what_fits(self, keys: list[ClipKey]) -> list[TeacherClip]:
        """The clips of ``keys`` in the same model calls, or in calls of their own from when memory has run out."""
        if self.together != 1:
            try:
                return self._sample(keys)
            except Exception as error:
                if len(keys) == 1 or not comfy.model_management.is_oom(error):
                    raise
            self.together = 1
            comfy.model_management.soft_empty_cache(True)  # only now has the error let go of the tensors
        return [clip for key in keys for clip in self._sample([key])]

    @torch.no_grad()
    def _sample(self, keys: list[ClipKey]) -> list[TeacherClip]:
        """The clips of all ``keys`` in the same model calls."""
        self.rollout.use_prompts([prompt for prompt, _ in keys])
        if self.early_steps is None:
            starts, step = [self.rollout.start(seed) for _, seed in keys], 0
        else:
            starts = [self.early_steps.of(key).to(self.rollout.latent) for key in keys]
            step = self.early_steps.steps
        switch = self.rollout.run(torch.cat(starts), step, self.first_late_step)
        end = self.rollout.run(switch, self.first_late_step, self.rollout.steps)
        one = len(self.rollout.latent)
        return [self._clip(prompt, *parts) for (prompt, _), *parts in zip(keys, switch.split(one), end.split(one))]

    def _clip(self, prompt: int, switch: Tensor, end: Tensor) -> TeacherClip:
        if not torch.isfinite(end).all():
            raise ValueError(
                "model: its own video, without the adapter, is not made of numbers; load the model in bf16 "
                "instead of fp16, or without the patches that are on it."
            )
        frames = self.decoder.decode_clip(self.rollout.to_vae(end))
        if not torch.isfinite(frames).all():
            raise ValueError("vae: it makes pictures that are not made of numbers; start ComfyUI with --fp32-vae or --bf16-vae.")
        scores = None
        if self.semantic_reward is not None:
            text = self.text_features[prompt]
            scores = torch.cat([self.semantic_reward.score(part, text) for part in frames.split(SCORED_TOGETHER)]).cpu()
        faces = largest_faces(self.face_model, frames)
        return TeacherClip(prompt, switch.cpu().clone(), frames.half().cpu(), faces, scores)


def witness_of(clips: MutableMapping[ClipKey, TeacherClip], first: ClipKey, others: list[ClipKey]) -> ClipKey | None:
    """The clip that shows whether the known ones are of the present model: ``first`` if it is known, else any."""
    return next((key for key in (first, *others) if key in clips), None)


def sampled_by_build(clips: MutableMapping[ClipKey, TeacherClip] | None, first: ClipKey, others: list[ClipKey]) -> list[ClipKey]:
    """The clips that ``TeacherBank.build`` is going to sample, and without a memory all of them."""
    everything = list(dict.fromkeys([first, *others]))
    if clips is None:
        return everything
    again = [first, witness_of(clips, first, others)] if isinstance(clips, ClipFiles) else []
    return [key for key in everything if key in again or key not in clips]
