"""Where values by (prompt, noise seed) are kept: in memory, in files, or not at all.

In files: ``<folder>/<settings>/<prompt and noise>.pvclip``, a file a value, whole or not there at all. Both names are
hashes of everything that decides what the clip looks like, so other prompts or settings only add files. What no hash
can tell, the model with all that hangs on it, is told by the clips themselves: see ``TeacherBank.build``.
"""

import errno
import hashlib
import shutil
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...adapters.lora_file import remove_abandoned, write_atomically
from ...sentences import reason
from ..words import in_words
from .clip import FRAMES, ClipKey, StoredFrames, TeacherClip, clip_of

Value = TypeVar("Value")
IDENTITY = "personalvideo_clip"
LEFT_FREE = 10**9  # bytes of the disk, for the LoRA, its state and whoever else writes


class Store(Protocol[Value]):
    """remembers: whether what is kept is found again. own: everything in it was kept by this very run.

    place: where the values are, for people.
    """

    remembers: bool
    own: bool
    place: str

    def find(self, key: ClipKey) -> Value | None:
        """The value, None where it is not known."""

    def keep(self, key: ClipKey, value: Value) -> None:
        """Remember it. Raises ValueError if it cannot be written."""

    def __contains__(self, key: ClipKey) -> bool: ...

    def forget(self) -> None:
        """Drop everything."""

    def check_space(self, size: int) -> None:
        """Raise ValueError if ``size`` more bytes have no place."""


class NoStore(Generic[Value]):
    """Every value is made again when it is needed, which gives the same losses, slowly."""

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
    """values: what is known, shared by runs that share model, prompts and sampling."""

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
        """Memory is planned before the run begins, see ``BankLocation``."""


class DiskStore(Generic[Value]):
    """Values in safetensors files of their own.

    folder: of the clips with the same settings; made when it is needed. prompts: their texts.
    Files that are truncated, or that belong to something else, are as good as missing.
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
        """What is written."""

    @abstractmethod
    def unpack(self, key: ClipKey, file, path: Path) -> Value:
        """Inverse of ``pack``, of an open safetensors file at ``path``."""

    def find(self, key: ClipKey) -> Value | None:
        return self._read(key, lambda file, path: self.unpack(key, file, path))

    def keep(self, key: ClipKey, value: Value) -> None:
        data = save(self.pack(value), metadata={IDENTITY: self._identity(key)})
        try:
            write_atomically(self.path(key), data)
        except OSError as error:
            raise _cannot_write(error) from error

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
                f"stay free, and {in_words(free)} are on its disk; free some space, choose a folder on another disk, "
                "or lower bank_seeds."
            )

    def sweep(self) -> None:
        """Remove what killed processes have left half written."""
        remove_abandoned(self.folder, self.suffix)

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


def _cannot_write(error: OSError) -> ValueError:
    if error.errno == errno.ENOSPC:
        return ValueError(
            "bank_folder: its disk is full; free some space, choose a folder on another disk, lower bank_seeds, or set "
            "teacher_bank to memory."
        )
    return ValueError(f"bank_folder: nothing can be written to it ({reason(error)}); choose another folder.")


class ClipFiles(DiskStore[TeacherClip]):
    """Teacher clips; their frames are read when they are indexed."""

    suffix = ".pvclip"

    def pack(self, value: TeacherClip) -> dict[str, Tensor]:
        return value.tensors()

    def unpack(self, key: ClipKey, file, path: Path) -> TeacherClip:
        tensors = {name: file.get_tensor(name) for name in list(file.keys()) if name != FRAMES}
        return clip_of(key[0], tensors, StoredFrames(path))


class LatentFiles(DiskStore[Tensor]):
    """Latents that another expert has come to."""

    suffix = ".pvearly"

    def pack(self, value: Tensor) -> dict[str, Tensor]:
        return {"latents": value.contiguous()}

    def unpack(self, key: ClipKey, file, path: Path) -> Tensor:
        return file.get_tensor("latents")
