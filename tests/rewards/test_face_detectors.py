"""Detectors: YuNet against OpenCV and on large and mirrored faces, insightface's, and the host's own."""

import importlib.machinery
import math
import sys

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from devkit.face_material import GROUP_PHOTO, ONE_PERSON, SFACE, YUNET, read_photo, sample_photo
from devkit.face_networks import write_detector


@pytest.fixture(scope="module")
def rewards(pack):
    return pack.rewards


def test_the_first_look_is_opencvs(rewards):
    picture = cv2.imread(str(sample_photo(GROUP_PHOTO)))
    expected = cv2.FaceDetectorYN.create(str(YUNET), "", picture.shape[1::-1], 0.5).detect(picture)[1]
    expected = torch.from_numpy(expected[expected[:, -1].argsort()[::-1]].copy())
    boxes, landmarks, scores = rewards.yunet.YuNet(YUNET).first_look(read_photo(GROUP_PHOTO), (1280,))
    assert len(scores) == len(expected)
    assert (boxes[:, :2] - expected[:, :2]).abs().max() < 1e-3
    assert (boxes[:, 2:] - boxes[:, :2] - expected[:, 2:4]).abs().max() < 1e-3
    assert (landmarks.flatten(1) - expected[:, 4:14]).abs().max() < 1e-3
    assert (scores - expected[:, -1]).abs().max() < 1e-5


def test_landmarks_do_not_depend_on_which_way_the_picture_is_mirrored(rewards):
    detector, person = rewards.yunet.YuNet(YUNET), read_photo(GROUP_PHOTO, ONE_PERSON)
    [[face]], [[mirrored]] = detector.detect(person), detector.detect(person.flip(-1))
    back = torch.stack([person.shape[-1] - 1 - mirrored.landmarks[:, 0], mirrored.landmarks[:, 1]], dim=1)[[1, 0, 2, 4, 3]]
    assert (face.landmarks - back).norm(dim=1).max() < 0.04 * (face.box[2] - face.box[0])


def test_a_face_that_fills_a_large_picture_is_one_face(rewards):
    left, top = 749 - 12, 352
    close = F.interpolate(read_photo(GROUP_PHOTO, (left, top, left + 122, top + 122)), size=(1280, 1280), mode="bicubic")
    [[face]] = rewards.yunet.YuNet(YUNET).detect(close.clamp(0, 1))
    assert 800 < face.box[2] - face.box[0] < 1300 and 1000 < face.box[3] - face.box[1] < 1500


def test_another_network_is_no_yunet(rewards):
    with pytest.raises(ValueError, match="sface_2021dec.onnx: it is no YuNet face detector"):
        rewards.yunet.YuNet(SFACE)


def test_a_torchvision_of_another_pytorch_is_named(rewards, tmp_path, monkeypatch):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")')
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError) as caught:
        rewards.yunet.YuNet(YUNET)
    assert str(caught.value) == (
        "Finding faces with YuNet needs torchvision, which cannot be imported (operator torchvision::nms does not exist); "
        f"install the torchvision that fits PyTorch {torch.__version__} in ComfyUI's Python and restart, choose an insightface "
        "pack, or connect detector."
    )


LANDMARKS = np.array([[300.0, 240], [360, 240], [330, 270], [306, 300], [354, 300]])
BOX = np.array([280.0, 200, 380, 330])


def test_insightface_detects_for_its_packs(rewards, tmp_path):
    write_detector(tmp_path / "scrfd.onnx", [(BOX, LANDMARKS)])
    detector = rewards.scrfd.Scrfd(tmp_path / "scrfd.onnx")
    [[found]] = detector.detect(torch.rand(1, 3, 320, 320))  # searched at twice the size
    assert found.box == pytest.approx(tuple(BOX / 2), abs=0.1)
    assert found.landmarks.numpy() == pytest.approx(LANDMARKS / 2, abs=0.1)
    assert found.score == pytest.approx(0.9)


def test_a_frame_without_a_face_is_searched_again_with_room_around_it(rewards, tmp_path):
    write_detector(tmp_path / "scrfd.onnx", [])
    detector = rewards.scrfd.Scrfd(tmp_path / "scrfd.onnx")
    seen, detect = [], detector._model.detect
    boxes = np.append(BOX / 4, 0.9)[None].astype(np.float32)
    detector._model.detect = lambda picture: (
        seen.append(picture) or ((boxes, LANDMARKS[None] / 4) if picture.shape[0] > 100 else detect(picture))
    )
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 80, 60)
    [[found]] = detector.detect(red)
    assert [picture.shape for picture in seen] == [(80, 60, 3), (160, 140, 3)]
    assert seen[0][5, 5].tolist() == seen[1][80, 70].tolist() == [0, 0, 255]  # blue, green, red
    assert found.box == pytest.approx(tuple(BOX / 4 - 40)) and found.landmarks.numpy() == pytest.approx(LANDMARKS / 4 - 40)


@pytest.mark.parametrize(("gone", "line"), [
    (["onnxruntime"], "needs onnxruntime; run `pip install onnxruntime-gpu` (without an NVIDIA card `pip install onnxruntime`)"),
    (["insightface"], "needs insightface; run `pip install --no-deps insightface` in ComfyUI's Python"),
    (["insightface", "skimage"], "run `pip install --no-deps insightface && pip install scikit-image` in"),
])  # fmt: skip
def test_missing_libraries_are_named_with_their_install_line(rewards, monkeypatch, gone, line):
    for name in gone:
        for loaded in [name, *(module for module in sys.modules if module.startswith(name + "."))]:
            monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setattr(
        rewards.scrfd, "find_spec", lambda name: None if name in gone else importlib.machinery.ModuleSpec(name, None)
    )
    with pytest.raises(ImportError) as caught:
        rewards.scrfd.Scrfd("det_10g.onnx")
    assert line in str(caught.value)


def test_a_detector_that_onnxruntime_cannot_load_is_named(rewards, tmp_path):
    (tmp_path / "det_10g.onnx").write_bytes(b"\x08\x07 damaged")
    with pytest.raises(ValueError, match="det_10g.onnx: insightface cannot load this detector .+; unzip the pack again"):
        rewards.scrfd.Scrfd(tmp_path / "det_10g.onnx")


def test_the_hosts_landmarks_become_five_points(rewards):
    mesh = np.zeros((478, 2), dtype=np.float32)
    mesh[[33, 133]], mesh[[362, 263]] = [[100, 50], [110, 52]], [[140, 52], [150, 50]]
    mesh[4], mesh[61], mesh[291] = (125, 70), (110, 90), (141, 90)

    class Landmarker:
        def detect_batch(self, pictures, num_faces, score_thresh, variant):
            assert pictures[0].shape == (96, 160, 3) and pictures[0].dtype == np.uint8
            face = {"landmarks_xy": mesh, "bbox_xyxy": np.array([95, 40, 155, 100]), "score": 0.8}
            return [[face] if variant == "full" else []]

    [[found]] = rewards.host_landmarker.HostLandmarker(Landmarker()).detect(torch.rand(1, 3, 96, 160))
    assert found.landmarks.tolist() == [[105, 51], [145, 51], [125, 70], [110, 90], [141, 90]]
    assert found.box == (95, 40, 155, 100) and found.score == 0.8


def test_the_hosts_landmarker_without_a_face_gives_none(rewards):
    from comfy_extras.mediapipe.face_landmarker import FaceLandmarker
    from comfy_extras.nodes_mediapipe import FaceLandmarkerModel

    network = FaceLandmarker(dtype=torch.float32)
    state = {
        f"detector_short.{key[9:]}" if key.startswith("detector.") else key: 0 * value
        for key, value in network.state_dict().items()
    }
    full = FaceLandmarker(dtype=torch.float32, detector_variant="full").state_dict()
    state |= {f"detector_full.{key[9:]}": 0 * value for key, value in full.items() if key.startswith("detector.")}
    state |= {key: torch.zeros(1) for key in ("canonical_vertices", "procrustes_indices", "procrustes_weights")}
    for name in ("face_oval", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "lips", "irises", "nose"):
        state[f"topology.{name}"] = torch.zeros(1, 2, dtype=torch.int32)
    landmarker = FaceLandmarkerModel(state)
    found = rewards.host_landmarker.HostLandmarker(landmarker).detect(torch.rand(1, 3, 96, 160))
    assert all(math.isfinite(face.score) for face in found[0]) and len(found) == 1
