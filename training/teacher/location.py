"""The place where a run keeps the original model's clips: memory or a disk."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ...host.memory_use import free_memory
from ..decoding.frame_decoder import FrameDecoder
from ..words import in_words
from .clip import TeacherClip
from .stores import ClipFiles, LatentFiles, MemoryStore, Store

BANKS = ("auto", "memory", "disk")
# On "auto", a bank stays in memory if it takes at most this share of the free memory.
COMFORTABLE_SHARE = 0.25


@dataclass(frozen=True)
class BankLocation:
    """kind: one of BANKS. folder: where files go. reused: whether the user named the folder, for other runs to use too."""

    kind: str
    folder: Path
    reused: bool = False

    def open(self, fingerprint: str, prompts: list[str], size: int) -> "Stores":
        """The stores of the bank named ``fingerprint``, in which this run's clips take ``size`` bytes.

        Raises ValueError if the clips are to be in memory and do not fit.
        """
        if not self.in_memory(size):
            folder = self.folder / fingerprint
            clips, early = ClipFiles(folder, prompts), LatentFiles(folder, prompts)
            clips.sweep()
            early.sweep()
            return Stores(clips, early)
        free = _free_memory()
        if size > free:
            raise ValueError(
                f"teacher_bank: the clips of the original model need {in_words(size)} and "
                f"{in_words(free)} of memory are free; set it to disk or lower bank_seeds."
            )
        return Stores(MemoryStore(), MemoryStore())

    def in_memory(self, size: int) -> bool:
        """Whether a bank of ``size`` bytes would be kept in memory."""
        if self.kind == "auto":
            return not self.reused and size <= COMFORTABLE_SHARE * _free_memory()
        return self.kind == "memory"


@dataclass(frozen=True)
class Stores:
    """The stores that a location opens or a caller brings along.

    clips: the original model's. early: the latents that the first of two experts arrived at.
    """

    clips: Store[TeacherClip] = field(default_factory=MemoryStore)
    early: Store[Tensor] = field(default_factory=MemoryStore)
    reused = False

    def open(self, fingerprint: str, prompts: list[str], size: int) -> "Stores":
        """These stores themselves, as whoever brought them along knows that the clips fit."""
        return self

    def in_memory(self, size: int) -> bool:
        """Whether the clips are kept in memory."""
        return self.clips.remembers and self.clips.own


def _free_memory() -> int:
    return free_memory(torch.device("cpu"))


def clip_bytes(decoder: FrameDecoder, latent: Tensor) -> int:
    """About how many bytes a clip takes: those of its frames in half precision."""
    height, width = decoder.frame_size(latent)
    return decoder.count(latent) * 3 * height * width * torch.half.itemsize
