"""The adapter's file, a PEFT folder and a diffusers LoRA file hold the same matrices: there and back is exact."""

import importlib
import json
import os
import subprocess
import sys

import diffusers
import pytest
import safetensors.torch
import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from torch import nn

from devkit.comfy_host import ROOT
from devkit.tiny_adapter import save_random_adapter
from devkit.tiny_models import load_model

CLASSES = {
    "sd15": diffusers.UNetMotionModel,
    "hunyuan_video": diffusers.HunyuanVideoTransformer3DModel,
    "hunyuan_video_15": diffusers.HunyuanVideo15Transformer3DModel,
    "wan21": diffusers.WanTransformer3DModel,
    "wan22_5b": diffusers.WanTransformer3DModel,
    "ltxv": diffusers.LTXVideoTransformer3DModel,
    "cogvideox": diffusers.CogVideoXTransformer3DModel,
}


@pytest.fixture(scope="module")
def interchange(pack):
    return importlib.import_module(".interchange", pack.__name__)


@pytest.fixture(scope="module", params=list(CLASSES))
def adapter(pack, request, tmp_path_factory):
    """A file like the trainer's, named after its family."""
    folder = tmp_path_factory.mktemp("adapter")
    return save_random_adapter(pack, load_model(request.param, folder), folder / f"{request.param}_adapter.safetensors")


def read(path):
    with safe_open(path, framework="pt") as file:
        names = file.keys()  # the handle itself cannot be iterated
        return {name: file.get_tensor(name) for name in names}, file.metadata()


def same(left, right):
    (tensors, header), (others, other_header) = read(left), read(right)
    return (
        header == other_header
        and tensors.keys() == others.keys()
        and all(torch.equal(tensors[key], others[key]) and tensors[key].dtype == others[key].dtype for key in tensors)
    )


def test_every_family_that_trains_has_names_for_interchange(pack, interchange):
    families = interchange.families.FAMILIES
    architectures = pack.adapters.architectures.ARCHITECTURES
    assert families.keys() == {architecture.name for architecture in architectures}
    for architecture in architectures:
        assert families[architecture.name].kohya == architecture.kohya_keys
        assert families[architecture.name].title == architecture.title
    assert interchange.tensor_file.METADATA_KEY == pack.adapters.lora_file.METADATA_KEY


@pytest.mark.parametrize(
    "there, back, name", [("to_peft", "from_peft", "folder"), ("to_diffusers", "from_diffusers", "file.safetensors")]
)
def test_there_and_back_is_exact(interchange, adapter, tmp_path, there, back, name):
    getattr(interchange, there)(adapter, tmp_path / name)
    getattr(interchange, back)(tmp_path / name, tmp_path / "back.safetensors")
    assert same(tmp_path / "back.safetensors", adapter)


def test_exported_modules_are_linears_of_the_diffusers_model(interchange, adapter, tmp_path):
    interchange.to_peft(adapter, tmp_path / "folder")
    targets = json.loads((tmp_path / "folder" / "adapter_config.json").read_text())["target_modules"]
    with torch.device("meta"):
        model = CLASSES[adapter.name.removesuffix("_adapter.safetensors")]()
    modules = dict(model.named_modules())
    assert targets and all(isinstance(modules[name], nn.Linear) for name in targets)
    assert not any("motion_modules" in name or "attn2" in name for name in targets)


def test_separate_parts_of_a_fused_linear_keep_their_residuals(interchange, tmp_path):
    """peft trains an A for each of q and k, here with different ranks and alphas, and no v at all."""
    base = nn.ModuleDict({"single_transformer_blocks": nn.ModuleList([nn.ModuleDict({
        "attn": nn.ModuleDict({name: nn.Linear(8, 8, bias=False) for name in ("to_q", "to_k", "to_v")})
    })])})  # fmt: skip
    config = LoraConfig(
        r=2,
        lora_alpha=3,
        target_modules=["to_q", "to_k"],
        init_lora_weights=False,
        rank_pattern={"to_k": 4},
        alpha_pattern={"to_k": 5},
    )
    model = get_peft_model(base, config)
    model.save_pretrained(tmp_path / "folder")
    interchange.from_peft(tmp_path / "folder", tmp_path / "ours.safetensors", family="hunyuan_video")
    ours, header = read(tmp_path / "ours.safetensors")
    linear = "diffusion_model.single_blocks.0.linear1"
    down, up, alpha = (ours[f"{linear}.{part}"] for part in ("lora_A.weight", "lora_B.weight", "alpha"))
    assert down.shape == (6, 8) and up.shape == (56, 6) and header == {"format": "pt"}
    residual = alpha / len(down) * up @ down
    attention = model.base_model.model["single_transformer_blocks"][0]["attn"]
    for index, name in enumerate(("to_q", "to_k")):
        expected = attention[name].get_delta_weight("default")
        assert (residual[index * 8 : (index + 1) * 8] - expected).abs().max() < 1e-6
    assert not residual[16:].any()


def test_parts_that_share_a_but_not_alpha_keep_their_residuals(interchange):
    down, ups = torch.randn(2, 8), torch.randn(3, 8, 2)
    parts = {
        f"transformer_blocks.0.attn.{name}": interchange.fused.Matrices(down, up, alpha)
        for name, up, alpha in zip(("to_q", "to_k", "to_v"), ups, (1.0, 2.0, 2.0))
    }
    joined = interchange.fused.join(interchange.families.FAMILIES["hunyuan_video"], parts)
    (matrices,) = joined.values()
    residual = matrices.alpha / matrices.rank * matrices.up @ matrices.down
    expected = torch.cat([part.alpha / part.rank * part.up @ part.down for part in parts.values()])
    assert (residual - expected).abs().max() < 1e-5


def write_uneven_adapter(path):
    """Linears of different ranks and alphas, which the trainer never writes but a merge of files may."""
    tensors = {}
    for block, rank, alpha in ((0, 2, 1.0), (1, 2, 1.0), (11, 4, 0.1)):
        name = f"diffusion_model.blocks.{block}.self_attn.q"
        tensors |= {
            f"{name}.lora_A.weight": torch.randn(rank, 8),
            f"{name}.lora_B.weight": torch.randn(8, rank),
            f"{name}.alpha": torch.tensor(alpha),
        }
    info = json.dumps({"base_model": "wan", "start_percent": 0.75, "end_percent": 1.0})
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt", "personalvideo": info})
    return path


def test_linears_of_different_rank_and_alpha_keep_their_own(interchange, tmp_path):
    ours = write_uneven_adapter(tmp_path / "ours.safetensors")
    interchange.to_peft(ours, tmp_path / "folder")
    config = LoraConfig.from_pretrained(tmp_path / "folder")
    assert config.rank_pattern == {"blocks.11.attn1.to_q": 4} and config.r == 2
    assert config.alpha_pattern == {"blocks.11.attn1.to_q": pytest.approx(0.1)} and config.lora_alpha == 1.0
    interchange.from_peft(tmp_path / "folder", tmp_path / "back.safetensors")
    assert same(tmp_path / "back.safetensors", ours)


def test_adapter_that_a_diffusers_pipeline_saved_comes_back(interchange, adapter, tmp_path):
    """If diffusers saves it again, the window is lost and the family has to be named; the matrices stay."""
    interchange.to_diffusers(adapter, tmp_path / "file.safetensors")
    tensors, header = read(tmp_path / "file.safetensors")
    kept = {"format": "pt", "lora_adapter_metadata": header["lora_adapter_metadata"]}
    safetensors.torch.save_file(tensors, tmp_path / "saved.safetensors", metadata=kept)
    family = json.loads(header["personalvideo"])["base_model"]
    interchange.from_diffusers(tmp_path / "saved.safetensors", tmp_path / "back.safetensors", family=family)
    back, header = read(tmp_path / "back.safetensors")
    original = read(adapter)[0]
    assert header == {"format": "pt"} and all(torch.equal(back[key], original[key]) for key in original)


def test_command_works_without_the_host(interchange, tmp_path):
    ours, folder = write_uneven_adapter(tmp_path / "ours.safetensors"), tmp_path / "folder"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    line = [sys.executable, "-m", "interchange", "to-peft", str(ours), str(folder)]

    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    interchange.from_peft(folder, tmp_path / "back.safetensors")
    assert same(tmp_path / "back.safetensors", ours)
