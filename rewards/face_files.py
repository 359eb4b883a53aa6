"""Which face models lie on disk, under the names that users choose them by."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

OPENCV_PAIR = "opencv/yunet + sface"
INSIGHTFACE = "insightface/"

COMMERCIAL = "commercial use allowed"
RESEARCH = "research only: insightface's pretrained models are not licensed for commercial use"
UNKNOWN = "licence unknown: ask where the file comes from; insightface's own models are for research only"
OPENCV_LICENCE = f"{COMMERCIAL} (YuNet: MIT, SFace: Apache-2.0)"
AURAFACE_LICENCE = f"{COMMERCIAL} (AuraFace: Apache-2.0)"
RESEARCH_NAMES = ("antelope", "buffalo", "glint", "w600k")
TRAINING_DATA = {"glint": "Glint360K", "w600k": "WebFace600K", "ms1m": "MS1M", "casia": "CASIA-WebFace"}


@dataclass(frozen=True)
class FaceFiles:
    """A choice of the list.

    source: the recognizer's file, or the folder of an insightface pack, whose files have yet to be told apart.
    yunet: a YuNet file for what brings no detector, None if there is none.
    """

    name: str
    licence: str
    source: Path
    yunet: Path | None


def list_face_models(insightface_folders: Iterable[str | Path], face_folders: Iterable[str | Path]) -> list[FaceFiles]:
    """Everything that can be offered: the OpenCV pair, insightface packs, bare recognizers; in this order.

    insightface_folders: as ``models/insightface``. face_folders: as ``models/face``.
    """
    folders = list(map(Path, face_folders))
    yunet = _newest(folders, "yunet")
    sface = _newest(folders, "sface")
    found = [FaceFiles(OPENCV_PAIR, OPENCV_LICENCE, sface, yunet)] if yunet and sface else []
    packs, bare = {}, {}
    for folder in map(Path, insightface_folders):
        for pack in _subfolders(folder / "models"):
            if _onnx_files(pack) or nested_pack(pack):
                packs.setdefault(pack.name, FaceFiles(INSIGHTFACE + pack.name, _licence(pack.name), pack, yunet))
        for file in _onnx_files(folder):
            bare.setdefault(file.name, FaceFiles(INSIGHTFACE + file.name, _licence(file.name), file, yunet))
    return found + [packs[name] for name in sorted(packs)] + [bare[name] for name in sorted(bare)]


def nested_pack(pack: Path) -> Path | None:
    """The folder one level too deep that holds the pack's files, as an unzipped antelopev2 has it."""
    if _onnx_files(pack):
        return None
    return next((folder for folder in _subfolders(pack) if _onnx_files(folder)), None)


def training_data(recognizer: Path) -> str:
    """What a recognizer was trained on, by its file's and its pack's name; empty if they do not say."""
    if "auraface" in recognizer.parent.name.lower():
        return "AuraFace"  # its recognizer has the file name of antelopev2's
    names = recognizer.name.lower(), recognizer.parent.name.lower()
    return next((data for name in names for word, data in TRAINING_DATA.items() if word in name), "")


def _licence(name: str) -> str:
    if "auraface" in name.lower():
        return AURAFACE_LICENCE
    return RESEARCH if any(word in name.lower() for word in RESEARCH_NAMES) else UNKNOWN


def _newest(folders: list[Path], word: str) -> Path | None:
    """The last by name, as names end in dates; quantised files have no gradient and are left out."""
    for folder in folders:
        files = [file for file in _onnx_files(folder) if word in file.name.lower() and "int8" not in file.name.lower()]
        if files:
            return files[-1]
    return None


def _onnx_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.onnx"))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
