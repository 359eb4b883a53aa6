"""Load Face Model: what it finds on disk and offers, and one sentence for each thing that cannot be used."""

import shutil
import sys
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import folder_paths
import pytest
import torch
from onnx import helper

from devkit.face_material import FACE_MODELS, GROUP_PHOTO, SFACE, YUNET, read_photo
from devkit.face_networks import RESNET_100, write_arcface, write_detector, write_network

PAIR = "opencv/yunet + sface"


@pytest.fixture(scope="module")
def node(pack):
    return pack.nodes.load_face_model.LoadFaceModel


@pytest.fixture
def models(node, monkeypatch, tmp_path):
    """An empty models folder instead of the host's."""
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    for name in ("insightface", "face"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([], set()))
        (tmp_path / name).mkdir()
    (tmp_path / "insightface" / "models").mkdir()
    return tmp_path


@pytest.fixture
def opencv_pair(models):
    for file in (YUNET, SFACE):
        (models / "face" / file.name).symlink_to(file)


@pytest.fixture
def buffalo(models):
    """A pack as insightface unzips it: detector, recognizer, and others that are of no use here."""
    pack = models / "insightface" / "models" / "buffalo_x"
    pack.mkdir()
    write_detector(pack / "det_10g.onnx", [])
    write_arcface(pack / "w600k_x.onnx", (1, 1, 1, 1), width=8, embedding=64)
    for name, side in (("1k3d68", 192), ("genderage", 96)):
        nodes = [helper.make_node("Flatten", ["input.1"], ["y"])]
        write_network(pack / f"{name}.onnx", nodes, [1, 3, side, side], [("y", [1, 3 * side * side])])
    return pack


def options(node):
    return node.define_schema().inputs[0].options


def load(node, name, **inputs):
    """As the host's executor runs a node."""
    with torch.inference_mode():
        return node.execute(name, **inputs)


def test_only_the_demo_is_offered_when_there_is_nothing_on_disk(node, models):
    assert options(node) == ["demo"]
    assert load(node, "demo").args[0].name == "demo"


def test_everything_of_the_known_layouts_is_offered_once(node, models, opencv_pair, monkeypatch, tmp_path):
    other = tmp_path / "shared"
    for file in (
        "insightface/models/antelopev2/glintr100.onnx",
        "insightface/models/buffalo_l/buffalo_l/w600k_r50.onnx",
        "insightface/models/empty/readme.txt",
        "insightface/glintr100.onnx",
        "insightface/note.txt",
        "shared/models/antelopev2/glintr100.onnx",
        "shared/models/auraface/glintr100.onnx",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    folder_paths.add_model_folder_path("insightface", str(other))  # what extra_model_paths.yaml does
    assert options(node) == [
        "demo",
        PAIR,
        "insightface/antelopev2",
        "insightface/auraface",
        "insightface/buffalo_l",
        "insightface/glintr100.onnx",
    ]


def test_folders_are_added_beside_those_of_others(node, models):
    folder_paths.add_model_folder_path("insightface", "/elsewhere")
    options(node)
    options(node)
    assert folder_paths.get_folder_paths("insightface") == ["/elsewhere", str(models / "insightface")]
    assert folder_paths.get_folder_paths("face") == [str(models / "face")]


def test_quantised_and_older_opencv_files_are_left_out(node, models, pack, opencv_pair):
    for name in ("face_recognition_sface_2021dec_int8.onnx", "face_detection_yunet_2022mar.onnx"):
        (models / "face" / name).touch()
    [files] = pack.rewards.face_files.list_face_models([models / "insightface"], [models / "face"])
    assert (files.source.name, files.yunet.name) == (SFACE.name, YUNET.name)


@pytest.mark.parametrize(("name", "remedy"), [
    (PAIR, "put face_detection_yunet_2023mar.onnx and face_recognition_sface_2021dec.onnx of the OpenCV zoo into models/face"),
    ("insightface/antelopev2", "unzip the pack into models/insightface/models/antelopev2"),
    ("insightface/glintr100.onnx", "put it into models/insightface"),
    ("facenet", "choose another one of the list"),
])  # fmt: skip
def test_a_choice_that_is_not_there_says_where_its_files_belong(node, models, name, remedy):
    assert node.validate_inputs(name) == f"model_name: {name} is not on this computer; {remedy}, then refresh (R)."
    assert node.validate_inputs("demo") is True


@pytest.mark.parametrize(("name", "licence"), [
    (PAIR, "commercial use allowed (YuNet: MIT, SFace: Apache-2.0)"),
    ("insightface/antelopev2", "research only"),
    ("insightface/buffalo_l", "research only"),
    ("insightface/auraface", "commercial use allowed (AuraFace: Apache-2.0)"),
    ("insightface/someones", "licence unknown: ask"),
    ("insightface/w600k_r50.onnx", "research only"),
    ("insightface/mine.onnx", "licence unknown: ask"),
])  # fmt: skip
def test_the_licence_class_is_told(node, models, pack, opencv_pair, name, licence):
    if name.startswith("insightface/"):
        stem = name.removeprefix("insightface/")
        path = models / "insightface" / (stem if stem.endswith(".onnx") else f"models/{stem}/glintr100.onnx")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert pack.nodes.load_face_model._files()[name].licence.startswith(licence)


def test_the_opencv_pair_needs_neither_insightface_nor_onnxruntime(node, opencv_pair, monkeypatch):
    picture = read_photo(GROUP_PHOTO)
    for name in ("insightface", "onnxruntime", "cv2"):
        monkeypatch.setitem(sys.modules, name, None)
    face_model, licence = load(node, PAIR).args
    assert len(face_model.find(picture)[0]) == 6
    assert licence.startswith(f"{PAIR}: commercial use allowed")


def test_what_is_loaded_under_inference_mode_can_be_differentiated_through(node, opencv_pair):
    face_model = load(node, PAIR).args[0]
    crops = torch.rand(1, 3, 112, 112, requires_grad=True)
    face_model.embed(crops).sum().backward()
    assert crops.grad.abs().sum() > 0


def test_a_pack_is_taken_apart_by_what_its_files_do(node, buffalo):
    face_model, licence = load(node, "insightface/buffalo_x").args
    assert face_model.embed(torch.rand(2, 3, 112, 112)).shape == (2, 64)
    assert face_model.find(torch.rand(1, 3, 64, 64)) == [[]]
    assert "research only" in licence


def test_a_known_recognizer_has_its_architecture_and_data_as_name(node, models, opencv_pair):
    write_arcface(models / "insightface" / "glintr100.onnx", RESNET_100, width=2, embedding=64)
    face_model = load(node, "insightface/glintr100.onnx").args[0]
    assert face_model.network_name == "ResNet-100, Glint360K"
    assert load(node, PAIR).args[0].network_name == ""


def test_a_second_recognizer_and_half_precision(node, models, opencv_pair):
    write_arcface(models / "insightface" / "mine.onnx", (1, 1, 1, 1), width=8, embedding=64)
    second = load(node, "insightface/mine.onnx", precision="bf16").args[0]
    assert {buffer.dtype for buffer in second.recognizer.buffers()} == {torch.bfloat16}
    both, licence = load(node, PAIR, also=second).args
    assert both.name == f"{PAIR} + insightface/mine.onnx"
    assert both.embed(torch.rand(2, 3, 112, 112)).shape == (2, 128 + 64)
    assert "commercial use allowed" in licence and "licence unknown" in licence


def test_the_hosts_landmarker_replaces_the_detector(node, models, opencv_pair):
    class Landmarker:
        def detect_batch(self, pictures, **options):
            return [[]]

    face_model = load(node, PAIR, detector=Landmarker()).args[0]
    assert face_model.find(torch.rand(1, 3, 64, 64)) == [[]]
    assert list(face_model.networks) == ["recognizer"]


def test_a_pack_one_folder_too_deep_is_told(node, models, buffalo):
    shutil.move(buffalo, models / "buffalo_x")
    buffalo.mkdir()
    shutil.move(models / "buffalo_x", buffalo / "buffalo_x")
    with pytest.raises(
        ValueError,
        match="insightface/buffalo_x: its files lie one folder too deep, in buffalo_x/buffalo_x; move them up into buffalo_x",
    ):
        load(node, "insightface/buffalo_x")


def test_a_pack_without_recognizer_is_told(node, buffalo):
    (buffalo / "w600k_x.onnx").unlink()
    with pytest.raises(
        ValueError,
        match="insightface/buffalo_x: it has no face recognizer, only "
        "1k3d68.onnx, det_10g.onnx, genderage.onnx; unzip the whole pack",
    ):
        load(node, "insightface/buffalo_x")


def test_a_pack_without_detector_takes_yunet_or_says_where_to_put_it(node, models, buffalo):
    (buffalo / "det_10g.onnx").unlink()
    with pytest.raises(
        ValueError,
        match="insightface/buffalo_x: it has no face detector; put "
        "face_detection_yunet_2023mar.onnx of the OpenCV zoo into models/face",
    ):
        load(node, "insightface/buffalo_x")
    (models / "face" / YUNET.name).symlink_to(YUNET)
    assert len(load(node, "insightface/buffalo_x").args[0].networks) == 2


@pytest.mark.parametrize("file", ["det_10g.onnx", "w600k_x.onnx"])
def test_a_damaged_file_of_a_pack_is_named(node, buffalo, file):
    (buffalo / file).write_bytes((buffalo / file).read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{file}: it is no readable ONNX file .+; download it again"):
        load(node, "insightface/buffalo_x")


@pytest.mark.parametrize(("library", "message"), [
    ("onnx", "needs the package onnx; run `pip install onnx`"),
    ("onnxruntime", "needs onnxruntime; run `pip install onnxruntime-gpu`"),
    ("insightface.model_zoo", "needs insightface; run `pip install --no-deps insightface`"),
])  # fmt: skip
def test_a_missing_library_of_a_pack_has_its_install_line(node, buffalo, monkeypatch, library, message):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=message):
        load(node, "insightface/buffalo_x")


def test_the_hosts_memory_management_moves_all_weights(node, opencv_pair):
    """Under the host's model patcher the networks load, work and unload."""
    networks = load(node, PAIR).args[0].networks
    device, offload = comfy.model_management.get_torch_device(), torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(networks, load_device=device, offload_device=offload)
    assert patcher.model_size() > 38_000_000
    comfy.model_management.load_models_gpu([patcher], force_full_load=True)
    assert {buffer.device.type for buffer in networks.buffers()} == {device.type}
    comfy.model_management.unload_all_models()
    assert {buffer.device for buffer in networks.buffers()} == {offload}


def test_the_set_ups_models_are_those_of_the_opencv_zoo():
    assert sorted(path.name for path in Path(FACE_MODELS).glob("*.onnx")) == [YUNET.name, SFACE.name]


def test_each_recognizer_has_its_own_threshold_for_the_same_person(node, opencv_pair, buffalo):
    assert load(node, PAIR).args[0].same_person == 0.363
    assert load(node, "insightface/buffalo_x").args[0].same_person == 0.3
    assert load(node, "demo").args[0].same_person == 0.6
