"""The adapter's file: an ordinary LoRA for the core, a window for us, never half written."""

import json
import logging
import math
import re

import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from safetensors.torch import save_file

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
    assert trained.prompts[-1] == PROMPTS[-1] and trained.before.shape == trained.after.shape


QUERY = "diffusion_model.blocks.0.self_attn.q"


def query_lora(down, up, **more) -> dict:
    return {f"{QUERY}.lora_A.weight": down, f"{QUERY}.lora_B.weight": up} | more


NOT_BELONGING = "is damaged: its matrices at .* which do not belong together; choose another file"
NO_NUMBERS = "holds values that are no numbers .* choose another file, or train it again"
NO_WEIGHTS = "holds no weights for a WAN21 model"
NO_LORA = r"is no LoRA that can be read \(.+\); choose another file"


@pytest.mark.parametrize(
    ("lora", "sentence"),
    [
        (query_lora(torch.ones(4, 256), torch.ones(256, 2)), NOT_BELONGING),
        (query_lora(torch.ones(0, 256), torch.ones(256, 0)), NOT_BELONGING),
        (query_lora(torch.ones(256), torch.ones(256)), NOT_BELONGING),
        (query_lora(torch.ones(4, 256), torch.ones(256, 4, 3)), NOT_BELONGING),
        (query_lora(torch.full((4, 256), torch.nan), torch.ones(256, 4)), NO_NUMBERS),
        (query_lora(torch.ones(4, 256), torch.full((256, 4), torch.inf)), NO_NUMBERS),
        (query_lora(torch.ones(4, 256), torch.ones(256, 4), **{f"{QUERY}.alpha": torch.tensor(torch.nan)}), NO_NUMBERS),
        (query_lora(torch.ones(4, 256), torch.ones(256, 4), **{f"{QUERY}.alpha": torch.ones(3)}), NO_LORA),
        ({f"{QUERY}.lora_B.weight": torch.ones(256, 4)}, NO_LORA),
        (query_lora("text", [1]), NO_WEIGHTS),
        ({1: torch.ones(2)}, NO_WEIGHTS),
    ],
)
def test_a_lora_whose_parts_make_no_residual_is_refused(demo, lora, sentence):
    with pytest.raises(ValueError, match=f"^lora_name: the connected LoRA ({sentence})"):
        demo.apply(demo.model, lora)


def test_a_pickled_lora_is_refused_without_advice_to_run_it(demo, tmp_path, monkeypatch):
    torch.save({"a": torch.nn.Linear(1, 1)}, tmp_path / "evil.pt")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".pt"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    with pytest.raises(ValueError) as refusal:
        demo.pack.nodes.apply_late_step_lora.ApplyLateStepLora.execute(demo.model, "evil.pt", 1.0, -1.0, -1.0)
    assert str(refusal.value) == (
        "lora_name: evil.pt cannot be read (it holds more than plain weights, which is not loaded because it could run code); "
        "choose another file."
    )


def note(**changes) -> str:
    """What a file says about itself, with some of it changed, or left out where the change is None."""
    stored = {
        "base_model": "wan", "start_percent": 0.75, "end_percent": 1, "switch_sigma": 0.7, "rank": 4, "alpha": 4.0,
        "trigger_word": "sks", "steps": 3, "settings": {},
    }  # fmt: skip
    return json.dumps({name: value for name, value in (stored | changes).items() if value is not None})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value: line 1 column 1 .char 0."),
        ("{", "Expecting property name .*"),
        ("[" * 100_000, "maximum recursion depth exceeded.*"),
        ("[]", "its note is no JSON object"),
        (note(rank=None), "rank is missing"),
        (note(start_percent="0.75"), 'start_percent is "0.75"'),
        (note(start_percent=[]), "start_percent is a list"),
        (note(end_percent=math.nan), "end_percent is nan"),
        (note(switch_sigma=math.inf), "switch_sigma is inf"),
        (note(alpha=True), "alpha is True"),
        (note(rank=4.5), "rank is 4.5"),
        (note(steps="many"), 'steps is "many"'),
        (note(settings=[]), "settings is a list"),
        (note(trigger_word=5), "trigger_word is 5"),
    ],
)
def test_a_note_that_cannot_be_understood_is_refused(pack, tmp_path, text, reason):
    save_file({"a": torch.zeros(1)}, tmp_path / "odd.safetensors", {"personalvideo": text})
    with pytest.raises(ValueError) as refusal:
        pack.adapters.lora_file.load_info(tmp_path / "odd.safetensors")
    start = re.escape("lora_name: odd.safetensors says nothing that can be understood about its window (")
    assert re.fullmatch(rf"{start}{reason}\); choose another file, or train it again\.", str(refusal.value))


def test_a_note_of_another_version_is_read(pack, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "newer.safetensors", {"personalvideo": note(invented_later=1)})
    assert pack.adapters.lora_file.load_info(tmp_path / "newer.safetensors").end_percent == 1.0


def test_a_lora_that_has_become_a_folder_is_named_without_its_place(pack, tmp_path):
    (tmp_path / "odd.safetensors").mkdir()
    with pytest.raises(ValueError, match=r"^lora_name: odd.safetensors is damaged \([^/]+\); choose") as refusal:
        pack.adapters.lora_file.load_info(tmp_path / "odd.safetensors")
    assert str(tmp_path) not in str(refusal.value)
