"""The teacher bank on disk: a file a clip, whole or not there at all.

``<folder>/<settings>/<prompt and noise>.pvclip``: both names are hashes of everything that decides
what the clip looks like, so other prompts or settings only add files. What no hash can tell, the model
with all that hangs on it, is told by the clips themselves: see ``TeacherBank.build``.
"""

import errno
import hashlib
import time
from abc import abstractmethod
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...adapters.lora_file import write_atomically
from .clip import FRAMES, StoredFrames, TeacherClip, clip_of

ClipKey = tuple[int, int]  # prompt, noise seed
IDENTITY = "personalvideo_clip"
ABANDONED = 3600.0  # seconds after which nobody is still writing a file


class ClipFolder(MutableMapping):
    """Values by (prompt, noise seed), each in a safetensors file of its own.

    folder: of the clips with the same settings; made when it is needed. prompts: their texts.
    Files that are truncated, or that belong to something else, are as good as missing.
    """

    suffix: str

    def __init__(self, folder: Path, prompts: list[str]):
        self.folder = folder
        self.prompts = prompts

    @abstractmethod
    def pack(self, value) -> dict[str, Tensor]:
        """What is written."""

    @abstractmethod
    def unpack(self, key: ClipKey, file, path: Path):
        """Inverse of ``pack``, of an open safetensors file at ``path``."""

    def path(self, key: ClipKey) -> Path:
        return self.folder / f"{self._identity(key)[:32]}{self.suffix}"

    def __getitem__(self, key: ClipKey):
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get(IDENTITY) != self._identity(key):
                    raise KeyError(key)
                return self.unpack(key, file, path)
        except (OSError, SafetensorError) as error:
            raise KeyError(key) from error

    def __setitem__(self, key: ClipKey, value) -> None:
        """Raises ValueError, naming the input, if the file cannot be written."""
        data = save(self.pack(value), metadata={IDENTITY: self._identity(key)})
        try:
            write_atomically(self.path(key), data)
        except OSError as error:
            raise _cannot_write(error, self.folder) from error

    def __delitem__(self, key: ClipKey) -> None:
        try:
            self.path(key).unlink()
        except FileNotFoundError as error:
            raise KeyError(key) from error

    def __iter__(self) -> Iterator[ClipKey]:
        raise TypeError("Names are hashes: what lies in the folder can be asked for, not listed.")

    def __len__(self) -> int:
        return len(self._files())

    def clear(self) -> None:
        for path in self._files():
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed processes have left half written."""
        for path in self.folder.glob(f".*{self.suffix}.*.tmp"):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return list(self.folder.glob(f"*{self.suffix}"))

    def _identity(self, key: ClipKey) -> str:
        prompt, seed = key
        return hashlib.sha256(f"{self.folder.name}\n{seed}\n{self.prompts[prompt]}".encode()).hexdigest()


class ClipFiles(ClipFolder):
    """Teacher clips; their frames are read when they are indexed."""

    suffix = ".pvclip"

    def pack(self, value: TeacherClip) -> dict[str, Tensor]:
        return value.tensors()

    def unpack(self, key, file, path) -> TeacherClip:
        tensors = {name: file.get_tensor(name) for name in file.keys() if name != FRAMES}
        return clip_of(key[0], tensors, StoredFrames(path))


class LatentFiles(ClipFolder):
    """Latents that another expert has come to."""

    suffix = ".pvearly"

    def pack(self, value: Tensor) -> dict[str, Tensor]:
        return {"latents": value.contiguous()}

    def unpack(self, key, file, path) -> Tensor:
        return file.get_tensor("latents")


def noise_tolerance(dtype: torch.dtype) -> float:
    """Relative difference that rounding alone may make between two clips of one model in ``dtype``.

    Measured on the demo model: 1.2e-5 in 32 bits between clips sampled together and alone; 0.9 of the rounding
    unit between half precision and 32 bits.
    """
    return 1e-4 + 2 * torch.finfo(dtype).eps


def _cannot_write(error: OSError, folder: Path) -> ValueError:
    if error.errno == errno.ENOSPC:
        return ValueError(
            f"bank_folder: the disk of {folder.parent} is full; free some space, choose a folder on another "
            "disk, lower bank_seeds, or set teacher_bank to memory."
        )
    return ValueError(f"bank_folder: nothing can be written to {folder.parent} ({error.strerror}); choose another folder.")
