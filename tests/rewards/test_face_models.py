"""Recognizers and whole face models on real photos; the reward down to the pixels."""

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from PIL import Image

from devkit.face_material import GROUP_PHOTO, ONE_PERSON, PORTRAIT, SFACE, YUNET, read_photo
from devkit.face_networks import RESNET_50, write_arcface, write_network


@pytest.fixture(scope="module")
def rewards(pack):
    return pack.rewards


@pytest.fixture(scope="module")
def opencv_pair(rewards):
    yunet, sface = rewards.yunet.YuNet(YUNET), rewards.recognizer.Recognizer(SFACE)
    return rewards.aligned_faces.AlignedFaceModel("pair", "free", "", yunet, sface)


@pytest.fixture(scope="module")
def arcface_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "w600k_small.onnx"
    write_arcface(path, (1, 1, 1, 1), width=8, embedding=64)
    return path


def test_all_faces_of_the_group_are_found_the_largest_first(opencv_pair):
    [faces] = opencv_pair.find(read_photo(GROUP_PHOTO))
    assert len(faces) == 6 and all(0.85 < face.score <= 1 for face in faces)
    heights = [face.box[3] - face.box[1] for face in faces]
    assert heights[0] > 1.1 * heights[-1]
    for face in faces:
        left, top, right, bottom = face.box
        corners = face.matrix @ torch.tensor([[38.0, 74, 56], [52, 52, 92], [1, 1, 1]], dtype=torch.float64)
        assert (corners[0] > left).all() and (corners[0] < right).all()
        assert (corners[1] > top).all() and (corners[1] < bottom).all()
        assert 0.5 < face.scale < 1.5


def turned(picture, degrees=20):
    image = Image.fromarray((picture[0].movedim(0, -1) * 255).byte().numpy()).rotate(degrees, Image.BICUBIC)
    return torch.from_numpy(np.array(image)).movedim(-1, 0)[None] / 255


DISTORTIONS = {
    "mirrored": lambda x: x.flip(-1),
    "half size": lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
    "four times the size": lambda x: F.interpolate(x, scale_factor=4, mode="bilinear"),
    "dark": lambda x: 0.4 * x,
    "turned": turned,
}


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_a_distorted_photo_shows_the_same_person(opencv_pair, kind):
    def embedding(picture):
        [faces] = opencv_pair.find(picture)
        return opencv_pair.embed(opencv_pair.crop(picture, faces[:1]))

    person = read_photo(GROUP_PHOTO, ONE_PERSON)
    same = (embedding(person) * embedding(DISTORTIONS[kind](person))).sum()
    other = (embedding(person) * embedding(read_photo(PORTRAIT))).sum()
    assert same > 0.85 and other < 0.4


def test_pictures_without_a_face_have_none(opencv_pair):
    noise = torch.rand(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    assert opencv_pair.find(noise) == [[], []]
    assert opencv_pair.find(torch.zeros(1, 3, 8, 200)) == [[]]


def test_an_arcface_embedding_is_insightfaces(rewards, arcface_file):
    from insightface.model_zoo import get_model

    crop = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    expected = get_model(str(arcface_file), providers=["CPUExecutionProvider"]).get_feat(crop)
    picture = torch.from_numpy(crop[..., ::-1].copy()).movedim(-1, 0)[None] / 255
    with torch.no_grad():
        own = rewards.recognizer.Recognizer(arcface_file)(picture)
    assert (own - F.normalize(torch.from_numpy(expected), dim=-1)).abs().max() < 1e-5


def test_half_precision_gives_the_same_person_and_the_same_fingerprint(rewards, opencv_pair):
    half = rewards.recognizer.Recognizer(SFACE, torch.bfloat16)
    crops = read_photo(PORTRAIT)
    with torch.no_grad():
        assert (half(crops) * opencv_pair.embed(crops)).sum() >= 0.999
    assert half(crops).dtype == torch.float32
    assert half.fingerprint == opencv_pair.fingerprint


def test_fingerprints_tell_recognizers_apart(rewards, opencv_pair, arcface_file, tmp_path):
    write_arcface(tmp_path / "a.onnx", (1, 1, 1, 1), width=8, embedding=64)
    write_arcface(tmp_path / "b.onnx", (1, 1, 1, 1), width=8, embedding=64, seed=1)
    prints = [
        rewards.recognizer.Recognizer(path).fingerprint for path in (arcface_file, tmp_path / "a.onnx", tmp_path / "b.onnx")
    ]
    assert prints[0] == prints[1] and len({*prints, opencv_pair.fingerprint}) == 3


def test_the_architecture_is_told_by_its_depth(rewards, arcface_file, tmp_path):
    write_arcface(tmp_path / "r50.onnx", RESNET_50, width=4, embedding=64)
    assert rewards.recognizer.Recognizer(tmp_path / "r50.onnx").architecture == "ResNet-50"
    assert rewards.recognizer.Recognizer(arcface_file).architecture == ""


@pytest.mark.parametrize(("shape", "outputs", "reason"), [
    ([1, 3, 96, 96], [1], "it takes pictures of 96 x 96, and a face recognizer of this kind 112 x 112"),
    ([1, 3, 112, 112], [1], "for 2 faces it gives 2 x 3, and a recognizer 2 x 64 or more"),
    ([1, 3, 112, 112], [1, 1], "for 2 faces it gives 2 x 3, 2 x 3, and a recognizer"),
])  # fmt: skip
def test_networks_that_give_no_embedding_are_refused(rewards, tmp_path, shape, outputs, reason):
    nodes = [helper.make_node("GlobalAveragePool", ["input.1"], ["mean"])]
    names = [f"y{index}" for index in range(len(outputs))]
    nodes += [helper.make_node("Flatten", ["mean"], [name]) for name in names]
    write_network(tmp_path / "other.onnx", nodes, shape, [(name, [1, 3]) for name in names])
    with pytest.raises(ValueError, match=f"other.onnx: {reason}"):
        rewards.recognizer.Recognizer(tmp_path / "other.onnx")


@pytest.mark.parametrize(
    ("nodes", "weights", "reason"),
    [
        ([helper.make_node("Flatten", ["input.1"], ["y"])], {}, "there is no weight in it"),
        (
            [helper.make_node("Mul", ["input.1", "one"], ["x"]), helper.make_node("Reshape", ["x", "shape"], ["y"])],
            {"one": np.ones(1, np.float32), "shape": np.array([3, 112 * 112])},
            r"it recognizes no two faces at once \(shape .* is invalid for input of size 75264\)",
        ),
        (
            [helper.make_node("Mul", ["input.1", "hole"], ["x"]), helper.make_node("Flatten", ["x"], ["y"])],
            {"hole": np.full(1, np.nan, np.float32)},
            "what it gives for a face are no numbers",
        ),
    ],
)
def test_networks_that_only_look_like_recognizers_are_refused(rewards, tmp_path, monkeypatch, nodes, weights, reason):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # which would find some of them out earlier
    write_network(tmp_path / "other.onnx", nodes, [1, 3, 112, 112], [("y", None)], weights)
    with pytest.raises(ValueError, match=f"^other.onnx: {reason}"):
        rewards.recognizer.Recognizer(tmp_path / "other.onnx")


@pytest.fixture(scope="module")
def pair(rewards, opencv_pair, arcface_file):
    second = rewards.aligned_faces.AlignedFaceModel(
        "small", "research", "", opencv_pair.detector, rewards.recognizer.Recognizer(arcface_file)
    )
    return rewards.aligned_faces.FaceModelPair(opencv_pair, second)


def test_a_pairs_cosine_is_the_mean_of_both(pair):
    crops = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a, b = pair.embed(crops)
        singles = [model.embed(crops) for model in (pair.first, pair.second)]
    assert a.norm().item() == pytest.approx(1, abs=1e-5)
    assert (a @ b).item() == pytest.approx(sum((x[0] @ x[1]).item() for x in singles) / 2, abs=1e-5)
    assert pair.fingerprints == (pair.first.fingerprint, pair.second.fingerprint)
    assert pair.licence == "free; research" and pair.name == "pair + small"


def test_a_pair_needs_two_models_of_aligned_faces(rewards, opencv_pair, demo, pair):
    for first, second in ((opencv_pair, demo.face_model), (demo.face_model, opencv_pair), (pair, opencv_pair)):
        with pytest.raises(ValueError, match="also: .* cannot be one of two recognizers"):
            rewards.aligned_faces.FaceModelPair(first, second)


@pytest.mark.parametrize("which", ["one", "two"])
def test_the_reward_is_differentiable_down_to_the_pixels(rewards, opencv_pair, pair, which):
    model = {"one": opencv_pair, "two": pair}[which]
    frame = read_photo(GROUP_PHOTO, ONE_PERSON)
    faces = model.find(frame)[0][:1]
    with torch.no_grad():
        reference = model.embed(read_photo(PORTRAIT))
    identity = rewards.faces.Identity(reference, read_photo(PORTRAIT), model)
    model.networks.double()  # finite differences of float32 are too coarse
    try:
        frame = frame.double().requires_grad_(True)
        direction = torch.rand(frame.shape, generator=torch.Generator().manual_seed(0)).double() - 0.5

        def loss(x):
            seed = torch.Generator().manual_seed(5)
            return rewards.identity.identity_consistency_loss(x, faces, identity, "robust", seed).loss

        loss(frame).backward()
        with torch.no_grad():
            step = 1e-7
            measured = (loss(frame + step * direction) - loss(frame - step * direction)) / (2 * step)
        assert (frame.grad * direction).sum().item() == pytest.approx(measured.item(), rel=1e-3)
    finally:
        model.networks.float()


def test_above_the_cap_a_frame_earns_nothing(rewards, opencv_pair):
    portrait = F.pad(read_photo(PORTRAIT), (64, 64, 84, 84))
    frames = torch.cat([read_photo(GROUP_PHOTO, ONE_PERSON), portrait]).requires_grad_(True)
    faces = [found[0] for found in opencv_pair.find(frames.detach())]
    with torch.no_grad():
        reference = opencv_pair.embed(opencv_pair.crop(frames[:1], faces[:1]))
    identity = rewards.faces.Identity(reference, torch.zeros(1, 3, 112, 112), opencv_pair)
    score = rewards.identity.identity_consistency_loss
    capped = score(frames, faces, identity, "none", torch.Generator(), cap=0.7)
    uncapped = score(frames, faces, identity, "none", torch.Generator())
    other = 2 * uncapped.similarity - 1  # the first frame is the reference itself
    assert uncapped.loss.item() == pytest.approx(1 - (1 + other) / 2, abs=1e-4)
    assert capped.loss.item() == pytest.approx(1 - (0.7 + other) / 2, abs=1e-4)
    assert capped.similarity == pytest.approx(uncapped.similarity)
    capped.loss.backward()
    assert frames.grad[0].abs().max() == 0 and frames.grad[1].abs().max() > 0


def test_blur_reaches_as_far_in_a_crop_of_any_size(rewards):
    for size, reach in ((40, 1), (112, 2)):
        crops = torch.zeros(16, 3, size, size)
        crops[:, :, size // 2, size // 2] = 1
        blurred = rewards.augmentation._blur(crops, torch.Generator().manual_seed(0))
        widths = {int((crop[0, size // 2] > 0).sum()) for crop in blurred}
        assert widths == {1, 2 * reach + 1}
