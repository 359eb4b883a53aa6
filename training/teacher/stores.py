"""Stores of values by (prompt, noise seed): in memory, in files, or nowhere.

On disk each value is a file, ``<folder>/<settings>/<prompt and noise>.pvclip``, which is either whole or absent. Both
names are hashes of what decides how the clip looks, so other prompts or settings only add files. No hash can cover the
model with everything attached to it; there the clips themselves are compared, see ``TeacherBank.build``.
"""

import errno
import hashlib
import shutil
import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...adapters.lora_file import write_atomically
from ..words import in_words
from .clip import FRAMES, ClipKey, StoredFrames, TeacherClip, clip_of

Value = TypeVar("Value")
IDENTITY = "personalvideo_clip"
ABANDONED = 3600.0  # seconds after which nobody can still be writing a file
LEFT_FREE = 10**9  # bytes of the disk that are left for the LoRA, its state and whoever else writes


class Store(Protocol[Value]):
    """Keeps values by clip key.

    remembers: whether a kept value is found again. own: whether everything in the store was kept by this very run.
    place: where the values are, in words for people.
    """

    remembers: bool
    own: bool
    place: str

    def find(self, key: ClipKey) -> Value | None:
        """The value of ``key``, or None if it is not known."""

    def keep(self, key: ClipKey, value: Value) -> None:
        """Remember ``value``. Raises ValueError if it cannot be written."""

    def __contains__(self, key: ClipKey) -> bool: ...

    def forget(self) -> None:
        """Drop everything."""

    def check_space(self, size: int) -> None:
        """Raise ValueError if there is no room for ``size`` more bytes."""


class NoStore(Generic[Value]):
    """Keeps nothing: every value is made again when it is needed, which gives the same losses, slowly."""

    remembers = False
    own = True
    place = "nowhere"

    def find(self, key: ClipKey) -> None:
        return None

    def keep(self, key: ClipKey, value: Value) -> None:
        pass

    def __contains__(self, key: ClipKey) -> bool:
        return False

    def forget(self) -> None:
        pass

    def check_space(self, size: int) -> None:
        pass


class MemoryStore(Generic[Value]):
    """Keeps values in a dictionary; runs with the same model, prompts and sampling may share one, ``values``."""

    remembers = True
    own = True
    place = "in memory"

    def __init__(self, values: dict[ClipKey, Value] | None = None):
        self.values = {} if values is None else values

    def find(self, key: ClipKey) -> Value | None:
        return self.values.get(key)

    def keep(self, key: ClipKey, value: Value) -> None:
        self.values[key] = value

    def __contains__(self, key: ClipKey) -> bool:
        return key in self.values

    def forget(self) -> None:
        self.values.clear()

    def check_space(self, size: int) -> None:
        """Nothing to check, as ``BankLocation.open`` did so before the run began."""


class DiskStore(Generic[Value]):
    """Keeps each value in a safetensors file of its own.

    folder: the one for clips with the same settings; it is made when it is needed. prompts: the texts of the prompts.
    Files that are truncated or belong to something else count as missing.
    """

    remembers = True
    own = False
    place = "on disk"
    suffix: str

    def __init__(self, folder: Path, prompts: list[str]):
        self.folder = folder
        self.prompts = prompts

    @abstractmethod
    def pack(self, value: Value) -> dict[str, Tensor]:
        """The tensors that a file holds for ``value``."""

    @abstractmethod
    def unpack(self, key: ClipKey, file, path: Path) -> Value:
        """The value that ``pack`` turned into the tensors of ``file``, an open safetensors file at ``path``."""

    def find(self, key: ClipKey) -> Value | None:
        return self._read(key, lambda file, path: self.unpack(key, file, path))

    def keep(self, key: ClipKey, value: Value) -> None:
        data = save(self.pack(value), metadata={IDENTITY: self._identity(key)})
        try:
            write_atomically(self.path(key), data)
        except OSError as error:
            raise self._cannot_write(error) from error

    def __contains__(self, key: ClipKey) -> bool:
        return self._read(key, lambda file, path: True) is not None

    def forget(self) -> None:
        for path in self.folder.glob(f"*{self.suffix}"):
            path.unlink(missing_ok=True)

    def check_space(self, size: int) -> None:
        folder = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        free = shutil.disk_usage(folder).free
        if size and size + LEFT_FREE > free:
            raise ValueError(
                f"bank_folder: the clips of the original model need {in_words(size)}, {in_words(LEFT_FREE)} has to "
                f"stay free, and {in_words(free)} are on the disk of {self.folder.parent}; free some space, choose "
                "a folder on another disk, or lower bank_seeds."
            )

    def sweep(self) -> None:
        """Remove files that killed processes left half written."""
        for path in self.folder.glob(f".*{self.suffix}.*.tmp"):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink(missing_ok=True)

    def path(self, key: ClipKey) -> Path:
        return self.folder / f"{self._identity(key)[:32]}{self.suffix}"

    def _read(self, key: ClipKey, take: Callable):
        path = self.path(key)
        if not path.exists():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get(IDENTITY) != self._identity(key):
                    return None
                return take(file, path)
        except (OSError, KeyError, SafetensorError):
            return None

    def _identity(self, key: ClipKey) -> str:
        prompt, seed = key
        return hashlib.sha256(f"{self.folder.name}\n{seed}\n{self.prompts[prompt]}".encode()).hexdigest()

    def _cannot_write(self, error: OSError) -> ValueError:
        folder = self.folder.parent
        if error.errno == errno.ENOSPC:
            return ValueError(
                f"bank_folder: the disk of {folder} is full; free some space, choose a folder on another "
                "disk, lower bank_seeds, or set teacher_bank to memory."
            )
        return ValueError(f"bank_folder: nothing can be written to {folder} ({error.strerror}); choose another folder.")


class ClipFiles(DiskStore[TeacherClip]):
    """Keeps teacher clips; their frames are read when they are indexed."""

    suffix = ".pvclip"

    def pack(self, value: TeacherClip) -> dict[str, Tensor]:
        return value.tensors()

    def unpack(self, key: ClipKey, file, path: Path) -> TeacherClip:
        tensors = {name: file.get_tensor(name) for name in list(file.keys()) if name != FRAMES}
        return clip_of(key[0], tensors, StoredFrames(path))


class LatentFiles(DiskStore[Tensor]):
    """Keeps the latents that the first of two experts arrived at."""

    suffix = ".pvearly"

    def pack(self, value: Tensor) -> dict[str, Tensor]:
        return {"latents": value.contiguous()}

    def unpack(self, key: ClipKey, file, path: Path) -> Tensor:
        return file.get_tensor("latents")
