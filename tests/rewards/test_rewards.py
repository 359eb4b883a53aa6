"""The losses of Eqs. 2 to 4 against values computed by hand, and crops against OpenCV's convention."""

import math
from dataclasses import replace

import pytest
import torch


def test_semantic_loss_is_the_divergence_of_student_from_teacher(pack):
    student, teacher = torch.tensor([0.3, 0.1]), torch.tensor([0.1, 0.2])
    p = [math.exp(2 * 0.3), math.exp(2 * 0.1)]
    q = [math.exp(2 * 0.1), math.exp(2 * 0.2)]
    p, q = [value / sum(p) for value in p], [value / sum(q) for value in q]
    expected = sum(a * math.log(a / b) for a, b in zip(p, q))
    loss = pack.rewards.semantic.semantic_consistency_loss(student, teacher, 2.0)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_semantic_loss_vanishes_for_equal_scores(pack):
    scores = torch.tensor([0.25, 0.31, 0.28])
    assert pack.rewards.semantic.semantic_consistency_loss(scores, scores + 0.1, 100.0).item() == pytest.approx(0, abs=1e-6)


def test_logit_scale_makes_the_semantic_loss_bite(pack):
    """With raw cosines the softmax is flat and its gradient next to nothing."""

    def gradient(scale):
        scores = torch.tensor([0.25, 0.31, 0.28], requires_grad=True)
        pack.rewards.semantic.semantic_consistency_loss(scores, torch.tensor([0.28, 0.27, 0.30]), scale).backward()
        return scores.grad.norm().item()

    assert gradient(1.0) < 0.02
    assert gradient(100.0) > 1


def test_identity_similarity_is_the_mean_cosine_to_the_pool(pack, demo):
    pool = torch.eye(3)[:2]
    identity = pack.rewards.faces.Identity(pool, torch.zeros(2, 3, 4, 4), demo.face_model)
    frames = torch.tensor([[1.0, 0, 0], [0.6, 0.8, 0]])
    assert identity.similarity(frames).tolist() == pytest.approx([0.5, 0.7])


def test_crop_maps_pixel_centres(pack):
    frame = torch.arange(48.0).view(1, 1, 6, 8).expand(1, 3, 6, 8)
    shift = torch.tensor([[[1.0, 0, 2], [0, 1.0, 1]]])
    crop = pack.rewards.faces.crop_similarity(frame, shift, 3)
    assert torch.allclose(crop, frame[:, :, 1:4, 2:5], atol=1e-5)


@pytest.mark.parametrize("kind", ["robust", "paper", "none"])
def test_augmentation_is_differentiable_and_repeats_with_its_seed(pack, kind):
    augment = pack.rewards.augmentation.augment
    crops = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    first = augment(crops, kind, torch.Generator().manual_seed(3))
    again = augment(crops, kind, torch.Generator().manual_seed(3))
    other = augment(crops, kind, torch.Generator().manual_seed(4))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (kind == "none")
    first.square().sum().backward()
    assert torch.isfinite(crops.grad).all() and crops.grad.abs().sum() > 0


def test_unknown_augmentation_is_named(pack):
    with pytest.raises(ValueError, match="augmentation: heavy is unknown; choose one of robust, paper, none"):
        pack.rewards.augmentation.augment(torch.zeros(1, 3, 4, 4), "heavy", torch.Generator())


def test_preservation_counts_only_what_is_outside_the_head(pack):
    head = pack.rewards.faces.Face(torch.zeros(2, 3), (0, 0, 3, 4), 1.0)
    teacher = torch.zeros(1, 3, 4, 4)
    student = torch.ones(1, 3, 4, 4)
    student[..., 3] = 0.5
    loss = pack.training.preservation.preservation_loss(student, teacher, [head])
    assert loss.item() == pytest.approx(0.5)


def test_preservation_leaves_out_frames_whose_face_is_unknown(pack):
    frames = torch.ones(1, 3, 4, 4)
    assert pack.training.preservation.preservation_loss(frames, 0 * frames, [None]).item() == 0


def test_face_too_small_to_be_recognized_counts_as_none(pack, demo, monkeypatch):
    faces = pack.rewards.faces

    def of_side(pixels):
        scale = pixels / demo.face_model.crop_size
        return faces.Face(torch.tensor([[scale, 0.0, 0.0], [0.0, scale, 0.0]]), (0.0, 0.0, pixels, pixels), 1.0)

    smallest = faces.FRAME_SHARE * demo.face_model.minimum_face
    large, small = of_side(smallest * 1.01), of_side(smallest * 0.99)
    monkeypatch.setattr(demo.face_model, "find", lambda frames: [[large, small], [small], []])
    assert faces.largest_faces(demo.face_model, torch.zeros(3, 3, 64, 64)) == [large, None, None]


def test_cap_reaches_the_training_loss(demo, tmp_path, monkeypatch):
    opposite = replace(demo.identity, embeddings=-demo.identity.embeddings)  # nobody yet: so similar from the start
    monkeypatch.setattr(demo, "identity", opposite)
    for cap in (0.0, 0.1):
        identity = demo.train(tmp_path / f"{cap}.safetensors", steps=1, identity_cap=cap).state.history[0].identity
        assert identity < 0.85 if cap == 0 else identity == pytest.approx(1 - cap)
