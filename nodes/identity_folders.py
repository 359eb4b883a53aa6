"""The folders of photos to choose from: the user's own in ComfyUI's input directory, and the bundled drawn people.

Whatever comes from outside is looked up among the names that are there, and never becomes part of a path; only the
name of a new folder or photo does, after it has been checked or cleaned.
"""

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ..adapters.lora_file import write_atomically
from ..rewards.photos import MAX_PHOTOS, SUFFIXES, decode_photo, legible, list_identity_folders, pictures_in

NO_FOLDER = "[None]"
BUNDLED = "demo/"
DEMO_IDENTITIES = Path(__file__).parent.parent / "demo" / "identities"
HOST_CLIPSPACE = "clipspace"
LONGEST_NAME = 60  # characters; file systems take 255 bytes, and a letter may have three
_UNSAFE = re.compile(r'[/\\:*?"<>|]')
_ADDING = threading.Lock()


class Missing(ValueError):
    """A folder or photo that is not there (any more)."""


def gone(folder: str) -> str:
    """The sentence about a folder that cannot be used (any more)."""
    return (
        f"folder: {legible(folder)} is not there any more, or holds no pictures; refresh (R) and choose another folder of "
        "the input folder."
    )


def identity_folders() -> "IdentityFolders":
    """Those of the running host."""
    return IdentityFolders(Path(folder_paths.get_input_directory()), DEMO_IDENTITIES)


@dataclass(frozen=True)
class IdentityFolders:
    """own: ComfyUI's input directory. bundled: the drawn people, read only, whose names begin with `BUNDLED`."""

    own: Path
    bundled: Path

    def names(self) -> list[str]:
        """Of every folder that holds a picture, in natural order, the user's own first."""
        own = [name for name in list_identity_folders([self.own]) if name != HOST_CLIPSPACE]
        return [legible(name) for name in own] + [BUNDLED + name for name in list_identity_folders([self.bundled])]

    def path(self, name: str) -> Path:
        """Raises Missing."""
        if name.startswith(BUNDLED):
            found = _find(self.bundled, name.removeprefix(BUNDLED))
        else:
            found = _find(self.own, name) if name != HOST_CLIPSPACE else None
        if not found:
            raise Missing(gone(name))
        return found

    def is_own(self, name: str) -> bool:
        """Whether photos may be added and removed: not the bundled ones, nor those behind a link out of the input folder."""
        return self.path(name).resolve().parent == self.own.resolve()

    def photo(self, folder: str, name: str) -> Path:
        """A picture file by its legible name. Raises Missing."""
        for file in pictures_in(self.path(folder)):
            if legible(file.name) == name:
                return file
        raise Missing(f"photo: {legible(name)} is not in the folder {legible(folder)} any more.")

    def create(self, name: str) -> str:
        """Makes a folder for a person, or takes an empty one of that name. Returns its name, with single blanks.

        Raises ValueError, in one sentence, for a name that cannot be a folder's or is another person's.
        """
        name = " ".join(name.split())
        if not _is_safe(name) or name in (NO_FOLDER, HOST_CLIPSPACE):
            raise ValueError(
                f"folder: {legible(name) or 'an empty name'} cannot be a folder's name; use up to {LONGEST_NAME} letters, digits "
                "and spaces."
            )
        folder = self.own / name
        folder.mkdir(parents=True, exist_ok=True)
        if pictures_in(folder):
            raise ValueError(f"folder: {name} is there already; choose it in the list to add photos to it, or take another name.")
        return name

    def add(self, folder: str, name: str, data: bytes) -> str:
        """Writes a photo that can be read into one of the user's own folders. Returns the name that it has there.

        The same photo is not written twice, and another one of the same name gets a number. Raises Missing, and
        ValueError, in one sentence, for what cannot be used as a photo.
        """
        place = self._own(folder)
        name = _cleaned(name)
        if Path(name).suffix.lower() not in SUFFIXES:
            raise ValueError(f"{name} is not a picture that can be read: save it as JPEG, PNG or WebP.")
        if problem := decode_photo(name, data).problem:
            raise ValueError(problem)
        with _ADDING:
            there = pictures_in(place)
            same = (file for file in there if file.stat().st_size == len(data) and file.read_bytes() == data)
            if twin := next(same, None):
                return legible(twin.name)
            if len(there) >= MAX_PHOTOS:
                raise ValueError(f"{name} was left out: {folder} has {MAX_PHOTOS} photos already, the most that are used.")
            path, number = place / name, 2
            while path.exists():
                path, number = place / f"{Path(name).stem} ({number}){Path(name).suffix}", number + 1
            write_atomically(path, data)
        return path.name

    def remove(self, folder: str, photo: str) -> None:
        """Deletes a photo from one of the user's own folders. Raises Missing, and ValueError for a folder that is not."""
        self._own(folder)
        self.photo(folder, photo).unlink()

    def _own(self, folder: str) -> Path:
        if not self.is_own(folder):
            raise ValueError(f"folder: {legible(folder)} is not in the input folder; photos are added to it and removed by hand.")
        return self.path(folder)


def _find(root: Path, name: str) -> Path | None:
    if not root.is_dir():
        return None
    visible = (folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))
    return next((folder for folder in visible if legible(folder.name) == name), None)


def _is_safe(name: str) -> bool:
    """Whether any file system takes it, as one name, and shows it."""
    return bool(
        legible(name) == name and not _UNSAFE.search(name) and not name.startswith(".") and name.rstrip(" .") == name
        and 0 < len(name) <= LONGEST_NAME
    )  # fmt: skip


def _cleaned(name: str) -> str:
    """The file's own name, without the folders before it and with _ for each character that is not safe."""
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(letter if legible(letter) == letter and not _UNSAFE.match(letter) else "_" for letter in name)
    stem, suffix = os.path.splitext(name.strip(" ."))
    return (stem[: LONGEST_NAME - len(suffix)] or "photo") + suffix
