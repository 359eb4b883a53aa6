"""Face Similarity by a judge whose every answer is known: the frames, the border, the mean are ConsisID's."""

import importlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from devkit.face_material import FACE_MODELS, GROUP_PHOTO, ONE_PERSON, PORTRAIT, read_photo


@pytest.fixture(scope="module")
def module(pack):
    return importlib.import_module(f"{pack.__name__}.evaluation.face_similarity")


@pytest.fixture(scope="module")
def judge(pack):
    """A judge that sees a face in the middle of frames of ``sizes`` (height, width) unless they are black there.

    The cosine between the face's embedding and (1, 0) is 2 x red - 1.
    """
    faces = pack.rewards.faces

    class Known(faces.FaceModel):
        name, licence, crop_size, fingerprint = "known", "", 1, "known"
        networks = torch.nn.Identity()
        sizes = {(40, 60)}

        def find(self, frames):
            height, width = frames.shape[-2:]
            x, y = width // 2, height // 2
            face = faces.Face(torch.tensor([[1.0, 0.0, x], [0.0, 1.0, y]]), (x - 2, y - 3, x + 4, y + 5), 1.0)
            return [[face] if (height, width) in self.sizes and frame[:, y, x].sum() > 0 else [] for frame in frames]

        def embed(self, crops):
            cosine = 2 * crops[:, 0, 0, 0] - 1
            return torch.stack([cosine, (1 - cosine**2).clamp(min=0).sqrt()], 1)

    return Known()


def clip(*cosines):
    """Frames [F, 3, 40, 60] with these reds, or without a face for None."""
    red = torch.tensor([0.0 if cosine is None else (cosine + 1) / 2 for cosine in cosines])
    frames = red.view(-1, 1, 1, 1).repeat(1, 3, 40, 60)
    frames[:, 2] = torch.tensor([float(cosine is not None) for cosine in cosines]).view(-1, 1, 1)
    return frames


REFERENCE = torch.tensor([[1.0, 0.0]])


@pytest.mark.parametrize("total", [1, 2, 15, 16, 17, 33, 49, 81, 129, 1000])
def test_the_frames_are_those_of_numpys_linspace_rounded_down(pack, total):
    evenly_spaced = importlib.import_module(f"{pack.__name__}.evaluation.frames").evenly_spaced
    assert evenly_spaced(total, 16) == np.linspace(0, total - 1, 16, dtype=int).tolist()


def test_it_is_the_mean_of_the_cosines_cut_at_zero(module, judge):
    cosines = [0.8] * 8 + [-0.6] * 4 + [0.4] * 4
    result = module.face_similarity(judge, clip(*cosines), REFERENCE)
    assert result.score == pytest.approx((8 * 0.8 + 4 * 0 + 4 * 0.4) / 16)
    assert [frame.similarity for frame in result.frames] == pytest.approx([max(0, cosine) for cosine in cosines])
    assert result.share == 1


def test_frames_without_a_face_lower_the_share_and_not_the_mean(module, judge):
    result = module.face_similarity(judge, clip(*[0.5] * 4, *[None] * 12), REFERENCE)
    assert result.score == pytest.approx(0.5) and result.share == 4 / 16
    assert [frame.similarity is None for frame in result.frames] == [False] * 4 + [True] * 12


def test_without_any_face_it_is_zero(module, judge):
    result = module.face_similarity(judge, clip(None, None), REFERENCE)
    assert result.score == 0 and result.share == 0


def test_short_clips_weigh_their_frames_as_often_as_they_are_picked(module, judge):
    result = module.face_similarity(judge, clip(0.2, 0.6, 1.0), REFERENCE)
    picked = np.linspace(0, 2, 16, dtype=int)
    assert result.score == pytest.approx(np.array([0.2, 0.6, 1.0])[picked].mean())


def test_of_long_clips_only_sixteen_frames_are_looked_at(module, judge):
    asked = []
    result = module.face_similarity(judge, clip(*[0.5] * 81), REFERENCE, lambda: asked.append(1))
    assert len(asked) == 16 and [result.frames[0].index, result.frames[-1].index] == [0, 80]


def test_a_missed_face_is_searched_again_with_a_grey_border_of_a_quarter(module, judge, monkeypatch):
    monkeypatch.setattr(judge, "sizes", {(60, 90)})  # 40 + 2 * 10, 60 + 2 * 15
    seen = []
    find = judge.find
    monkeypatch.setattr(judge, "find", lambda frames: seen.append(frames) or find(frames))
    result = module.face_similarity(judge, clip(0.6), REFERENCE)
    assert result.score == pytest.approx(0.6)
    assert result.frames[0].box == (30 - 2, 20 - 3, 30 + 4, 20 + 5)  # in the frame, not in the bordered picture
    plain, bordered = seen
    assert torch.equal(bordered[..., 10:50, 15:75], plain)
    assert (bordered[..., :10, :] == 128 / 255).all() and (bordered[..., 75:] == 128 / 255).all()


def test_several_references_count_by_the_mean_of_their_cut_cosines(module, judge):
    angle = math.acos(0.6)
    references = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [math.cos(angle), math.sin(angle)]])
    assert module.face_similarity(judge, clip(0.6), references).score == pytest.approx((0.6 + 0 + 1) / 3, abs=1e-6)


def test_the_judge_looks_at_the_photos_itself(module, judge, pack):
    rewarded = torch.tensor([[0.0, 1.0, 0.0]] * 2)  # of another network, and of other crops
    photos = (clip(0.8)[0], clip(None)[0])
    identity = pack.rewards.faces.Identity(rewarded, torch.zeros(2, 3, 8, 8), None, photos)
    assert torch.allclose(module.reference_embeddings(identity, judge), torch.tensor([[0.8, 0.6]]), atol=1e-6)


def test_photos_in_which_the_judge_finds_nobody_are_an_error_with_its_name(module, judge, pack):
    identity = pack.rewards.faces.Identity(REFERENCE, torch.zeros(1, 3, 40, 60), None, (clip(None)[0],))
    with pytest.raises(ValueError, match="^face_model: known finds no face in any photo of the identity; .*[.]$"):
        module.reference_embeddings(identity, judge)


def test_the_same_photo_has_the_similarity_one_and_another_persons_less(module, pack, demo):
    judge = pack.demo.load.load_face_model("judge")
    references = module.reference_embeddings(demo.identity, judge)
    photo = demo.identity.photos[0][None]
    own = module.face_similarity(judge, photo, references[:1]).score
    assert own == pytest.approx(1, abs=1e-5)
    others = pack.nodes.load_identity_images.LoadIdentityImages.execute(demo.face_model, "demo/Bina").args[0].photos
    assert module.face_similarity(judge, others[0][None], references).score < 0.6


@pytest.mark.parametrize(
    ("shape", "head", "expected"),
    [
        ((400, 512), (100, 100, 200, 220), (400, 512)),  # small photos stay whole
        ((1000, 2000), (900, 400, 1000, 500), (200, 200)),  # twice the head
        ((1000, 2000), (0, 0, 100, 100), (150, 150)),  # as far as it lies in the photo
        ((2000, 2000), (500, 500, 1500, 1500), (512, 512)),  # reduced
    ],
)
def test_an_identity_keeps_the_head_of_each_photo_with_room_around_it(pack, shape, head, expected):
    kept = pack.rewards.photo_checks.portrait(torch.rand(3, *shape), head)
    assert tuple(kept.shape[1:]) == expected


def test_the_kept_part_of_a_photo_lies_around_the_head(pack):
    photo = torch.zeros(3, 1000, 2000)
    photo[:, 400:500, 900:1000] = 1
    kept = pack.rewards.photo_checks.portrait(photo, (900, 400, 1000, 500))
    assert (kept[:, 50:150, 50:150] == 1).all() and kept.sum() == 3 * 100 * 100


def test_real_people_are_told_apart_by_the_part_of_a_photo_that_an_identity_keeps(module, pack):
    """Somebody in the corner of a large photo; then a video of them, and one of another person whose face fills it."""
    [pair] = pack.rewards.face_files.list_face_models([], [FACE_MODELS])
    judge = pack.rewards.face_loading.load_face_model(pair, torch.float32)
    person = read_photo(GROUP_PHOTO, ONE_PERSON)
    scene = F.pad(person, (500, 60, 300, 20), value=0.4)
    photo = pack.rewards.photos.Photo("scene", scene[0], None, "")
    identity, _ = pack.rewards.photo_checks.choose_photos([photo], judge)
    assert max(identity.photos[0].shape) < max(scene.shape)
    references = module.reference_embeddings(identity, judge)
    assert (references @ identity.embeddings.T).item() > 0.95
    own, other = (module.face_similarity(judge, video, references) for video in (person.flip(3), read_photo(PORTRAIT)))
    assert own.share == other.share == 1
    assert own.score > 0.8 and other.score < 0.3
