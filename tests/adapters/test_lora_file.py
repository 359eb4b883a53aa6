"""The adapter's file: an ordinary LoRA for the core, a window for us, never half written."""

import logging

import comfy.sd
import comfy.utils
import pytest
import torch

from devkit.demo_world import PROMPTS


@pytest.fixture(scope="module")
def trained(demo, tmp_path_factory):
    return demo.train(tmp_path_factory.mktemp("lora") / "someone.safetensors", learning_rate=1e-2)


@pytest.mark.parametrize("loader", ["load_lora_for_models", "load_bypass_lora_for_models"])
def test_core_loads_every_key(demo, trained, loader, caplog):
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        tensors = comfy.utils.load_torch_file(str(trained.lora_path), safe_load=True)
        model, _ = getattr(comfy.sd, loader)(demo.model, None, tensors, 1.0, 0.0)
    assert "not loaded" not in caplog.text.lower()
    whole_range = demo.apply(demo.model, trained.lora(), start=0.0)
    assert (demo.sample(model) - demo.sample(whole_range)).abs().max() < 1e-3
    assert (demo.sample(model) - demo.sample(demo.model)).abs().max() > 1e-2


def test_file_carries_window_and_settings(pack, trained):
    info = pack.adapters.lora_file.load_info(trained.lora_path)
    assert (info.start_percent, info.end_percent, info.rank, info.trigger_word) == (0.75, 1.0, 4, "sks")
    assert info.base_model == "wan" and info.steps == 3
    assert info.switch_sigma == pytest.approx(8 * 0.25 / (1 + 7 * 0.25))
    assert info.settings["learning_rate"] == 1e-2


def test_file_carries_how_training_named_the_person_and_apply_hands_it_on(demo, pack, tmp_path):
    run = demo.train(tmp_path / "someone.safetensors", steps=1, description="a sks person, an old man")
    assert pack.adapters.lora_file.load_info(run.lora_path).description == "a sks person, an old man"
    apply = pack.nodes.apply_late_step_lora.ApplyLateStepLora.execute
    with torch.inference_mode():
        named = [apply(demo.model, "", strength, -1.0, -1.0, run.lora()).args[1] for strength in (1.0, 0.0)]
        plain = apply(demo.model, "", 1.0, -1.0, -1.0, dict(run.lora())).args[1]
    assert (named, plain) == (["a sks person, an old man"] * 2, "")


def test_apply_takes_the_window_from_the_file(demo, trained):
    explicit = demo.apply(demo.model, trained.lora(), start=0.75, end=1.0)
    from_file = demo.apply(demo.model, trained.lora(), start=-1.0, end=-1.0)
    assert torch.equal(demo.sample(from_file), demo.sample(explicit))


def test_kohya_keys_get_a_window_too(demo):
    ours = demo.random_lora()
    kohya = {
        "lora_unet_"
        + key.removeprefix("diffusion_model.").replace(".lora_A.weight", "").replace(".lora_B.weight", "").replace(".", "_")
        + (".lora_down.weight" if "lora_A" in key else ".lora_up.weight"): value
        for key, value in ours.items()
    }
    assert torch.equal(demo.sample(demo.apply(demo.model, kohya)), demo.sample(demo.apply(demo.model, ours)))


def test_lora_of_another_family_is_refused_by_name(demo):
    foreign = {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight": torch.ones(4, 320)}
    with pytest.raises(ValueError, match="holds no weights for a WAN21 model; choose a LoRA"):
        demo.apply(demo.model, foreign)


def test_lora_of_another_size_is_refused_with_both_shapes(demo):
    big = {
        "diffusion_model.blocks.0.self_attn.q.lora_A.weight": torch.ones(4, 1536),
        "diffusion_model.blocks.0.self_attn.q.lora_B.weight": torch.ones(1536, 4),
    }
    with pytest.raises(ValueError, match=r"\(256, 256\) here and \(1536, 1536\)"):
        demo.apply(demo.model, big)


def test_failed_write_leaves_the_old_file_whole(pack, tmp_path, monkeypatch):
    path = tmp_path / "someone.safetensors"
    path.write_bytes(b"old")
    lora_file = pack.adapters.lora_file

    def full_disk(handle):
        raise OSError("disk full")

    monkeypatch.setattr(lora_file.os, "fsync", full_disk)
    with pytest.raises(OSError, match="disk full"):
        lora_file.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["someone.safetensors"]


def test_held_out_prompt_is_the_last_one(trained):
    assert trained.prompts[-1] == PROMPTS[-1] and trained.result.before.shape == trained.result.after.shape
