"""What reaches a node by a wire is held to what its inputs take, and whatever a node says can be shown."""

import math
import os
import shutil

import pytest
import torch
from comfy_api.latest import io

from devkit.comfy_client import PromptError
from devkit.comfy_host import ROOT
from devkit.graphs import sample_graph, train_graph

NODES = {
    "apply_late_step_lora": "ApplyLateStepLora",
    "evaluate_video": "EvaluateVideo",
    "load_face_model": "LoadFaceModel",
    "load_identity_images": "LoadIdentityImages",
    "load_motion_module": "LoadMotionModule",
    "load_semantic_reward": "LoadSemanticReward",
    "sample_video": "SampleVideo",
    "simulated_prompts": "SimulatedPrompts",
    "train_adapter": "TrainAdapter",
}
TEXTS = [None, 5, ["sks"], "a\x00b", "a\udcffb"]
BAD = {
    io.Int.Input: [None, "3", 2.5, math.nan, -1, 2**70],
    io.Float.Input: [None, "3", math.nan, math.inf, -math.inf, 1e30, [1.0]],
    io.String.Input: TEXTS,
    io.Combo.Input: [*TEXTS, "", "../../..", "/etc", "demo/../..", "no such thing"],
}
BAD_WIRES = ["text", 7, [], {}, torch.zeros(0), torch.zeros(1, 8, 8, 2), torch.zeros(1, 8, 8, 0), torch.zeros(8, 8, 3)]
ANYTHING = {"FACE_DETECTION_MODEL"}  # of a class that the host may change


@pytest.fixture(scope="module")
def good(demo):
    """A value that fits, by the type of a wire."""
    return {
        "MODEL": demo.model, "CLIP": demo.clip, "VAE": demo.vae, "PV_IDENTITY": demo.identity, "IMAGE": torch.zeros(1, 64, 64, 3),
        "PV_FACE_MODEL": demo.face_model, "PV_SEMANTIC_REWARD": demo.semantic_reward, "CONDITIONING": [[torch.zeros(1), {}]],
        "LATENT": {"samples": torch.zeros(1, 16, 1, 8, 8)}, "LORA_MODEL": {}, "FACE_DETECTION_MODEL": None,
    }  # fmt: skip


def fits(given, good):
    if isinstance(given, io.Combo.Input):
        return next(iter(given.options), "")
    return given.default if hasattr(given, "default") else good[given.get_io_type()]


@pytest.mark.parametrize("module", NODES)
def test_every_value_that_an_input_does_not_take_gets_one_sentence(demo, good, module):
    node = getattr(getattr(demo.pack.nodes, module), NODES[module])
    inputs = node.define_schema().inputs
    tried = 0
    for given in inputs:
        kind = given.get_io_type()
        bad = BAD.get(type(given)) or [value for value in BAD_WIRES if not is_good(kind, value)]
        for value in bad if kind not in ANYTHING else ():
            values = {each.id: fits(each, good) for each in inputs} | {given.id: value}
            with pytest.raises(ValueError) as refusal:
                node.execute(**values)
            sentence = str(refusal.value)
            assert sentence.startswith(f"{given.id}: ") and sentence.endswith("."), (given.id, value, sentence)
            assert "\n" not in sentence and sentence.encode(), (given.id, value)
            tried += 1
    assert tried


def is_good(kind, value):
    """Whether some wire of a kind may carry one of BAD_WIRES."""
    return kind == "LORA_MODEL" and value == {} if isinstance(value, dict) else False


@pytest.mark.parametrize(
    ("module", "changes", "sentence"),
    [
        ("sample_video", {"fps": math.nan}, "fps: nan is no number from 1 to 120; enter one, such as 16."),
        ("sample_video", {"model": None}, "model: nothing arrives there; connect a node that loads a model."),
        (
            "sample_video",
            {"vae": None},
            "vae: the checkpoint has none; connect a Load VAE node with the one that belongs to the model.",
        ),
        ("evaluate_video", {"identity": "me"}, 'identity: "me" arrives there; connect Load Identity Images.'),
        (
            "evaluate_video",
            {"images": torch.zeros(4, 64, 64, 2)},
            "images: 4 x 64 x 64 x 2 numbers are no pictures, which have height, width and 1, 3 or 4 channels; connect pictures.",
        ),
        ("load_identity_images", {"folder": None}, "folder: nothing is no text; enter one, or connect a node that gives text."),
        (
            "load_identity_images",
            {"folder": "../../etc"},
            "folder: ../../etc is not there any more, or holds no pictures; refresh (R) and choose another folder of the input "
            "folder.",
        ),
        (
            "simulated_prompts",
            {"trigger_word": "s\x00"},
            "trigger_word: it holds a character that no text has (\\x00); delete it.",
        ),
        ("load_face_model", {"precision": "fp8"}, 'precision: "fp8" is not in its list; choose what is.'),
        (
            "apply_late_step_lora",
            {"strength_model": math.nan},
            "strength_model: nan is no number from -10 to 10; enter one, such as 1.",
        ),
    ],
)
def test_the_sentence_names_input_value_and_remedy(demo, good, module, changes, sentence):
    node = getattr(getattr(demo.pack.nodes, module), NODES[module])
    with pytest.raises(ValueError) as refusal:
        node.execute(**{each.id: fits(each, good) for each in node.define_schema().inputs} | changes)
    assert str(refusal.value) == sentence


def test_whatever_a_node_raises_can_be_printed_with_its_causes(pack):
    class Talkative(io.ComfyNode):
        @classmethod
        def define_schema(cls):
            return io.Schema(node_id="Talkative", display_name="Talkative", inputs=[])

        @classmethod
        @pack.nodes.contract.checked
        def execute(cls):
            try:
                raise KeyError("inner \udcff")
            except KeyError:
                try:
                    raise OSError("middle \udcff")
                except OSError as error:
                    raise RuntimeError("outer \udcff") from error

    with pytest.raises(RuntimeError) as caught:
        Talkative.execute()
    texts = [error.args[0] for error in (caught.value, caught.value.__cause__, caught.value.__cause__.__context__)]
    assert texts == ["outer \\udcff", "middle \\udcff", "inner \\udcff"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")])
def test_a_full_memory_of_the_computer_gets_a_sentence(demo, good, monkeypatch, error):
    def full(*_):
        raise error

    module = demo.pack.nodes.sample_video
    monkeypatch.setattr(module, "empty_latent", full)
    values = {each.id: fits(each, good) for each in module.SampleVideo.define_schema().inputs} | {"latent_image": None}
    with pytest.raises(ValueError, match="^Sample Video: the computer's memory is full; take smaller or fewer pictures"):
        module.SampleVideo.execute(**values)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.zeros(1, 16), "1 x 16 numbers are no latents of this model, which have 5 dimensions and 16 channels"),
        (torch.ones(1, 4, 1, 8, 8), "1 x 4 x 1 x 8 x 8 numbers are no latents of this model"),
        (torch.full((1, 16, 1, 8, 8), math.nan), "it holds values that are no numbers"),
        (torch.zeros(1, 16, 0, 8, 8), "there is nothing in it that could be sampled"),
    ],
)
def test_latents_that_cannot_be_sampled_get_a_sentence(demo, good, samples, words):
    node = demo.pack.nodes.sample_video.SampleVideo
    values = {each.id: fits(each, good) for each in node.define_schema().inputs}
    with pytest.raises(ValueError, match=f"^latent_image: {words}.*; (connect|make)"):
        node.execute(**values | {"latent_image": {"samples": samples}})


@pytest.fixture(scope="module")
def odd_names(server):
    """Folders with photos whose names are no text: one unreadable, one good; one with a name in two lines."""
    folder = server.base / "input"
    for name in ("odd_broken", "odd_good"):
        (folder / name).mkdir()
    with open(os.fsencode(folder / "odd_broken") + b"/\xff\xfe.png", "wb") as file:
        file.write(b"no picture")
    aro = ROOT / "demo" / "identities" / "Aro"
    shutil.copy(aro / "1.png", os.fsencode(folder / "odd_good") + b"/\xff\xfe.png")
    shutil.copy(aro / "2.png", folder / "odd_good" / "a\nused: b.png")


def test_a_photo_with_an_undecodable_name_does_not_stop_the_server(server, odd_names):
    with pytest.raises(PromptError, match="no photo can be used") as refusal:
        server.run(train_graph(identity={"folder": "odd_broken"}), timeout=60)
    assert "\\udcff\\udcfe.png is not a picture that can be read" in str(refusal.value)
    assert server.run(sample_graph(), timeout=120).files("save")


def test_photos_with_odd_names_are_used_and_reported_a_line_each(server, odd_names):
    graph = {name: node for name, node in train_graph(identity={"folder": "odd_good"}).items() if name != "train"}
    graph["show"] = {"class_type": "PreviewAny", "inputs": {"source": ["identity", 2]}}
    [report] = server.run(graph, timeout=60).outputs["show"]["text"]
    assert report.splitlines() == ["2 of 2 photos are used.", "used: a\\nused: b.png", "used: \\udcff\\udcfe.png"]


def test_a_trigger_word_that_is_no_text_is_refused_and_the_server_goes_on(server):
    graph = {
        "prompts": {
            "class_type": "PersonalVideoSimulatedPrompts",
            "inputs": {"subject": "man", "trigger_word": "s\udcffks", "prompts": ""},
        },
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["prompts", 0]}},
    }
    with pytest.raises(PromptError, match=r"^trigger_word: it holds a character that no text has \(\\udcff\); delete it\.$"):
        server.run(graph, timeout=60)
    graph["prompts"]["inputs"]["trigger_word"] = "sks"
    assert server.run(graph, timeout=60).outputs["show"]["text"]
