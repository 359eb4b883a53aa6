"""What a user meets in the running server: caching, cancelling, and one clear sentence for every mistake."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from devkit.comfy_client import PromptError
from devkit.comfy_host import ROOT
from devkit.graphs import PROMPTS, sample_graph, train_graph

PERSON = ROOT / "demo" / "identities" / "Aro"


@pytest.fixture(scope="module")
def photos(server):
    """Folders of the server's input directory, good and bad, in place before the nodes list them."""
    folder = server.base / "input"
    shutil.copytree(PERSON, folder / "someone")
    for name in ("no_face", "corrupt", "nothing"):
        (folder / name).mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "no_face" / "noise.png")
    (folder / "corrupt" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    return folder


@pytest.fixture(scope="module")
def loras(server):
    folder = server.base / "output" / "loras"
    foreign = {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight": torch.ones(4, 320)}
    save_file(foreign, folder / "for_sd15.safetensors")
    return folder


def sentence(server, graph) -> PromptError:
    with pytest.raises(PromptError) as caught:
        server.run(graph, timeout=120)
    return caught.value


def test_second_queue_of_the_same_training_does_not_retrain(server, photos):
    graph = train_graph(identity={"folder": "someone"})
    first = server.run(graph, timeout=120)
    again = server.run(graph, timeout=120)
    assert "train" not in first.cached and "train" in again.cached


def test_changed_picture_retrains(server, photos):
    graph = train_graph(identity={"folder": "someone"}, train={"seed": 5})
    server.run(graph, timeout=120)
    shutil.copy(ROOT / "demo" / "identities" / "Bina" / "1.png", photos / "someone" / "1.png")
    assert "train" not in server.run(graph, timeout=120).cached


def test_cancel_answers_at_once_and_the_work_can_be_resumed(server, loras):
    texts = []

    def cancel(kind, data):
        if kind == "text":
            if "Training: step" in data["text"] and not any("Training: step" in text for text in texts):
                server.interrupt()
            texts.append(data["text"])

    graph = train_graph(train={"steps": 5000, "filename_prefix": "loras/cancelled"})
    with pytest.raises(PromptError) as caught:
        server.run(graph, timeout=120, on_event=cancel)
    assert caught.value.kind == "interrupted"
    saved = next(loras.glob("cancelled_*.safetensors"))
    assert any(saved.name in text and text.startswith("Cancelled at step") for text in texts)

    done = int(next(text for text in texts if text.startswith("Cancelled")).split("step ")[1].split(";")[0])
    server.run(train_graph(train={"steps": done + 1, "existing_lora": saved.name}), timeout=120)
    error = sentence(server, train_graph(train={"steps": done, "existing_lora": saved.name, "seed": 1}))
    assert f"already has {done + 1} steps; raise steps" in str(error)


def test_outputs_fit_the_core_training_nodes(server):
    """One step and a constant loss break the core's graph node unless the map is made for it."""
    graph = train_graph(
        train={"steps": 1},
        graph={"class_type": "LossGraphNode", "inputs": {"loss": ["train", 1], "filename_prefix": "loss"}},
        save={"class_type": "SaveLoRA", "inputs": {"lora": ["train", 0], "prefix": "loras/core", "steps": ["train", 2]}},
        load={
            "class_type": "LoraModelLoader",
            "inputs": {"model": ["demo", 0], "lora": ["train", 0], "strength_model": 1.0, "bypass": False},
        },
        late={
            "class_type": "PersonalVideoApplyLateStepLora",
            "inputs": {
                "model": ["load", 0],
                "lora": ["train", 0],
                "lora_name": "demo style noir.safetensors",
                "strength_model": 1.0,
                "start_percent": -1.0,
                "end_percent": -1.0,
            },
        },
        show={"class_type": "PreviewAny", "inputs": {"source": ["late", 0]}},
    )
    run = server.run(graph, timeout=120)
    assert run.files("graph")
    assert list((server.base / "output" / "loras").glob("core_1_steps_*"))


def test_any_plain_lora_gets_a_window(server):
    run = server.run(sample_graph(), timeout=120)
    assert server.view(run.files("save")[0]).startswith(b"RIFF")


# mistake: (graph, parts of the sentence that the user reads)
MISTAKES = {
    "photo without a face": (
        train_graph(identity={"folder": "no_face"}),
        ["knows only the demo's drawn people", "noise.png shows no face"],
    ),
    "corrupt photo": (train_graph(identity={"folder": "corrupt"}), ["no photo can be used", "broken.jpg"]),
    "no folder and no images": (train_graph(identity={"folder": "[None]"}), ["choose a folder with photos"]),
    "folder that is gone": (train_graph(identity={"folder": "gone"}), ["folder: gone is not there any more"]),
    "prompts without the trigger word": (
        train_graph(train={"prompts": PROMPTS + "\na person in a room"}),
        ["does not contain the trigger word sks"],
    ),
    "one prompt only": (train_graph(train={"prompts": "a sks person"}), ["prompts: at least 2 lines are needed"]),
    "width the VAE cannot represent": (train_graph(train={"width": 60}), ["width: 60 is not a multiple of 16; use 48 or 64"]),
    "file name outside the LoRA folders": (
        train_graph(train={"filename_prefix": "../outside"}),
        ['filename_prefix: "../outside" is no file name in a folder that LoRA lists show'],
    ),
    "no LoRA chosen": (sample_graph(apply={"lora_name": "[None]"}), ["lora_name: choose a LoRA"]),
    "empty trigger word": (train_graph(train={"trigger_word": " "}), ["trigger_word: it is empty"]),
    "window without a step": (train_graph(train={"start_percent": 0.99}), ["none of the 8 sampling steps lies after 0.99"]),
    "resume without the optimizer state": (
        train_graph(train={"existing_lora": "demo style noir.safetensors"}),
        ["was not written by Train PersonalVideo Adapter"],
    ),
    "LoRA of another family": (
        sample_graph(apply={"lora_name": "for_sd15.safetensors"}),
        ["for_sd15.safetensors holds no weights for a WAN21 model"],
    ),
    "window that ends before it starts": (
        sample_graph(apply={"start_percent": 0.8, "end_percent": 0.5}),
        ["start_percent: the window starts at 0.8, after its end 0.5"],
    ),
    "image VAE with a video model": (
        sample_graph(
            image_vae={"class_type": "VAELoader", "inputs": {"vae_name": "pixel_space"}}, sample={"vae": ["image_vae", 0]}
        ),
        ["vae: this is an image VAE; connect the video VAE"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_gets_its_sentence(server, photos, loras, mistake):
    graph, parts = MISTAKES[mistake]
    error = sentence(server, graph)
    for part in parts:
        assert part in str(error)
    assert "Traceback" not in str(error) and error.node_type.startswith("PersonalVideo")
