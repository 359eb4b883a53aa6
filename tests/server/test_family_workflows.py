"""Every family's workflows run from beginning to end in the server, on tiny files under the names that they give.

What a test changes in a workflow is listed in ``CHANGES``; everything else is what a user runs.
"""

import json
from functools import partial
from pathlib import Path

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from devkit import tiny_text_encoders as tiny
from devkit.comfy_host import ROOT
from devkit.comfy_server import ComfyServer
from devkit.tiny_models import diffusion_state, load_model, write_diffusion_model
from devkit.tiny_motion import write_motion_module
from devkit.workflow_api import to_api
from tools.workflows import files as published
from tools.workflows.table import FAMILIES

TINY_HOST = ROOT / "devkit" / "tiny_host"

CHANGES = {
    # sizes
    ("PersonalVideoTrainAdapter", "steps"): lambda value: 2,
    ("PersonalVideoTrainAdapter", "sampling_steps"): lambda value: 4,
    ("PersonalVideoSampleVideo", "steps"): lambda value: 4,
    ("KSamplerAdvanced", "steps"): lambda value: 4,
    ("KSamplerAdvanced", "start_at_step"): lambda value: min(value, 2),
    ("KSamplerAdvanced", "end_at_step"): lambda value: value if value >= 1000 else 2,
    ("*", "width"): lambda value: 64,
    ("*", "height"): lambda value: 64,
    ("*", "length"): lambda value: {16: 4}.get(value, 9 if value == 49 else 5),
    # choices that need photographs or weights that cannot be had here
    ("PersonalVideoLoadFaceModel", "model_name"): lambda value: "demo",
    ("PersonalVideoLoadIdentityImages", "folder"): lambda value: "demo/Aro",
    ("PersonalVideoLoadSemanticReward", "model_name"): lambda value: "demo",
}
"""(node, input) -> its new value from the old one. In addition, TinyFaceInTheMiddle comes between identity and training,
since random weights paint no faces, and each family gets its own style LoRA."""

DIFFUSION_MODELS = {
    published.HUNYUAN_MODEL: ("hunyuan_video", 0), published.HUNYUAN_15_MODEL: ("hunyuan_video_15", 0),
    published.WAN_21_MODEL: ("wan21", 0), published.WAN_22_HIGH: ("wan22_14b", 1), published.WAN_22_LOW: ("wan22_14b", 0),
    published.WAN_22_5B: ("wan22_5b", 0), published.COGVIDEOX_MODEL: ("cogvideox", 0),
}  # fmt: skip
TEXT_ENCODERS = {
    published.CLIP_L: tiny.clip_l, published.T5: tiny.t5xxl, published.UMT5: tiny.umt5xxl, published.LLAVA: tiny.llama,
    published.QWEN: tiny.qwen25, published.BYT5: tiny.byt5,
}  # fmt: skip
VAES = {
    published.SD_VAE: "image", published.HUNYUAN_VAE: "hunyuan", published.HUNYUAN_15_VAE: "hunyuan 1.5",
    published.WAN_21_VAE: "wan 2.1", published.WAN_22_VAE: "wan 2.2", published.COGVIDEOX_VAE: "cogvideo",
}  # fmt: skip
CHECKPOINTS = {published.REALISTIC_VISION: "sd15", published.LTXV: "ltxv"}
FAMILY_OF = {file.name: name for file, (name, _) in DIFFUSION_MODELS.items()} | {
    file.name: name for file, name in CHECKPOINTS.items()
}


@pytest.fixture(scope="module")
def writers(tmp_path_factory):
    """published file -> what writes its tiny counterpart to a path."""
    made = {}
    for file, (name, seed) in DIFFUSION_MODELS.items():
        write = write_scaled if file.scaled else write_diffusion_model
        made[file] = partial(write, name, seed=seed, context_dim=tiny.CONTEXT_DIM)
    made |= {file: partial(tiny.write_text_encoder, build) for file, build in TEXT_ENCODERS.items()}
    made |= {file: partial(tiny.write_vae, name) for file, name in VAES.items()}
    made |= {file: partial(tiny.write_checkpoint, name) for file, name in CHECKPOINTS.items()}
    network = load_model("sd15", tmp_path_factory.mktemp("sd15")).model.diffusion_model
    made[published.MOTION_V3] = lambda path: write_motion_module(path, network, version="v3")
    return made


@pytest.fixture(scope="module")
def tiny_server(pytestconfig, tmp_path_factory, writers):
    """A server of its own in which every published file that a workflow names is there, tiny."""
    base = tmp_path_factory.mktemp("tiny server")
    for file, write in writers.items():
        (base / "models" / file.directory).mkdir(parents=True, exist_ok=True)
        write(base / "models" / file.directory / file.name)
    with ComfyServer(pytestconfig.host, base, more_packs=(TINY_HOST,)) as running:
        yield running


def write_scaled(name: str, path: Path, seed: int, context_dim: int) -> None:
    """As published with "fp8_scaled" in the name: the matrices of the blocks in 8 bits, with a scale each."""
    write_diffusion_model(name, path, seed=seed, context_dim=context_dim)
    with safe_open(path, "pt") as file:
        names, metadata = file.keys(), file.metadata()  # the handle itself cannot be iterated
        state = {name: file.get_tensor(name) for name in names}
    for key in [key for key, weight in state.items() if "blocks." in key and weight.ndim == 2]:
        scale = state[key].abs().max() / torch.finfo(torch.float8_e4m3fn).max
        state[key] = (state[key] / scale).to(torch.float8_e4m3fn)
        state[key.replace(".weight", ".scale_weight")] = scale
    save_file(state | {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}, path, metadata=metadata)


def style_lora(family: str) -> dict[str, torch.Tensor]:
    """A random LoRA on the feed-forward matrices of the family's network."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for key, weight in diffusion_state(family).items():
        if weight.ndim == 2 and key.endswith(".weight") and any(part in key for part in (".ff", "mlp", "linear1")):
            name = f"diffusion_model.{key.removesuffix('.weight')}"
            tensors[f"{name}.lora_A.weight"] = torch.randn(2, weight.shape[1], generator=generator) * 0.05
            tensors[f"{name}.lora_B.weight"] = torch.randn(weight.shape[0], 2, generator=generator) * 0.05
    assert tensors
    return tensors


def prompt_of(server, title: str) -> dict:
    workflow = json.loads((ROOT / "workflows" / f"{title}.json").read_text(encoding="utf-8"))
    graph = to_api(workflow, server.object_info())
    for node in graph.values():
        for name, value in node["inputs"].items():
            change = CHANGES.get((node["class_type"], name)) or CHANGES.get(("*", name))
            if change and not isinstance(value, list):
                node["inputs"][name] = change(value)
    for train in of_kind(graph, "PersonalVideoTrainAdapter"):
        graph["middle"] = {"class_type": "TinyFaceInTheMiddle", "inputs": {"identity": train["identity"]}}
        train["identity"] = ["middle", 0]
    return graph


def of_kind(graph: dict, *kinds: str) -> list[dict]:
    return [node["inputs"] for node in graph.values() if node["class_type"] in kinds]


def complaints(server, start: int) -> list[str]:
    """Lines of the log since ``start`` [bytes] that say that weights were left out."""
    lines = server.log.read_bytes()[start:].decode(errors="replace").splitlines()
    wrong = ("lora key not loaded", "NOT LOADED", "Missing VAE keys", "clip missing", "unet missing")
    return [line for line in lines if any(word in line for word in wrong) and "visual." not in line]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.title)
def test_family_is_trained_and_sampled_by_its_workflows(tiny_server, family):
    """The LoRA that the first workflow saves is the one that the other two name."""
    start = tiny_server.log.stat().st_size
    train = prompt_of(tiny_server, f"{family.title} 1 - Train an identity")
    run = tiny_server.run(train, timeout=120)
    assert len(run.files()) >= 3  # graph, faces, before and after
    loras = tiny_server.base / "output" / "loras"
    trained = load_file(loras / family.lora)
    learned = [weight for key, weight in trained.items() if "lora_B" in key or "lora_up" in key]
    assert learned and all(torch.isfinite(weight).all() and weight.abs().sum() > 0 for weight in learned)

    loader = of_kind(train, "UNETLoader", "CheckpointLoaderSimple")[0]
    name = FAMILY_OF[loader.get("unet_name") or loader["ckpt_name"]]
    save_file(style_lora(name), loras / f"style {name}.safetensors")
    for title in ("2 - Sample with identity", "3 - Identity and style LoRA"):
        graph = prompt_of(tiny_server, f"{family.title} {title}")
        for inputs in of_kind(graph, "LoraLoader", "LoraLoaderModelOnly"):
            assert inputs["lora_name"] == published.STYLE
            inputs["lora_name"] = f"style {name}.safetensors"
        (video,) = tiny_server.run(graph, timeout=120).files()
        assert tiny_server.view(video)[4:8] == b"ftyp"
    assert not complaints(tiny_server, start)


def test_every_template_is_listed_by_the_host(tiny_server):
    listed = tiny_server.get("/workflow_templates").json()["ComfyUI-PersonalVideo"]
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "workflows").glob("*.json"))
    assert {f"{family.title} {number}" for family in FAMILIES for number in (1, 2, 3)} == {
        title.split(" - ")[0] for title in listed if not title.startswith("Demo")
    }


def test_the_experts_hand_over_where_the_high_noise_one_ends(pack, tmp_path):
    """The fixed step of the sampling workflow is the one that training computes from the noise level."""
    workflow = json.loads((ROOT / "workflows" / "Wan 2.2 14B 2 - Sample with identity.json").read_text(encoding="utf-8"))
    widgets = {node["type"]: node["widgets_values"] for node in workflow["nodes"]}
    first, second = (node["widgets_values"] for node in workflow["nodes"] if node["type"] == "KSamplerAdvanced")
    _, _, _, steps, _, _, scheduler, start, end, _ = first
    model = load_model("wan22_14b", tmp_path)
    (model,) = ModelSamplingSD3().patch(model, widgets["ModelSamplingSD3"][0])
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
    assert (start, end) == (0, pack.training.schedule.early_steps(sigmas)) and second[7] == end
