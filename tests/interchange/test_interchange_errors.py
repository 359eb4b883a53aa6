"""What cannot be converted is refused in one sentence that names the file and the reason."""

import importlib
import json

import pytest
import torch
from safetensors.torch import save_file

WAN = "diffusion_model.blocks.0.self_attn.q"
PEFT_KEY = "base_model.model.blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def interchange(pack):
    return importlib.import_module(".interchange", pack.__name__)


@pytest.fixture
def ours(tmp_path):
    """Writes someone.safetensors; ``tensors`` and ``info`` replace what a sound adapter has."""

    def write(tensors=None, **info):
        path = tmp_path / "someone.safetensors"
        text = json.dumps({"base_model": "wan", "start_percent": 0.75, "end_percent": 1.0} | info)
        save_file(tensors or pair(WAN), path, metadata={"personalvideo": text})
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    """Writes a PEFT folder; ``settings`` replace what a plain LoRA has."""

    def write(tensors=None, **settings):
        path = tmp_path / "peft"
        path.mkdir()
        save_file(tensors or pair(PEFT_KEY), path / "adapter_model.safetensors", metadata={"format": "pt"})
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["to_q"]} | settings
        (path / "adapter_config.json").write_text(json.dumps(config))
        return path

    return write


def pair(name, down="lora_A", up="lora_B", rows=8):
    return {f"{name}.{down}.weight": torch.ones(2, 8), f"{name}.{up}.weight": torch.ones(rows, 2)}


def refusal(convert, *arguments, **options) -> str:
    with pytest.raises(ValueError) as raised:
        convert(*arguments, **options)
    message = str(raised.value)
    assert "\n" not in message and message.endswith(".")
    return message


def test_lora_of_another_trainer(interchange, tmp_path):
    save_file(pair(WAN), tmp_path / "style.safetensors")
    message = refusal(interchange.to_peft, tmp_path / "style.safetensors", tmp_path / "out")
    assert message.startswith("style.safetensors was not made by Train PersonalVideo Adapter")
    assert not (tmp_path / "out").exists()


def test_damaged_missing_and_pickled_files(interchange, ours, tmp_path):
    path = ours()
    path.write_bytes(path.read_bytes()[:-10])
    assert refusal(interchange.to_diffusers, path, tmp_path / "out").startswith("someone.safetensors is damaged")
    assert "nobody.safetensors does not exist" in refusal(
        interchange.to_diffusers, tmp_path / "nobody.safetensors", tmp_path / "out"
    )
    (tmp_path / "someone.bin").write_bytes(b"")
    assert "someone.bin is not a .safetensors file" in refusal(interchange.to_peft, tmp_path / "someone.bin", tmp_path / "out")


def test_metadata_that_cannot_be_read(interchange, tmp_path):
    for text in ("{", "[]", '{"base_model": "wan"}'):
        save_file(pair(WAN), tmp_path / "a.safetensors", metadata={"personalvideo": text})
        message = refusal(interchange.to_peft, tmp_path / "a.safetensors", tmp_path / "out")
        assert message.startswith("a.safetensors carries unreadable personalvideo metadata")


def test_another_family(interchange, ours, folder, tmp_path):
    message = refusal(interchange.to_peft, ours(base_model="mochi"), tmp_path / "out")
    assert "was made for mochi, which is none of sd15, hunyuan_video_15" in message
    message = refusal(interchange.to_peft, ours(base_model="ltxv"), tmp_path / "out")
    assert f"{WAN} is no query, key or value of LTX-Video; choose an adapter made for that family" in message
    message = refusal(interchange.from_peft, folder(), tmp_path / "out.safetensors", family="hunyuan_video")
    assert "blocks.0.attn1.to_q is no query, key or value of HunyuanVideo" in message


def test_family_that_nothing_tells(interchange, folder, ours, tmp_path):
    path = folder()
    assert "adapter_model.safetensors does not say for which base model it was made; name its family: sd15" in refusal(
        interchange.from_peft, path, tmp_path / "out.safetensors"
    )
    interchange.from_peft(path, tmp_path / "out.safetensors", family="wan")
    interchange.to_diffusers(ours(), tmp_path / "d.safetensors")
    assert "d.safetensors was made for wan, not for ltxv; leave the family out" in refusal(
        interchange.from_diffusers, tmp_path / "d.safetensors", tmp_path / "back.safetensors", family="ltxv"
    )


@pytest.mark.parametrize(
    "rows, value, reason", [(40, 0.0, "has 40 rows where 8 inputs need 56"), (56, 1.0, "also changes the MLP")]
)
def test_fused_linear_that_is_not_only_q_k_v(interchange, ours, tmp_path, rows, value, reason):
    name = "diffusion_model.single_blocks.0.linear1"
    tensors = {f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.full((rows, 2), value)}
    message = refusal(interchange.to_peft, ours(tensors, base_model="hunyuan_video"), tmp_path / "out")
    assert f"{name} {reason}" in message


@pytest.mark.parametrize(
    "extra, named",
    [
        ({f"{WAN}.dora_scale": torch.ones(8)}, f"{WAN}.dora_scale"),
        ({f"{WAN}.diff_b": torch.ones(8)}, f"{WAN}.diff_b"),
        ({"diffusion_model.blocks.1.self_attn.q.lora_A.weight": torch.ones(2, 8)}, "blocks.1.self_attn.q"),
        ({"diffusion_model.blocks.1.self_attn.k.lora_B.weight": torch.ones(8, 2)}, "blocks.1.self_attn.k"),
    ],
)
def test_weights_that_are_no_plain_pair(interchange, ours, tmp_path, extra, named):
    message = refusal(interchange.to_peft, ours(pair(WAN) | extra), tmp_path / "out")
    assert message.startswith("someone.safetensors holds") and named in message


def test_folder_without_its_files(interchange, folder, tmp_path):
    path = folder()
    (path / "adapter_model.safetensors").unlink()
    assert "adapter_model.safetensors does not exist" in refusal(interchange.from_peft, path, tmp_path / "out.safetensors")
    (path / "adapter_config.json").write_text("{")
    assert "adapter_config.json is damaged" in refusal(interchange.from_peft, path, tmp_path / "out.safetensors")
    (path / "adapter_config.json").unlink()
    assert f"{path} has no adapter_config.json" in refusal(interchange.from_peft, path, tmp_path / "out.safetensors")


@pytest.mark.parametrize(
    "setting, named",
    [
        ({"use_dora": True}, "DoRA (use_dora)"),
        ({"use_rslora": True}, "rank-stabilized LoRA (rslora) (use_rslora)"),
        ({"lora_bias": True}, "biases (lora_bias)"),
        ({"bias": "lora_only"}, "biases (bias='lora_only')"),
        ({"modules_to_save": ["proj_out"]}, "whole modules (modules_to_save)"),
        ({"init_lora_weights": "pissa_niter_4"}, "a changed base model (init_lora_weights='pissa_niter_4')"),
    ],
)
def test_variants_of_lora_are_named(interchange, folder, tmp_path, setting, named):
    message = refusal(interchange.from_peft, folder(**setting), tmp_path / "out.safetensors", family="wan")
    assert message.startswith(f"peft uses {named}, which our files cannot represent")


def test_adapter_of_another_kind(interchange, folder, tmp_path):
    message = refusal(interchange.from_peft, folder(peft_type="LOKR"), tmp_path / "out.safetensors", family="wan")
    assert "describes a LOKR adapter; only LORA can be converted" in message


def test_nothing_is_overwritten(interchange, ours, tmp_path):
    path = ours()
    (tmp_path / "out").mkdir()
    assert "out exists already" in refusal(interchange.to_peft, path, tmp_path / "out")
    interchange.to_diffusers(path, tmp_path / "d.safetensors")
    assert "someone.safetensors exists already" in refusal(interchange.from_diffusers, tmp_path / "d.safetensors", path)


def test_name_that_the_host_would_not_list(interchange, folder, tmp_path):
    assert "out.pt must end in .safetensors" in refusal(interchange.from_peft, folder(), tmp_path / "out.pt", family="wan")


def test_window_of_a_file_that_has_none(interchange, folder):
    assert "give start_percent and end_percent yourself" in refusal(interchange.window_of, folder())


def test_command_ends_with_the_sentence_alone(pack, tmp_path):
    command = importlib.import_module(".interchange.__main__", pack.__name__)
    with pytest.raises(SystemExit) as stopped:
        command.main(["to-peft", str(tmp_path / "nobody.safetensors"), str(tmp_path / "out")])
    assert stopped.value.code == f"{tmp_path / 'nobody.safetensors'} does not exist; check the name."
