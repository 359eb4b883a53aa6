"""Where the original model's clips of a run are kept: in memory or on a disk."""

import shutil
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import torch
from torch import Tensor

from ..decoding.frame_decoder import FrameDecoder
from .clip import TeacherClip
from .clip_files import ClipFiles, ClipKey, LatentFiles

BANKS = ("auto", "memory", "disk")
# Of the free memory, what a bank that chooses by itself may take.
COMFORTABLE_SHARE = 0.25
LEFT_FREE = 10**9  # bytes of the disk, for the LoRA, its state and whoever else writes


@dataclass(frozen=True)
class BankLocation:
    """kind: one of BANKS. folder: where files go. reused: the folder was named by the user, for other runs to use."""

    kind: str
    folder: Path
    reused: bool = False

    def open(self, identity: str, prompts: list[str], size: int) -> "Stores":
        """The stores of the bank named ``identity``, of which a run needs ``size`` bytes.

        Raises ValueError if they do not fit.
        """
        if not self.in_memory(size):
            folder = self.folder / identity
            stores = Stores(ClipFiles(folder, prompts), LatentFiles(folder, prompts))
            stores.clips.sweep()
            stores.early.sweep()
            return stores
        free = _free_memory()
        if size > free:
            raise ValueError(
                f"teacher_bank: the clips of the original model need {in_words(size)} and "
                f"{in_words(free)} of memory are free; set it to disk or lower bank_seeds."
            )
        return Stores({}, {})

    def in_memory(self, size: int) -> bool:
        """Whether a bank of ``size`` bytes is going to be kept in memory."""
        if self.kind == "auto":
            return not self.reused and size <= COMFORTABLE_SHARE * _free_memory()
        return self.kind == "memory"


@dataclass(frozen=True)
class Stores:
    """clips: of the original model. early: latents that another expert has come to."""

    clips: MutableMapping[ClipKey, TeacherClip] | None
    early: MutableMapping[ClipKey, Tensor]


def _free_memory() -> int:
    return comfy.model_management.get_free_memory(torch.device("cpu"))


def check_space(clips: MutableMapping[ClipKey, TeacherClip], size: int) -> None:
    """Raise ValueError if files for ``size`` bytes of clips do not fit on their disk."""
    if not isinstance(clips, ClipFiles):
        return
    folder = next(path for path in (clips.folder, *clips.folder.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if size and size + LEFT_FREE > free:
        raise ValueError(
            f"bank_folder: the clips of the original model need {in_words(size)}, {in_words(LEFT_FREE)} has to "
            f"stay free, and {in_words(free)} are on the disk of {clips.folder.parent}; free some space, choose "
            "a folder on another disk, or lower bank_seeds."
        )


def clip_bytes(decoder: FrameDecoder, latent: Tensor) -> int:
    """About what a clip takes: its frames in half precision."""
    height, width = decoder.frame_size(latent)
    return decoder.count(latent) * 3 * height * width * torch.half.itemsize


def in_words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
