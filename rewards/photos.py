"""Photos of a person as they come from phones, cameras and the web, read into pixels.

A file that cannot be used never stops the others: it becomes a Photo whose `problem` says in one
sentence what is wrong and what to do.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps
from torch import Tensor

from ..sentences import one_line, quoted, reason

MAX_PHOTOS = 20
MAX_PIXELS = 256_000_000  # above any phone's 200 megapixels; a decompression bomb is far beyond
MAX_SIDE = 2048  # a face of a tenth of the width still has 200 pixels, more than recognizers take
MIN_SIDE = 32
MID_GREY = (128, 128, 128)  # a recognizer's zero, and neither dark nor light hair melts into it

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")  # no others: Pillow runs Ghostscript for EPS
SUFFIXES = {
    ".png",
    ".apng",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".mpo",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".avif",
    ".heic",
    ".heif",
    ".hif",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".raf",
    ".orf",
    ".rw2",
    ".psd",
    ".svg",
}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


@dataclass(frozen=True, eq=False)
class Photo:
    """One picture: pixels [3, H, W] in 0..1 (RGB, upright), or None and the `problem`.

    name: printable. source: the input that it came by.
    """

    name: str
    pixels: Tensor | None
    problem: str | None
    sha256: str
    source: str = "folder"


def read_folder(path: str | Path) -> list[Photo]:
    """The pictures of a folder in natural order; files that are not pictures are left out.

    At most MAX_PHOTOS come with pixels. ValueError: no such folder, or no picture file in it.
    """
    photos, readable = [], 0
    for file in _picture_files(Path(path)):
        photo = read_photo(file)
        if photo.pixels is not None and readable == MAX_PHOTOS:
            problem = f"{photo.name} was left out: {MAX_PHOTOS} photos are the most that are used."
            photo = replace(photo, pixels=None, problem=problem)
        readable += photo.pixels is not None
        photos.append(photo)
    return photos


def read_photo(path: str | Path) -> Photo:
    """Read one picture, its longer side reduced to MAX_SIDE; never raises for what is in the file.

    Turned upright by its EXIF tag, first frame of an animation, transparency on mid grey, grey and
    CMYK as RGB, 16 bits as their upper 8.
    """
    path = Path(path)
    name = one_line(path.name)
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = f"{name} could not be opened ({reason(error)}): check that the file is there and may be read."
        return Photo(name, None, problem, "")
    pixels, problem = None, None
    try:
        with _pillow_settings():
            pixels = _decode(data)
    except _Unusable as flaw:
        problem = f"{name} {flaw}"
    except Exception as error:  # Pillow's decoders raise nearly anything on a damaged file
        problem = f"{name} is damaged ({reason(error)}): copy it again from where it came from."
    return Photo(name, pixels, problem, hashlib.sha256(data).hexdigest())


def photos_of_batch(images: Tensor) -> list[Photo]:
    """The pictures of a host's IMAGE [N, H, W, C] in 0..1 under the rules for files; names count from 1."""
    photos = []
    for number, image in enumerate(images, 1):
        name = f"image {number} of the images input"
        try:
            if number > MAX_PHOTOS:
                raise _Unusable(f"was left out: {MAX_PHOTOS} photos are the most that are used.")
            _check_size(image.shape[1], image.shape[0])
            if not image.isfinite().all():
                raise _Unusable("holds values that are no numbers: something before this node has failed.")
            values = (image[..., :3] * 255).round().clamp(0, 255).to(torch.uint8).cpu()
            picture = Image.fromarray(values.expand(*values.shape[:2], 3).numpy())
            photos.append(Photo(name, _pixels(_reduce(picture)), None, "", "images"))
        except _Unusable as flaw:
            photos.append(Photo(name, None, f"{name} {flaw}", "", "images"))
    return photos


def folder_fingerprint(path: str | Path) -> str:
    """A hash of the names and contents of the folder's pictures; changes when one of them does.

    ValueError as read_folder.
    """
    digest = hashlib.sha256()
    for file in _picture_files(Path(path)):
        try:
            content = hashlib.sha256(file.read_bytes()).digest()
        except OSError:
            content = b"unreadable"  # read_photo reports it
        digest.update(os.fsencode(file.name) + b"\0" + content)
    return digest.hexdigest()


def list_identity_folders(roots: Iterable[str | Path]) -> list[str]:
    """Names of the visible folders directly below the roots that hold a picture, in natural order."""
    folders = (folder for root in map(Path, roots) if root.is_dir() for folder in root.iterdir())
    return sorted({folder.name for folder in folders if folder.is_dir() and _holds_picture(folder)}, key=_natural)


class _Unusable(Exception):
    """Why a picture cannot be used, as the end of a sentence that starts with its name."""


def _picture_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"folder {quoted(folder.name)} does not exist: choose one with 1 to {MAX_PHOTOS} photos of a person.")
    files = sorted(filter(_is_picture, folder.iterdir()), key=lambda file: _natural(file.name))
    if not files:
        raise ValueError(f"folder {quoted(folder.name)} has no pictures: put 1 to {MAX_PHOTOS} photos of a person into it.")
    return files


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _holds_picture(folder: Path) -> bool:
    try:
        return not folder.name.startswith(".") and any(map(_is_picture, folder.iterdir()))
    except OSError:
        return False  # a folder that may not be listed must not take the others with it


def _natural(name: str) -> list:
    """Sort key that puts photo2 before photo10; the name itself breaks ties such as A and a."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts] + [(-1, name)]


@contextmanager
def _pillow_settings() -> Iterator[None]:
    """Pillow's global switches as this reader needs them, whatever another pack has set.

    A file cut off in the middle has to fail, and MAX_PIXELS replaces Pillow's own size limit.
    """
    before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, None
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def _decode(data: bytes) -> Tensor:
    if not data:
        raise _Unusable("is empty (0 bytes): copy it again from where it came from.")
    with _open(data) as image:
        _check_size(*image.size)
        image.draft(None, (MAX_SIDE, MAX_SIDE))  # JPEG decodes to a half, quarter or eighth for free
        ImageOps.exif_transpose(image, in_place=True)
        return _pixels(_to_rgb(_reduce(image)))


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        million = MAX_PIXELS // 1_000_000
        raise _Unusable(f"has {width} x {height} pixels, more than {million} million: save it smaller.")
    if min(width, height) < MIN_SIDE:
        raise _Unusable(f"has only {width} x {height} pixels: use a photo with {MIN_SIDE} or more on each side.")


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255)


def _open(data: bytes) -> Image.Image:
    Image.init()
    try:
        return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    except Image.UnidentifiedImageError:
        if data[4:8] != b"ftyp" or data[8:12] not in _HEIF_BRANDS:
            raise _Unusable("is not a picture that can be read: save it as JPEG, PNG or WebP.") from None
    try:
        import pillow_heif
    except ImportError:
        raise _Unusable(
            "is a HEIC photo and there is no decoder for it: run `pip install pillow-heif`, or save it as JPEG."
        ) from None
    return pillow_heif.open_heif(io.BytesIO(data)).to_pillow()


def _reduce(image: Image.Image) -> Image.Image:
    if max(image.size) <= MAX_SIDE:
        return image
    if image.mode in ("1", "P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _upper_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*MID_GREY, 255)), image)
    return image.convert("RGB")


def _upper_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, integer or float, to 8: Pillow's own conversion clips at 255."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    top = float(values.max())
    full = 1.0 if image.mode == "F" and top <= 1 else 65535.0 if top <= 65535 else top
    return Image.fromarray((values.clip(0) / full * 255).round().astype(np.uint8))
