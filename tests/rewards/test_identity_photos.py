"""Which photos become part of an identity: each is used or not, with its reason in one line."""

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter, ImageOps
from torch import nn

from devkit.face_material import GROUP_PHOTO, PORTRAIT, SFACE, YUNET, sample_photo

SIDE = 160
RED, GREEN, BLUE = (0.9, 0.3, 0.3), (0.3, 0.9, 0.3), (0.3, 0.3, 0.9)


@pytest.fixture(scope="module")
def checks(pack):
    return importlib.import_module(f"{pack.__name__}.rewards.photo_checks")


@pytest.fixture(scope="module")
def photos(pack):
    return importlib.import_module(f"{pack.__name__}.rewards.photos")


@pytest.fixture(scope="module")
def face_model(pack):
    """Faces are squares with a chequered texture, and a person is a colour: every rule has an exact answer."""
    faces = pack.rewards.faces

    class Squares(faces.FaceModel):
        name, licence, crop_size, networks, fingerprint = "squares", "none", 32, nn.Module(), "squares"
        minimum_face, same_person = 64, 0.5

        def find(self, frames):
            return [sorted(self._squares(frame), key=lambda face: -face.scale) for frame in frames]

        def _squares(self, frame):
            """A marker pixel in the top left corner of a square holds a hundredth of its side."""
            for y, x in (frame[0] == 0).nonzero().tolist():
                side = round(frame[2, y, x].item() * 255)
                scale = side / self.crop_size
                matrix = torch.tensor([[scale, 0, x + (scale - 1) / 2], [0, scale, y + (scale - 1) / 2]])
                yield faces.Face(matrix, (x, y, x + side, y + side), 1.0)

        def embed(self, crops):
            return F.normalize(crops.mean(dim=(2, 3)) - 0.5, dim=-1)

    return Squares()


def drawn(photos, name, *squares, size=(SIDE, SIDE), blur=0):
    """A grey photo with squares (x, y, side, colour)."""
    picture = np.full((*size, 3), 0.5)
    picture += 0.1 * np.random.default_rng(len(name) * 997 + ord(name[0])).random((4, 4, 1)).repeat(size[0] // 4, 0).repeat(
        size[1] // 4, 1
    )
    for x, y, side, colour in squares:
        texture = np.indices((side, side)).sum(0) // 4 % 2 * 0.2 - 0.1
        picture[y : y + side, x : x + side] = np.asarray(colour) + texture[..., None]
    pixels = torch.from_numpy(picture).movedim(-1, 0).float()
    for _ in range(3 * bool(blur)):
        kernel = [2 * blur + 1] * 2
        pixels = F.avg_pool2d(F.pad(pixels[None], [blur] * 4, mode="replicate"), kernel, stride=1)[0]
    for x, y, side, _ in squares:
        pixels[:, y, x] = torch.tensor([0.0, 0.5, side / 255])
    return photos.Photo(name, pixels, None, name)


def person(photos, name, colour=RED, side=100, **options):
    return drawn(photos, name, (20, 20, side, colour), **options)


def lines(checks, face_model, *photos):
    return checks.choose_photos(list(photos), face_model)[1].splitlines()


def test_good_photos_are_used_and_the_pool_has_one_face_each(checks, photos, face_model):
    pictures = [person(photos, name) for name in ("a.png", "bb.png", "ccc.png")]
    identity, report = checks.choose_photos(pictures, face_model)
    assert report.splitlines() == ["3 of 3 photos are used.", "used: a.png", "used: bb.png", "used: ccc.png"]
    assert identity.embeddings.shape == (3, 3) and identity.crops.shape == (3, 3, 32, 32)
    expected = F.normalize(torch.tensor(RED) - 0.5, dim=0)
    assert torch.allclose(identity.embeddings, expected.expand(3, 3), atol=0.02)
    assert identity.face_model is face_model


def test_the_largest_of_several_faces_is_used_and_reported(checks, photos, face_model):
    group = drawn(photos, "group.png", (5, 5, 66, GREEN), (80, 70, 76, RED))
    identity, report = checks.choose_photos([group], face_model)
    assert report.splitlines()[1] == "used: group.png, the largest of 2 faces"
    assert torch.nn.functional.normalize(torch.tensor(RED) - 0.5, dim=0) @ identity.embeddings[0] > 0.99


@pytest.mark.parametrize(("side", "used"), [(63, False), (64, True)])
def test_a_face_under_64_pixels_is_left_out(checks, photos, face_model, side, used):
    report = lines(checks, face_model, person(photos, "near.png"), person(photos, "far.jpg", side=side))
    expected = (
        "used: far.jpg"
        if used
        else (
            "not used: the face in far.jpg is only 63 pixels wide, less than 64: use a photo taken from closer, or the "
            "original instead of a reduced copy."
        )
    )
    assert report[2] == expected


@pytest.mark.parametrize(("blur", "used"), [(0, True), (1, True), (12, False)])
def test_a_strongly_blurred_face_is_left_out(checks, photos, face_model, blur, used):
    report = lines(checks, face_model, person(photos, "a.png"), person(photos, "soft.png", blur=blur))
    assert report[2] == ("used: soft.png" if used else "not used: the face in soft.png is blurred: use a photo in focus.")


def test_a_black_picture_where_a_face_is_claimed_counts_as_blurred(checks):
    assert checks.detail(torch.zeros(1, 3, 32, 32)) == 0


def test_a_photo_without_a_face_is_left_out(checks, photos, face_model):
    report = lines(checks, face_model, person(photos, "a.png"), drawn(photos, "tree.jpg"))
    assert report[2] == ("not used: tree.jpg shows no face that squares can find: use a photo from the front in good light.")


def test_unreadable_photos_keep_the_reason_they_came_with(checks, photos, face_model):
    broken = photos.Photo("b.jpg", None, "b.jpg is empty (0 bytes): copy it again from where it came from.", "")
    assert lines(checks, face_model, broken, person(photos, "a.png")) == [
        "1 of 2 photos are used.",
        "not used: b.jpg is empty (0 bytes): copy it again from where it came from.",
        "used: a.png",
    ]


@pytest.mark.parametrize("change", ["copy", "jpeg", "smaller"])
def test_the_same_picture_twice_counts_once(checks, photos, face_model, tmp_path, change):
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    scene = Image.fromarray(np.stack([x, y, 255 - x], -1).astype(np.uint8)).resize((640, 480))
    scene.save(tmp_path / "a.png")
    scene = scene.resize((403, 302)) if change == "smaller" else scene
    scene.save(tmp_path / ("b.jpg" if change == "jpeg" else "b.png"), quality=60)
    pictures = photos.read_folder(tmp_path)
    with pytest.raises(ValueError) as refusal:
        checks.choose_photos(pictures, face_model)
    name = pictures[1].name
    assert str(refusal.value).splitlines()[2] == (f"not used: {name} is the same picture as a.png: it would only count twice.")


@pytest.mark.parametrize("other", [{"side": 90}, {"colour": GREEN}])
def test_pictures_that_differ_in_one_place_are_not_the_same(checks, photos, face_model, other):
    report = lines(checks, face_model, person(photos, "a.png"), person(photos, "a.png", **other))
    assert [line for line in report if "same picture" in line] == []


def test_a_doubled_photo_that_could_not_be_read_hides_no_good_one(checks, photos, face_model):
    broken = photos.Photo("a.png", None, "a.png is damaged.", "")
    assert lines(checks, face_model, broken, person(photos, "a.png"))[0] == "1 of 2 photos are used."


STRANGER = "shows somebody else than most photos (similarity"


@pytest.mark.parametrize(
    ("people", "used"),
    [("R", "R"), ("RR", "RR"), ("RRG", "RR"), ("GRR", "RR"), ("RRRGB", "RRR"), ("RRGB", "RR"), ("RRRGG", "RRR")],
)
def test_photos_of_somebody_else_are_left_out(checks, photos, face_model, people, used):
    colours = {"R": RED, "G": GREEN, "B": BLUE}
    pictures = [person(photos, f"{'x' * index}{who}.png", colours[who]) for index, who in enumerate(people)]
    report = lines(checks, face_model, *pictures)
    assert "".join(line[-5] for line in report if line.startswith("used")) == used
    assert sum(STRANGER in line for line in report) == len(people) - len(used)
    assert not any(line.startswith("Attention") for line in report)


@pytest.mark.parametrize("people", ["RG", "RGB", "RRGG", "RRGBK"])
def test_where_nobody_is_in_most_photos_all_are_used_and_the_user_is_told(checks, photos, face_model, people):
    colours = {"R": RED, "G": GREEN, "B": BLUE, "K": (0.1, 0.1, 0.1)}
    pictures = [person(photos, f"{index}{who}.png", colours[who]) for index, who in enumerate(people)]
    report = lines(checks, face_model, *pictures)
    assert report[0] == f"{len(people)} of {len(people)} photos are used."
    assert report[1].startswith(f"Attention: the photos look like {len(set(people))} different people (0R.png")
    assert all(picture.name in report[1] for picture in pictures) and report[1].endswith(".")


def test_a_chain_of_similar_photos_is_one_person(checks, photos, face_model):
    """From the front and in profile a face is unlike itself, and half turned it is like both."""
    shades = [(0.9, 0.5, 0.5), (0.8, 0.8, 0.5), (0.5, 0.9, 0.5)]
    report = lines(checks, face_model, *(person(photos, f"{name}.png", shade) for name, shade in zip("abc", shades)))
    assert report == ["3 of 3 photos are used.", "used: a.png", "used: b.png", "used: c.png"]


def test_only_when_nothing_is_left_is_it_an_error_that_says_why(checks, photos, face_model):
    with pytest.raises(ValueError) as refusal:
        checks.choose_photos([drawn(photos, "tree.jpg"), person(photos, "far.png", side=40)], face_model)
    first, *rest = str(refusal.value).splitlines()
    assert first == "folder: no photo can be used; choose sharp photos of one face from the front."
    assert len(rest) == 2 and all(line.startswith("not used: ") for line in rest)


@pytest.fixture(scope="module")
def node(pack):
    return pack.nodes.load_identity_images


def test_every_bundled_person_keeps_every_picture(node, demo):
    folders = [name for name in node.LoadIdentityImages.define_schema().inputs[1].options if name.startswith("demo/")]
    for folder in folders:
        identity, faces, report = node.LoadIdentityImages.execute(demo.face_model, folder).args
        assert report.splitlines()[0] == "5 of 5 photos are used." and "Attention" not in report
        assert len(identity.embeddings) == 5 and faces.shape == (5, 40, 40, 3)
        assert torch.equal(faces, identity.crops.movedim(1, -1))


def test_a_bundled_stranger_is_found_among_the_pictures_of_another(node, demo, tmp_path, monkeypatch):
    monkeypatch.setattr("folder_paths.get_input_directory", lambda: str(tmp_path))
    (tmp_path / "mixed").mkdir()
    for number, source in enumerate(["Aro/1", "Aro/2", "Bina/1", "Aro/3"]):
        (tmp_path / "mixed" / f"{number}.png").write_bytes((node.DEMO_IDENTITIES / f"{source}.png").read_bytes())
    report = node.LoadIdentityImages.execute(demo.face_model, "mixed").args[2].splitlines()
    assert report[0] == "3 of 4 photos are used." and report[3].startswith(f"not used: 2.png {STRANGER}")


def test_images_of_other_nodes_follow_the_rules_for_files(node, photos, demo):
    aro = torch.stack([photo.pixels for photo in photos.read_folder(node.DEMO_IDENTITIES / "Aro")]).movedim(1, -1)
    alpha = torch.cat([aro, torch.ones_like(aro[..., :1])], dim=-1)
    identity, _, report = node.LoadIdentityImages.execute(demo.face_model, node.NO_FOLDER, alpha).args
    reference = node.LoadIdentityImages.execute(demo.face_model, "demo/Aro").args[0]
    assert report.splitlines()[1] == "used: image 1 of the images input"
    assert torch.allclose(identity.embeddings, reference.embeddings, atol=1e-5)
    with pytest.raises(ValueError, match="image 1 of the images input has only 20 x 20 pixels"):
        node.LoadIdentityImages.execute(demo.face_model, node.NO_FOLDER, aro[:, :20, :20])


def test_images_beyond_the_twentieth_are_left_out_and_say_so(photos):
    read = photos.photos_of_batch(torch.rand(22, 40, 40, 1))
    assert [photo.pixels is not None for photo in read] == [True] * 20 + [False] * 2
    assert read[0].pixels.shape == (3, 40, 40)
    assert read[21].problem == "image 22 of the images input was left out: 20 photos are the most that are used."


@pytest.fixture(scope="module")
def opencv_pair(pack):
    load = lambda name: importlib.import_module(f"{pack.__name__}.rewards.{name}")  # noqa: E731
    detector, recognizer = load("yunet").YuNet(YUNET), load("recognizer").Recognizer(SFACE)
    return load("aligned_faces").AlignedFaceModel("opencv/yunet + sface", "", "", detector, recognizer)


def test_real_photos_are_told_apart(checks, photos, opencv_pair, tmp_path):
    """A group, its largest face once more in a portrait and blurred, and a stranger."""
    group = Image.open(sample_photo(GROUP_PHOTO)).convert("RGB")
    with torch.no_grad():
        largest = opencv_pair.find(torch.from_numpy(np.array(group)).movedim(-1, 0)[None] / 255)[0][0]
    portrait = group.crop(tuple(round(edge) for edge in largest.box))
    group.save(tmp_path / "1 group.jpg", quality=95)
    portrait.save(tmp_path / "2 portrait.png")
    ImageOps.mirror(portrait).filter(ImageFilter.GaussianBlur(5)).save(tmp_path / "3 blurred.png")
    Image.open(sample_photo(PORTRAIT)).save(tmp_path / "4 stranger.png")
    with torch.no_grad():
        identity, report = checks.choose_photos(photos.read_folder(tmp_path), opencv_pair)
    lines = report.splitlines()
    assert lines[:4] == [
        "2 of 4 photos are used.",
        "used: 1 group.jpg, the largest of 6 faces",
        "used: 2 portrait.png",
        "not used: the face in 3 blurred.png is blurred: use a photo in focus.",
    ]
    assert lines[4].startswith(f"not used: 4 stranger.png {STRANGER}")
    assert identity.embeddings[0] @ identity.embeddings[1] > 0.8
