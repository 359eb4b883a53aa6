"""Real photographs and a real recognizer in the running server: photos, identity, training.

The demo's model paints drawn faces that no detector of photographs finds, so that they are looked for in
the middle of each frame. What is shown is that everything works together, not that it looks like anybody.
"""

import json
import shutil

import pytest
from PIL import Image, ImageOps
from safetensors import safe_open

from devkit.comfy_client import PromptError
from devkit.comfy_host import ROOT
from devkit.comfy_server import ComfyServer
from devkit.face_material import GROUP_PHOTO, ONE_PERSON, PORTRAIT, SFACE, YUNET, sample_photo
from devkit.graphs import train_graph

STEPS = 20
PAIR = "opencv/yunet + sface"


@pytest.fixture(scope="module")
def photo_server(pytestconfig, tmp_path_factory):
    base = tmp_path_factory.mktemp("photos")
    (base / "models" / "face").mkdir(parents=True)
    for file in (YUNET, SFACE):
        shutil.copy(file, base / "models" / "face")
    person = base / "input" / "someone"
    person.mkdir(parents=True)
    face = Image.open(sample_photo(GROUP_PHOTO)).convert("RGB").crop(ONE_PERSON)
    face.save(person / "1.jpg", quality=95)
    ImageOps.mirror(face).resize((480, 560)).save(person / "2.png")
    face.point(lambda value: int(value * 0.6)).rotate(12, Image.Resampling.BICUBIC).save(person / "3.webp")
    shutil.copy(sample_photo(PORTRAIT), person / "somebody else.png")
    shutil.copy(sample_photo(GROUP_PHOTO), base / "input" / "group.jpg")
    with ComfyServer(pytestconfig.host, base, more_packs=(ROOT / "tests" / "tiny_host",)) as running:
        yield running


def graph(**train):
    return train_graph(
        faces={"class_type": "PersonalVideoLoadFaceModel", "inputs": {"model_name": PAIR, "precision": "fp32"}},
        identity={"face_model": ["faces", 0], "folder": "someone"},
        middle={"class_type": "TinyFaceInTheMiddle", "inputs": {"identity": ["identity", 0]}},
        report={"class_type": "PreviewAny", "inputs": {"source": ["identity", 2]}},
        train={"identity": ["middle", 0], "width": 96, "height": 96} | train,
    )


def test_twenty_steps_against_sface_lower_the_identity_loss(photo_server):
    photo_server.run(
        graph(steps=STEPS, learning_rate=0.01, filename_prefix="loras/photos", semantic_weight=0.0, preserve_weight=0.0,
              augmentation="none"),
        timeout=300,
    )  # fmt: skip
    lora = next((photo_server.base / "output" / "loras").glob("photos_*.safetensors"))
    with safe_open(lora.with_suffix(".pvstate"), framework="pt") as state:
        history = [record["identity"] for record in json.loads(state.metadata()["history"])]
    assert len(history) == STEPS and all(loss == loss for loss in history)
    assert sum(history[-5:]) < sum(history[:5])


def test_photo_of_somebody_else_is_left_out_and_named(photo_server):
    run = photo_server.run(graph(steps=1), timeout=120)
    report = str(run.outputs["report"])
    assert "3 of 4 photos are used" in report and "not used: somebody else.png" in report


def test_faces_that_are_never_found_stop_the_training_with_advice(photo_server):
    with pytest.raises(PromptError, match="A face was found in only 0% of the last 25 steps' frames"):
        photo_server.run(graph(steps=40, identity=["identity", 0]), timeout=300)


def test_drawn_people_are_told_apart_too(demo, tmp_path):
    photos = demo.pack.rewards.photos
    folder = demo.pack.nodes.identity_folders.DEMO_IDENTITIES
    aro, other = photos.read_folder(folder / "Aro"), photos.read_folder(folder / "Bina")
    _, report = demo.pack.rewards.photo_checks.choose_photos(aro + other[:1], demo.face_model)
    assert f"{len(aro)} of {len(aro) + 1} photos are used" in report and "shows somebody else" in report
