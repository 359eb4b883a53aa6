"""Aligned crops against OpenCV and insightface, for faces of every size and at the border, with exact gradients."""

import cv2
import numpy as np
import pytest
import torch
from insightface.utils.face_align import estimate_norm

from devkit.face_material import GROUP_PHOTO, SFACE, YUNET, sample_photo


@pytest.fixture(scope="module")
def alignment(pack):
    return pack.rewards.alignment


def random_landmarks(alignment, count, spread=3.0):
    """Turned, scaled, shifted and distorted templates, in frame pixels."""
    random = torch.Generator().manual_seed(0)
    angle, scale = torch.rand(count, generator=random) * 2 - 1, torch.rand(count, generator=random) * 2 + 0.3
    factor = torch.polar(scale, angle).to(torch.complex128)[:, None]
    turned = torch.view_as_real(torch.view_as_complex(alignment.TEMPLATE)[None] * factor)
    shift = torch.rand(count, 1, 2, generator=random) * 100
    return turned + shift + spread * torch.randn(count, 5, 2, generator=random)


@pytest.mark.filterwarnings("ignore:.estimate. is deprecated:FutureWarning")
def test_matrices_are_the_inverse_of_insightfaces(alignment):
    landmarks = random_landmarks(alignment, 8)
    for matrix, points in zip(alignment.similarity_matrices(landmarks), landmarks):
        forward = np.vstack([estimate_norm(points.numpy()), [0, 0, 1]])
        assert np.allclose(matrix.numpy(), np.linalg.inv(forward)[:2], rtol=1e-4, atol=1e-3)


@pytest.fixture(scope="module")
def opencv_faces():
    """The group photo [H, W, 3] (BGR), OpenCV's detections, its crops and features."""
    photo = cv2.imread(str(sample_photo(GROUP_PHOTO)))
    detector = cv2.FaceDetectorYN.create(str(YUNET), "", photo.shape[1::-1], 0.7)
    recognizer = cv2.FaceRecognizerSF.create(str(SFACE), "")
    detections = detector.detect(photo)[1]
    crops = [recognizer.alignCrop(photo, face) for face in detections]
    return photo, detections, crops, [recognizer.feature(crop) for crop in crops]


def rgb(picture):
    return torch.from_numpy(picture[..., ::-1].copy()).movedim(-1, 0)[None] / 255


def test_crops_and_embeddings_are_opencvs(alignment, pack, opencv_faces):
    photo, detections, crops, features = opencv_faces
    recognizer = pack.rewards.recognizer.Recognizer(SFACE)
    assert len(detections) == 6
    landmarks = torch.from_numpy(detections[:, 4:14]).view(-1, 5, 2)
    matrices = alignment.similarity_matrices(landmarks)
    own = alignment.aligned_crops(rgb(photo).expand(6, -1, -1, -1), matrices)
    there = torch.cat([rgb(crop) for crop in crops])
    assert (own - there).abs().mean(dim=(1, 2, 3)).max() <= 0.25 / 255
    features = torch.nn.functional.normalize(torch.from_numpy(np.concatenate(features)), dim=-1)
    with torch.no_grad():
        assert (recognizer(own) * features).sum(dim=1).min() >= 0.999


def test_a_crop_that_leaves_the_frame_is_black_outside_as_opencvs(alignment, opencv_faces):
    photo = opencv_faces[0]
    matrix = torch.tensor([[1.2, -0.4, -40.0], [0.4, 1.2, -30.0]])
    expected = cv2.warpAffine(photo, matrix.numpy(), (112, 112), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    own = alignment.aligned_crops(rgb(photo), matrix[None])
    assert (own - rgb(expected)).abs().mean() <= 0.25 / 255
    assert own[0, :, 0, 0].tolist() == [0, 0, 0]


def test_large_faces_are_averaged_so_that_no_pixel_is_skipped(alignment):
    stripes = torch.arange(480).remainder(2).float().expand(1, 3, 480, 480)
    matrix = torch.tensor([[[4.0, 0.0, 10.0], [0.0, 4.0, 10.0]]])
    assert (alignment.aligned_crops(stripes, matrix) - 0.5).abs().max() < 0.1
    skipping = alignment.crop_similarity(stripes, matrix, 112)
    assert skipping.std() < 1e-4 and skipping.mean().round(decimals=4) in (0, 1)


def test_faces_of_different_sizes_do_not_change_each_other(alignment):
    frames = torch.rand(2, 3, 300, 300, generator=torch.Generator().manual_seed(0))
    matrices = torch.tensor([[[0.8, 0.0, 30.0], [0.0, 0.8, 30.0]], [[2.6, 0.0, 3.0], [0.0, 2.6, 3.0]]])
    together = alignment.aligned_crops(frames, matrices)
    for index in range(2):
        assert torch.equal(together[index : index + 1], alignment.aligned_crops(frames[[index]], matrices[[index]]))


@pytest.mark.parametrize("scale", [0.7, 2.4])
def test_the_gradient_of_a_crop_is_exact(alignment, scale):
    frames = torch.rand(1, 3, 16, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    matrices = torch.tensor([[[scale, -0.2, 2.3], [0.2, scale, -1.1]]])
    assert torch.autograd.gradcheck(lambda x: alignment.aligned_crops(x, matrices, 4), frames)


def test_points_go_the_same_way_as_pixels(alignment):
    frame = torch.zeros(1, 3, 64, 64)
    frame[:, :, 40, 22] = 1
    matrix = torch.tensor([[[1.0, 0.0, 12.0], [0.0, 1.0, 33.0]]])
    crop = alignment.crop_similarity(frame, matrix, 20)
    y, x = divmod(crop[0, 0].argmax().item(), 20)
    assert alignment.map_points(matrix, torch.tensor([[[x, y]]]).float()).tolist() == [[[22, 40]]]
