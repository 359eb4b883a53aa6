"""Photos as people really have them: every kind is read upright in RGB, or rejected in one sentence."""

import hashlib
import importlib
import io
import os
import sys

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image, ImageFile

WIDTH, HEIGHT = 80, 64
TURNED_RIGHT = 6  # EXIF orientation: the stored picture has to be turned by 90 degrees clockwise


@pytest.fixture(scope="module")
def photos(pack):
    return importlib.import_module(f"{pack.__name__}.rewards.photos")


@pytest.fixture
def picture():
    """Red grows to the right, green downwards, no blue."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return Image.fromarray(np.stack([x * 3, y * 3, x * 0], -1).astype(np.uint8))


def expected(image):
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) / 255


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG", "a.webp", "a.bmp", "a.gif", "a.tif"])
def test_common_formats_give_rgb_in_0_to_1(photos, picture, tmp_path, name):
    picture.save(tmp_path / name, **({"quality": 95} if name != "a.gif" else {}))
    photo = photos.read_photo(tmp_path / name)
    assert photo.problem is None and photo.name == name
    assert photo.pixels.shape == (3, HEIGHT, WIDTH) and photo.pixels.dtype == torch.float32
    assert (photo.pixels - expected(picture)).abs().mean() < 0.02
    assert photo.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_rotation_is_undone(photos, picture, tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = TURNED_RIGHT
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
    pixels = photos.read_photo(tmp_path / f"a.{suffix}").pixels
    assert pixels.shape == (3, HEIGHT, WIDTH)
    assert (pixels - expected(picture)).abs().mean() < 0.02


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_mid_grey(photos, tmp_path, mode):
    image = Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0))
    image.paste((255, 255, 255, 255), (0, 0, WIDTH // 2, HEIGHT))
    image.convert(mode).save(tmp_path / "a.png")
    pixels = photos.read_photo(tmp_path / "a.png").pixels
    assert pixels[:, 5, 5].tolist() == [1, 1, 1]
    assert pixels[:, 5, -5].tolist() == pytest.approx([128 / 255] * 3)


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr"])
def test_other_colour_modes_become_rgb(photos, picture, tmp_path, mode):
    picture.convert(mode).save(tmp_path / "a.tif")
    pixels = photos.read_photo(tmp_path / "a.tif").pixels
    assert (pixels - expected(picture.convert(mode))).abs().max() < 0.02


@pytest.mark.parametrize("kind", ["uint16.png", "uint16.tif", "int32.tif", "float32.tif"])
def test_deep_greys_keep_their_gradient(photos, tmp_path, kind):
    ramp = np.tile(np.linspace(0, 1, WIDTH), (HEIGHT, 1))
    dtype, suffix = kind.split(".")
    stored = ramp.astype(dtype) if dtype == "float32" else (ramp * 65535).astype(dtype)
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}")
    pixels = photos.read_photo(tmp_path / f"a.{suffix}").pixels
    assert np.abs(pixels.numpy() - ramp).max() < 0.01


def test_the_first_frame_of_an_animation_is_used(photos, picture, tmp_path):
    other = Image.new("RGB", picture.size, "blue")
    picture.save(tmp_path / "a.webp", save_all=True, append_images=[other], lossless=True)
    assert (photos.read_photo(tmp_path / "a.webp").pixels - expected(picture)).abs().mean() < 0.02


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_huge_photos_are_reduced_not_refused(photos, tmp_path, suffix):
    Image.new("RGB", (12000, 8400), "teal").save(tmp_path / f"a.{suffix}")
    photo = photos.read_photo(tmp_path / f"a.{suffix}")
    assert photo.problem is None
    assert max(photo.pixels.shape) == photos.MAX_SIDE
    assert photo.pixels.shape[2] / photo.pixels.shape[1] == pytest.approx(12000 / 8400, rel=0.01)


def test_a_decompression_bomb_is_refused_without_decoding(photos, tmp_path):
    Image.new("1", (20000, 20000)).save(tmp_path / "a.png")
    photo = photos.read_photo(tmp_path / "a.png")
    assert photo.pixels is None and "20000 x 20000 pixels" in photo.problem and "save it smaller" in photo.problem


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.jpg", b"", "is empty"),
        ("words.png", b"not a picture", "is not a picture"),
        ("page.svg", b"<svg/>", "is not a picture"),
        ("raw.cr2", b"II*\0garbage", "raw.cr2"),
        ("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n", "is not a picture"),
    ],
)
def test_files_without_a_picture_give_one_sentence(photos, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    photo = photos.read_photo(tmp_path / name)
    assert photo.pixels is None and words in photo.problem
    assert photo.problem.startswith(name) and photo.problem.endswith(".") and "\n" not in photo.problem


def test_heic_without_its_decoder_names_pillow_heif(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(HEIC)
    assert "pip install pillow-heif" in photos.read_photo(tmp_path / "a.heic").problem


@pytest.mark.parametrize("turned", [False, True])
def test_heic_with_its_decoder_is_read_upright(photos, picture, tmp_path, turned):
    exif = Image.Exif()
    if turned:
        exif[0x0112] = TURNED_RIGHT
    stored = picture.transpose(Image.Transpose.ROTATE_90) if turned else picture
    pillow_heif.from_pillow(stored).save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    pixels = photos.read_photo(tmp_path / "a.heic").pixels
    assert pixels.shape == (3, HEIGHT, WIDTH)
    assert (pixels - expected(picture)).abs().mean() < 0.02


def test_a_heic_file_without_a_picture_is_damaged(photos, tmp_path):
    (tmp_path / "a.heic").write_bytes(HEIC)
    assert photos.read_photo(tmp_path / "a.heic").problem.startswith("a.heic is damaged (")


def test_tiny_photos_are_refused(photos, picture, tmp_path):
    picture.resize((40, 31)).save(tmp_path / "a.png")
    assert "40 x 31" in photos.read_photo(tmp_path / "a.png").problem


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tif"])
def test_truncated_and_flipped_bytes_never_raise(photos, picture, tmp_path, suffix):
    picture.save(tmp_path / f"a.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(40):
        broken = bytearray(data[: draw.integers(1, len(data))])
        broken[draw.integers(0, len(broken))] = draw.integers(0, 256)
        (tmp_path / f"b.{suffix}").write_bytes(broken)
        photo = photos.read_photo(tmp_path / f"b.{suffix}")
        assert (photo.pixels is None) == bool(photo.problem)


def test_a_cut_off_photo_is_damaged_even_where_another_pack_loosened_pillow(photos, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    picture.resize((300, 300)).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:2000])
    assert "is damaged" in photos.read_photo(tmp_path / "a.jpg").problem
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_a_missing_file_is_reported(photos, tmp_path):
    assert "could not be opened" in photos.read_photo(tmp_path / "a.png").problem


def test_a_folder_is_read_in_natural_order_without_its_other_files(photos, picture, tmp_path):
    for name in ("p10.png", "p2.png", "P1.png", ".hidden.png", "p3.txt"):
        (tmp_path / name).write_bytes(_png(picture))
    (tmp_path / "p4.jpg").write_bytes(b"")
    (tmp_path / "sub.png").mkdir()
    read = photos.read_folder(tmp_path)
    assert [photo.name for photo in read] == ["P1.png", "p2.png", "p4.jpg", "p10.png"]
    assert [photo.pixels is not None for photo in read] == [True, True, False, True]


def test_photos_beyond_the_twentieth_are_left_out_and_say_so(photos, picture, tmp_path):
    for number in range(23):
        (tmp_path / f"{number}.png").write_bytes(_png(picture) if number else b"")
    read = photos.read_folder(tmp_path)
    assert [photo.name for photo in read if photo.pixels is not None] == [f"{number}.png" for number in range(1, 21)]
    assert [("left out" in photo.problem) for photo in read[21:]] == [True, True]


def test_missing_and_empty_folders_raise_one_sentence(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no pictures: put 1 to 20 photos"):
        photos.read_folder(tmp_path / "empty")
    with pytest.raises(ValueError, match="does not exist: choose"):
        photos.folder_fingerprint(tmp_path / "nowhere")


def test_sentences_about_folders_do_not_say_where_they_are(photos, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(ValueError) as refusal:
            photos.read_folder(tmp_path / name)
        assert f'folder "{name}" ' in str(refusal.value) and str(tmp_path) not in str(refusal.value)


def test_names_that_are_no_text_have_a_fingerprint_and_can_be_shown(photos, picture, tmp_path):
    names = [os.fsdecode(name) for name in (b"a\xff.png", b"a\xfe.png")]
    prints = set()
    for name in names:
        (tmp_path / name).write_bytes(_png(picture))
        assert photos.read_folder(tmp_path)[0].name == f"a\\udc{os.fsencode(name)[1]:x}.png"
        prints.add(photos.folder_fingerprint(tmp_path))
        (tmp_path / name).unlink()
    assert len(prints) == 2


def test_the_fingerprint_follows_names_and_contents_of_the_pictures_only(photos, picture, tmp_path):
    (tmp_path / "a.png").write_bytes(_png(picture))
    first = photos.folder_fingerprint(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing to see")
    (tmp_path / "a.png").touch()
    assert photos.folder_fingerprint(tmp_path) == first
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    renamed = photos.folder_fingerprint(tmp_path)
    (tmp_path / "b.png").write_bytes(_png(picture.rotate(180)))
    assert len({first, renamed, photos.folder_fingerprint(tmp_path)}) == 3


def test_a_file_or_folder_without_permission_does_not_stop_the_others(photos, picture, tmp_path, monkeypatch):
    def refuse(path, *_):
        if "closed" in path.name:
            raise PermissionError(13, "Permission denied")
        return original[path.is_dir()](path)

    for folder in ("closed", "open"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(_png(picture))
    (tmp_path / "open" / "closed.png").write_bytes(_png(picture))
    original = type(tmp_path).read_bytes, type(tmp_path).iterdir
    monkeypatch.setattr(type(tmp_path), "read_bytes", refuse)
    monkeypatch.setattr(type(tmp_path), "iterdir", refuse)
    assert photos.list_identity_folders([tmp_path]) == ["open"]
    assert photos.folder_fingerprint(tmp_path / "open")
    problems = [photo.problem for photo in photos.read_folder(tmp_path / "open")]
    assert problems[0] is None and "could not be opened (Permission denied)" in problems[1]


def test_identity_folders_are_those_that_hold_a_picture(photos, picture, tmp_path):
    for folder in ("input/anna10", "input/anna2", "input/deep/er", "input/.trash", "demo/anna2", "demo/zoe"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.png").write_bytes(_png(picture))
    (tmp_path / "input" / "loose.png").write_bytes(_png(picture))
    (tmp_path / "input" / "text").mkdir()
    roots = [tmp_path / "input", tmp_path / "missing", tmp_path / "demo"]
    assert photos.list_identity_folders(roots) == ["anna2", "anna10", "zoe"]


def _png(image):
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()
