"""Where the original model's clips of a run are kept: in memory or on a disk."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ...host.memory_use import free_memory
from ..decoding.frame_decoder import FrameDecoder
from ..words import in_words
from .clip import TeacherClip
from .lasting import LastingStore, sweep_unused, used
from .stores import ClipFiles, LatentFiles, MemoryStore, Store

BANKS = ("auto", "memory", "disk")
# Of the free memory, what a bank that chooses by itself may take.
COMFORTABLE_SHARE = 0.25


@dataclass(frozen=True)
class BankLocation:
    """kind: one of BANKS. folder: where files go. reused: the folder was named by the user, for other runs to use.

    lasting: the pack's own folder for clips that took long to make, where ``folder`` does not outlive ComfyUI.
    """

    kind: str
    folder: Path
    reused: bool = False
    lasting: Path | None = None

    def open(self, fingerprint: str, prompts: list[str], size: int) -> "Stores":
        """The stores of the bank named ``fingerprint``, of which a run needs ``size`` bytes.

        Raises ValueError if they do not fit.
        """
        if self.in_memory(size):
            free = _free_memory()
            if size > free:
                raise ValueError(
                    f"teacher_bank: the clips of the original model need {in_words(size)} and "
                    f"{in_words(free)} of memory are free; set it to disk or set bank_seeds to 1."
                )
            clips, early = MemoryStore(), MemoryStore()
        else:
            clips, early = _files(self.folder / fingerprint, prompts, self.reused)
        if self.lasting is None or self.kind == "memory":
            return Stores(clips, early)
        used(self.lasting / fingerprint)
        sweep_unused(self.lasting)
        place = f"on disk in {self.lasting.parent.name}/{self.lasting.name}"
        lasting_clips, lasting_early = _files(self.lasting / fingerprint, prompts, True, place)
        return Stores(LastingStore(clips, lasting_clips), LastingStore(early, lasting_early))

    def in_memory(self, size: int) -> bool:
        """Whether a bank of ``size`` bytes is going to be kept in memory."""
        if self.kind == "auto":
            return not self.reused and size <= COMFORTABLE_SHARE * _free_memory()
        return self.kind == "memory"


@dataclass(frozen=True)
class Stores:
    """What a location opens, or a caller brings along. clips: of the original model. early: what another expert has come to."""

    clips: Store[TeacherClip] = field(default_factory=MemoryStore)
    early: Store[Tensor] = field(default_factory=MemoryStore)

    def open(self, fingerprint: str, prompts: list[str], size: int) -> "Stores":
        """Themselves: whoever brought them along knows that they fit."""
        return self

    def in_memory(self, size: int) -> bool:
        """Whether clips wait in memory."""
        return self.clips.remembers and self.clips.own


def _files(folder: Path, prompts: list[str], stays: bool, place: str = "on disk") -> tuple[ClipFiles, LatentFiles]:
    """The stores in ``folder``, without what killed processes have left there."""
    clips, early = ClipFiles(folder, prompts, stays, place), LatentFiles(folder, prompts, stays, place)
    clips.sweep()
    early.sweep()
    return clips, early


def _free_memory() -> int:
    return free_memory(torch.device("cpu"))


def clip_bytes(decoder: FrameDecoder, latent: Tensor) -> int:
    """About what a clip takes: its frames in half precision."""
    height, width = decoder.frame_size(latent)
    return decoder.count(latent) * 3 * height * width * torch.half.itemsize
