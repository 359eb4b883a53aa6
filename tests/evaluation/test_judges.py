"""A judge that is the reward, or its twin, is named as such; an independent one is not."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def warning(pack):
    return importlib.import_module(f"{pack.__name__}.evaluation.judges").judge_warning


@pytest.fixture(scope="module")
def recognizer(pack):
    """A face model of known weights and training."""

    class Known(pack.rewards.faces.FaceModel):
        find = embed = None
        fingerprint = ""

        def __init__(self, name, fingerprints, network_name=""):
            self.name, self._fingerprints, self.network_name = name, fingerprints, network_name

        @property
        def fingerprints(self):
            return self._fingerprints

    return Known


R100, R50 = "ResNet-100, Glint360K", "ResNet-50, WebFace600K"


def test_the_rewarded_network_under_another_name_is_no_judge(warning, recognizer):
    answer = warning(recognizer("insightface/antelopev2", ("a",)), recognizer("insightface/glintr100.onnx", ("a",)))
    assert answer.startswith("judge: insightface/glintr100.onnx is the very network that training rewarded, so ")
    assert answer.endswith(".") and "\n" not in answer


def test_one_shared_network_of_a_pair_is_enough(warning, recognizer):
    assert warning(recognizer("a + b", ("a", "b")), recognizer("b + c", ("b", "c"))) is not None


def test_other_weights_of_the_same_architecture_and_data_are_no_judge(warning, recognizer):
    reward = recognizer("insightface/antelopev2", ("a",), R100)
    assert f"has the architecture and the training data of the rewarded recognizer ({R100})" in warning(
        reward, recognizer("insightface/glint360k_r100.onnx", ("b",), R100)
    )
    assert R100 in warning(reward, recognizer("pair", ("c", "d"), f"{R50} + {R100}"))


@pytest.mark.parametrize(
    ("reward", "judge"), [(R100, R50), (R100, "ResNet-50, Glint360K"), (R100, "ResNet-100, MS1M"), (R100, ""), ("", "")]
)
def test_other_networks_may_judge(warning, recognizer, reward, judge):
    assert warning(recognizer("reward", ("a",), reward), recognizer("judge", ("b",), judge)) is None


@pytest.mark.parametrize(
    "file, data",
    [
        ("glint360k_r100/model.onnx", "Glint360K"),
        ("antelopev2/glintr100.onnx", "Glint360K"),
        ("buffalo_l/w600k_r50.onnx", "WebFace600K"),
        ("glint360k_mine/w600k_r50.onnx", "WebFace600K"),
        ("auraface/glintr100.onnx", "AuraFace"),
        ("mine/model.onnx", ""),
    ],
)
def test_what_a_recognizer_was_trained_on_is_told_by_its_file_or_its_pack(pack, file, data):
    assert pack.rewards.face_files.training_data(Path(file)) == data


def test_the_demos_judge_is_independent_of_its_reward(warning, pack, demo):
    judge = pack.demo.load.load_face_model("judge")
    assert warning(demo.face_model, judge) is None
    assert warning(demo.face_model, pack.demo.load.load_face_model("reward")) is not None
