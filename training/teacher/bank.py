"""What the frozen model contributes to every training step, computed once.

The adapter is off before the late-step window, so the trajectory up to the
window and the whole video of the original model G_S are constants of
(prompt, initial noise). Remembering them changes speed, never results.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import comfy.model_management

from ...rewards.faces import Face
from ..clip_batches import batches
from ..decoding.frame_decoder import FrameDecoder
from ..words import in_time, in_words
from .clip import ClipKey, TeacherClip, clip_difference, noise_tolerance
from .stores import MemoryStore, Store
from .teacher import Teacher


@dataclass(frozen=True)
class BankProgress:
    """done, total: clips of this run. reused: how many of them an earlier run had left. size: of all, in bytes.

    place: where they are, for people. stays: whether they are still there when ComfyUI has been started again.
    """

    done: int
    total: int
    reused: int
    size: int
    seconds_left: float
    place: str
    stays: bool = False

    def __str__(self) -> str:
        reused = f", {self.reused} from an earlier run" if self.reused else ""
        left = f"{in_words(self.size)} {self.place}, {in_time(self.seconds_left)} left"
        return f"Original model's clips: {self.done} of {self.total}{reused}; {left}"


class TeacherBank:
    """Teacher clips by (prompt, noise seed), sampled when they are first asked for and kept in ``store``.

    together: clips sampled in one model call, None for as many as pay; more than one changes results by rounding.
    """

    def __init__(self, teacher: Teacher, store: Store[TeacherClip], together: int | None = None):
        self.teacher = teacher
        self.store = store
        self.together = together
        self._outdated: Store[TeacherClip] | None = None

    def clip(self, key: ClipKey) -> TeacherClip:
        """The clip with what a training step computes with on the model's device. Raises ValueError if it is no picture."""
        clip = self.store.find(key)
        if clip is None:
            clip = self._made(key)
            self.store.keep(key, clip)
        return clip.to(self.teacher.rollout.latent.device)

    def build(self, first: ClipKey, others: list[ClipKey], tell: Callable[[BankProgress], None]) -> TeacherClip | None:
        """Make every clip that is not known yet, and return that of ``first``.

        Clips that an earlier run has left are confirmed before they are used: one of them is sampled again. If this model,
        text encoder or VAE would not make it, all are forgotten and None is returned: build again.
        Raises ValueError if the clips do not fit into the store.
        """
        if not self.store.remembers:
            return self.clip(first)
        clip = self.clip(first) if self.store.own else self._confirmed(first, others)
        if clip is None:
            return None
        wanted = list(dict.fromkeys(key for key in others if key != first))
        missing = [key for key in wanted if key not in self.store]
        self.store.check_space(clip.size * len(missing))
        reused, started, made = len(wanted) - len(missing), time.monotonic(), 0

        def progress() -> BankProgress:
            left = (time.monotonic() - started) / made * (len(missing) - made) if made else 0.0
            size = clip.size * (1 + len(wanted))
            return BankProgress(1 + reused + made, 1 + len(wanted), reused, size, left, self.store.place, self.store.stays)

        tell(progress())
        together = self.together or self.teacher.rollout.most_together()
        for batch in batches(missing, together, self.teacher.rollout.can_share):
            for key, made_clip in zip(batch, self._sample_what_fits(batch)):
                self.store.keep(key, made_clip)
                made += 1
            tell(progress())
        return clip.to(self.teacher.rollout.latent.device)

    def faces(self, keys: Iterable[ClipKey]) -> list[Face]:
        """Of the clips of ``keys`` that are known."""
        known = [clip for key in keys if (clip := self.store.find(key)) is not None]
        return [face for clip in known for face in clip.faces if face is not None]

    def decode_with(self, decoder: FrameDecoder) -> None:
        """From now on clips are those of another decoder; known ones are decoded again when they are asked for."""
        self.teacher.decoder = decoder
        self._outdated, self.store = self.store, MemoryStore()

    def _made(self, key: ClipKey) -> TeacherClip:
        outdated = None if self._outdated is None else self._outdated.find(key)
        return self.teacher.clips([key])[0] if outdated is None else self.teacher.finished(outdated)

    def _confirmed(self, first: ClipKey, others: list[ClipKey]) -> TeacherClip | None:
        """The clip of ``first``, sampled now; None, and nothing is known any more, if the stored clips are another model's."""
        witness = witness_of(self.store, first, others)
        stored = None if witness is None else self.store.find(witness)
        if witness is None or stored is None:
            return self.clip(first)
        (again,) = self.teacher.clips([witness])
        if clip_difference(again, stored) > noise_tolerance(self.teacher.rollout.dtype):
            self.store.forget()
            return None
        return again if witness == first else self.clip(first)

    def _sample_what_fits(self, keys: list[ClipKey]) -> list[TeacherClip]:
        """The clips of ``keys`` in the same model calls, or in calls of their own from when memory has run out."""
        if self.together != 1:
            try:
                return self.teacher.clips(keys)
            except Exception as error:
                if len(keys) == 1 or not comfy.model_management.is_oom(error):
                    raise
            self.together = 1
            comfy.model_management.soft_empty_cache(True)  # only now has the error let go of the tensors
        return [clip for key in keys for clip in self.teacher.clips([key])]


def witness_of(store: Store[TeacherClip], first: ClipKey, others: list[ClipKey]) -> ClipKey | None:
    """The clip that shows whether the known ones are of the present model: ``first`` if it is known, else any."""
    return next((key for key in (first, *others) if key in store), None)


def sampled_by_build(store: Store[TeacherClip], first: ClipKey, others: list[ClipKey]) -> list[ClipKey]:
    """The clips that ``TeacherBank.build`` is going to sample; all of them where nothing is remembered."""
    everything = list(dict.fromkeys([first, *others]))
    again = [] if store.own else [first, witness_of(store, first, others)]
    return [key for key in everything if key in again or key not in store]
