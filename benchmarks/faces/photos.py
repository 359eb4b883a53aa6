"""What Load Identity Images makes of people's files: bad ones get their sentence, and odd ones have to work.

    .venv/bin/python -m benchmarks.faces.photos

The people are those in insightface's sample photos, and the face model is the OpenCV pair.
"""

import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps

from devkit import hostless_pack  # noqa: F401
from devkit.face_material import GROUP_PHOTO, PORTRAIT, SFACE, YUNET, sample_photo
from personalvideo_pack.rewards.aligned_faces import AlignedFaceModel
from personalvideo_pack.rewards.photo_checks import choose_photos
from personalvideo_pack.rewards.photos import photos_of_batch, read_folder
from personalvideo_pack.rewards.recognizer import Recognizer
from personalvideo_pack.rewards.yunet import YuNet

ROOM = 1.4  # half the side of a person's picture, in widths of the face
TURNED_RIGHT, ORIENTATION = 6, 0x0112
AS_THE_ORIGINAL = 0.8  # the least cosine between an odd file that is kept and the plain picture
FEWEST_SENTENCES = 25
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


class Photos:
    """Reads folders as the node does."""

    def __init__(self):
        self.face_model = AlignedFaceModel("opencv/yunet + sface", "", "", YuNet(YUNET), Recognizer(SFACE))
        self.group = Image.open(sample_photo(GROUP_PHOTO)).convert("RGB")
        pixels = torch.from_numpy(np.array(self.group)).movedim(-1, 0)[None] / 255
        self.people = []
        for found in sorted(self.face_model.detector.detect(pixels)[0], key=lambda face: -face.area):
            left, top, right, bottom = found.box
            x, y, reach = (left + right) / 2, (top + bottom) / 2, ROOM * (right - left)
            self.people.append(self.group.crop(tuple(round(v) for v in (x - reach, y - reach, x + reach, y + reach))))

    def person(self, number: int = 0) -> list[Image.Image]:
        """Three pictures of one person: as on the photo, mirrored, turned and darker."""
        picture = self.people[number]
        turned = picture.rotate(8, Image.Resampling.BICUBIC, fillcolor=(120, 120, 120))
        return [picture, ImageOps.mirror(picture), turned.point(lambda value: value * 0.7)]

    def choose(self, folder: Path) -> tuple[torch.Tensor, list[str]]:
        """The embeddings and the report, or no embedding and the lines of the error if nothing can be used."""
        with torch.no_grad():
            try:
                identity, report = choose_photos(read_folder(folder), self.face_model)
            except ValueError as error:
                return torch.zeros(0, 128), str(error).splitlines()
        return identity.embeddings, report.splitlines()


def measure() -> dict:
    photos = Photos()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        bad = _bad_files(photos, scratch) | _bad_folders(photos, scratch)
        odd = _odd_files(photos, scratch)
    wrong = [name for name, sentence in bad.items() if not _is_one_sentence(sentence)]
    lost = [name for name, cosine in odd.items() if cosine < AS_THE_ORIGINAL]
    text = [f"bad photos and folders: {len(bad)}, without a clear sentence: {len(wrong)} {', '.join(wrong)}".rstrip()]
    text += [f"  {name:<34} {sentence}" for name, sentence in bad.items()]
    text += [f"odd files that are used: {len(odd) - len(lost)} of {len(odd)}, cosine to the plain picture"]
    text += [f"  {name:<34} {cosine:.3f}" for name, cosine in odd.items()]
    return {"passed": len(bad) >= FEWEST_SENTENCES and not wrong and not lost, "text": text, "sentences": bad, "odd files": odd}


def _is_one_sentence(text: str) -> bool:
    return bool(text) and text.endswith(".") and "\n" not in text and "Traceback" not in text


def _bad_files(photos: Photos, scratch: Path) -> dict[str, str]:
    """The sentence that each bad file gets in a folder with three good photos; it is empty if the file is used."""
    folder = _folder(scratch / "bad", photos.person())
    contents = _unreadable() | _unusable(photos)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    used, report = photos.choose(folder)
    sentences = {name: _sentence(report, name) if len(used) == 3 else "" for name in contents}
    undecoded = _folder(scratch / "undecoded", [])
    (undecoded / "phone.heic").write_bytes(HEIC)
    with mock.patch.dict(sys.modules, {"pillow_heif": None}):
        sentences["phone.heic"] = _sentence(photos.choose(undecoded)[1], "phone.heic")
    return sentences


def _sentence(report: list[str], name: str) -> str:
    """The reason why a photo is not used, which is empty if it is."""
    reasons = [line.removeprefix("not used: ") for line in report if line.startswith("not used: ")]
    return next((reason for reason in reasons if reason.startswith((name, f"the face in {name}"))), "")


def _unreadable() -> dict[str, bytes]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8))
    whole = {kind: _data(noise, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP")}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("photo.jpg", whole["JPEG"])
    return {
        "empty.jpg": b"",
        "zeros.jpg": bytes(4096),
        "words.png": b"Not a picture.",
        "web_page.jpg": b"<!DOCTYPE html><html><body>403 Forbidden</body></html>",
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n",
        "document.jpg": b"%PDF-1.7\n%%EOF",
        "archive.png": archive.getvalue(),
        "drawing.svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='99' height='99'/>",
        "camera.cr2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(64),
        "film.heic": HEIC,
        "cut_off.jpg": whole["JPEG"][:20_000],
        "cut_off.png": whole["PNG"][:20_000],
        "cut_off.webp": whole["WEBP"][:5_000],
        "cut_off.gif": whole["GIF"][:5_000],
        "cut_off.tif": whole["TIFF"][:20_000],
        "cut_off.bmp": whole["BMP"][:20_000],
        "header_only.png": whole["PNG"][:33],
        "icon.png": _data(noise.resize((20, 20)), "PNG"),
        "bomb.png": _data(Image.new("1", (20_000, 20_000)), "PNG"),
    }


def _unusable(photos: Photos) -> dict[str, bytes]:
    """Pictures that open but show no face, too little of one, or the wrong one."""
    person = photos.people[0]
    y, x = np.mgrid[0:480, 0:640]
    landscape = Image.fromarray(np.stack([x * 0.3, y * 0.4, 200 - y * 0.3], -1).astype(np.uint8))
    far = person.rotate(-8, Image.Resampling.BICUBIC, fillcolor="grey")
    far = far.resize([round(side * 0.4) for side in person.size], Image.Resampling.LANCZOS)
    return {
        "landscape.jpg": _data(landscape, "JPEG"),
        "black.png": _data(Image.new("RGB", (640, 480)), "PNG"),
        "lens_cap.jpg": _data(Image.effect_noise((640, 480), 20).convert("RGB"), "JPEG"),
        "far_away.png": _data(far, "PNG"),
        "blurred.png": _data(person.filter(ImageFilter.GaussianBlur(5)), "PNG"),
        "copy.png": _data(person, "PNG"),
        "saved_again.jpg": _data(person.resize((300, 300), Image.Resampling.LANCZOS), "JPEG", quality=70),
        "somebody_else.png": _data(photos.people[2], "PNG"),
        "another_person.png": _data(Image.open(sample_photo(PORTRAIT)).convert("RGB"), "PNG"),
    }


def _bad_folders(photos: Photos, scratch: Path) -> dict[str, str]:
    """The sentence that each bad folder gets: its first line, or the line about the whole folder."""
    (scratch / "empty_folder").mkdir()
    notes = scratch / "only_notes"
    notes.mkdir()
    (notes / "readme.txt").write_text("later")
    many = _folder(scratch / "many", [Image.new("RGB", (64, 64))] * 21)
    two = _folder(scratch / "two", photos.people[:1] + photos.people[2:3])
    four = _folder(scratch / "four", photos.person()[:2] + photos.person(2)[:2])
    none = _folder(scratch / "none", [Image.new("RGB", (300, 300), "teal")])
    small = photos_of_batch(torch.rand(1, 20, 20, 3))[0].problem
    sentences = {
        "folder that is gone": photos.choose(scratch / "gone")[1][0],
        "empty folder": photos.choose(scratch / "empty_folder")[1][0],
        "folder without pictures": photos.choose(notes)[1][0],
        "21 photos": read_folder(many)[-1].problem,
        "two photos of two people": photos.choose(two)[1][1],
        "two photos each of two people": photos.choose(four)[1][1],
        "folder where nothing can be used": photos.choose(none)[1][0],
        "tiny image of another node": small,
    }
    return {name: sentence.replace(f"{scratch}/", "") for name, sentence in sentences.items()}


def _odd_files(photos: Photos, scratch: Path) -> dict[str, float]:
    """The cosines between the plain picture and files that need care but show the person; 0 if one is not used."""
    import pillow_heif

    person = photos.people[0]
    turned = person.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED_RIGHT
    heic = io.BytesIO()
    pillow_heif.from_pillow(person).save(heic, quality=95)
    see_through = person.convert("RGBA")
    see_through.putalpha(Image.fromarray((np.mgrid[0 : person.height, 0 : person.width][1] > 20).astype(np.uint8) * 255))
    grey = np.asarray(person.convert("L"), dtype=np.uint16) * 257
    contents = {
        "turned_by_exif.jpg": _data(turned, "JPEG", exif=exif, quality=95),
        "phone.heic": heic.getvalue(),
        "print.tif": _data(person.convert("CMYK"), "TIFF"),
        "print.jpg": _data(person.convert("CMYK"), "JPEG", quality=95),
        "scan_16_bit.png": _data(Image.fromarray(grey), "PNG"),
        "scan_16_bit.tif": _data(Image.fromarray(grey), "TIFF"),
        "black_and_white.jpg": _data(person.convert("L"), "JPEG", quality=95),
        "palette.gif": _data(person, "GIF"),
        "animated.gif": _data(person, "GIF", save_all=True, append_images=[Image.new("RGB", person.size, "blue")]),
        "animated.webp": _data(person, "WEBP", save_all=True, append_images=[Image.new("RGB", person.size)], quality=95),
        "see_through.png": _data(see_through, "PNG"),
        "100_megapixels.jpg": _data(person.resize((10_000, 10_000), Image.Resampling.BICUBIC), "JPEG"),
        "strong_compression.jpg": _data(person, "JPEG", quality=30),
        "wrong_suffix.png": _data(person, "JPEG", quality=95),
        "group.jpg": _data(photos.group, "JPEG", quality=95),
    }
    plain, _ = photos.choose(_folder(scratch / "plain", [person]))
    cosines = {}
    for name, content in contents.items():
        folder = scratch / f"odd {name}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        used, _ = photos.choose(folder)
        cosines[name] = (used @ plain[0]).item() if len(used) else 0.0
    return cosines


def _folder(folder: Path, pictures: list[Image.Image]) -> Path:
    folder.mkdir()
    for number, picture in enumerate(pictures, 1):
        picture.save(folder / f"{number}.png")
    return folder


def _data(image: Image.Image, kind: str, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


if __name__ == "__main__":
    result = measure()
    print("\n".join(result.pop("text")))
    print(json.dumps({"passed": result["passed"]}))
