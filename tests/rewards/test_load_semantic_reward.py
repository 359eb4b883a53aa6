"""Load Semantic Reward: which files it offers, and one sentence for each that it cannot use."""

import re
from pathlib import Path

import folder_paths
import pytest
import torch
from safetensors.torch import save_file
from test_clip_scorer import open_clip_model, saved, transformers_model


@pytest.fixture(scope="module")
def node(pack):
    return pack.nodes.load_semantic_reward.LoadSemanticReward


@pytest.fixture
def models(node, monkeypatch, tmp_path):
    """Empty folders reward and clip_vision instead of the host's."""
    folders = {name: tmp_path / name for name in ("reward", "clip_vision")}
    for name, folder in folders.items():
        folder.mkdir()
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([str(folder)], set()))
        folder_paths.filename_list_cache.pop(name, None)
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    yield folders
    for name in folders:
        folder_paths.filename_list_cache.pop(name, None)


def options(node):
    return node.define_schema().inputs[0].options


def test_the_folder_reward_belongs_to_the_models_beside_those_of_other_packs(node, tmp_path, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "reward", ([str(tmp_path)], set()))
    options(node)
    assert folder_paths.get_folder_paths("reward") == [str(tmp_path), str(Path(folder_paths.models_dir) / "reward")]


def test_files_of_both_folders_are_offered_once_after_the_demo(node, models):
    for name in (
        "reward/HPS_v2.1_compressed.pt",
        "reward/readme.md",
        "reward/b/PickScore.safetensors",
        "clip_vision/HPS_v2.1_compressed.pt",
        "clip_vision/vit-h.safetensors",
    ):
        path = models["reward"].parent / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    nested = str(Path("b") / "PickScore.safetensors")
    assert options(node) == ["demo", "HPS_v2.1_compressed.pt", nested, "vit-h.safetensors"]


def test_a_file_that_is_gone_is_named_before_the_run(node, models):
    answer = node.validate_inputs("HPS_v2.1_compressed.pt")
    assert answer == (
        "model_name: HPS_v2.1_compressed.pt is not there; put it into models/reward and refresh (R), or choose another file."
    )
    assert node.validate_inputs("demo") is True


@pytest.mark.parametrize(("folder", "logit_scale", "expected"), [("reward", 0.0, 100.0), ("clip_vision", 25.0, 25.0)])
def test_a_file_becomes_a_reward_with_its_own_or_the_chosen_logit_scale(node, models, folder, logit_scale, expected):
    saved(open_clip_model(), models[folder] / "HPS_small.pt")
    with torch.inference_mode():
        reward = node.execute("HPS_small.pt", logit_scale).args[0]
    assert reward.name == "HPS_small.pt" and reward.logit_scale == pytest.approx(expected)
    assert reward.encode_text(["a sks person"]).shape == (1, 48)


@pytest.mark.parametrize(("logit_scale", "factor"), [(0.0, None), (7.0, 7.0)])
def test_the_demo_scorer_takes_the_scale_as_well(node, demo, logit_scale, factor):
    reward = node.execute("demo", logit_scale).args[0]
    assert reward.logit_scale == (factor or demo.semantic_reward.logit_scale)


class Code:
    def __reduce__(self):
        return print, ("a checkpoint must never run code",)


def _vision_only(path):
    save_file({name: value for name, value in transformers_model().state_dict().items() if "vis" in name}, path)


def _open_clip_vision_only(path):
    torch.save({name: value for name, value in open_clip_model().state_dict().items() if "visual" in name}, path)


def _text_only(path):
    save_file({name: value for name, value in transformers_model().state_dict().items() if "text" in name}, path)


def _siglip(path):
    save_file({"vision_model.embeddings.patch_embedding.bias": torch.zeros(8)}, path)


def _layer_missing(path):
    weights = transformers_model().state_dict()
    del weights["vision_model.encoder.layers.1.self_attn.q_proj.weight"]
    save_file(weights, path)


def _other_shape(path):
    weights = transformers_model().state_dict()
    weights["vision_model.encoder.layers.0.mlp.fc2.weight"] = torch.zeros(3, 3)
    save_file(weights, path)


def _changed(**changes):
    """Writes a model of which tensors are replaced, by the end of their name, or left out where there is None."""

    def write(path):
        weights = transformers_model().state_dict()
        for end, value in changes.items():
            names = [name for name in weights if name.endswith(end.replace("__", "."))]
            assert names
            weights |= dict.fromkeys(names, value)
        save_file({name: value for name, value in weights.items() if value is not None}, path)

    return write


def _cut_off(path):
    save_file(transformers_model().state_dict(), path)
    path.write_bytes(path.read_bytes()[:100_000])


def _cut_off_pt(path):
    saved(open_clip_model(), path)
    path.write_bytes(path.read_bytes()[:100_000])


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("a.safetensors", _vision_only, "has no text tower"),
        ("a.pt", _open_clip_vision_only, "has no text tower"),
        ("a.safetensors", _text_only, "no CLIP model with a vision transformer"),
        ("a.safetensors", _siglip, "no CLIP model with a vision transformer"),
        ("a.pt", lambda path: torch.save({"a": 1}, path), "no CLIP model with a vision transformer"),
        ("a.pt", lambda path: torch.save([1], path), "no CLIP model with a vision transformer"),
        ("a.safetensors", _layer_missing, "the vision tower of a.safetensors is not complete"),
        ("a.safetensors", _other_shape, "the vision tower of a.safetensors is not complete"),
        ("a.safetensors", _changed(patch_embedding__weight=None), "the vision tower .*patch_embedding.weight is missing"),
        ("a.safetensors", _changed(patch_embedding__weight=torch.zeros(8)), "the vision tower .* shapes that do not belong"),
        ("a.safetensors", _changed(patch_embedding__weight=torch.tensor(1.0)), "the vision tower .* is missing"),
        ("a.safetensors", _changed(position_embedding__weight=None), "the vision tower .*position_embedding.weight is missing"),
        ("a.safetensors", _changed(token_embedding__weight=torch.zeros(9, 64)), "the text tower .* shapes that do not belong"),
        ("a.safetensors", _changed(token_embedding__weight=torch.zeros(64)), "the text tower .* shapes that do not belong"),
        ("a.safetensors", _changed(text_projection__weight=torch.zeros(7, 64)), "the text tower .* 7 numbers, the image's"),
        ("a.safetensors", _changed(visual_projection__weight=torch.tensor(1.0)), "no CLIP model with a vision transformer"),
        ("a.safetensors", _changed(mlp__fc1__bias=torch.zeros(0)), "shapes that do not belong"),
        ("a.safetensors", _changed(post_layernorm__weight=torch.full((128,), torch.nan)), "some weights are no numbers"),
        ("a.safetensors", _changed(logit_scale=torch.zeros(2)), "logit_scale in a.safetensors is no scale"),
        ("a.safetensors", _changed(logit_scale=torch.tensor(1000.0)), "logit_scale in a.safetensors is no scale"),
        ("a.pt", lambda path: torch.save({"state_dict": [1]}, path), "no CLIP model with a vision transformer"),
        ("a.pt", lambda path: torch.save({1: torch.zeros(1)}, path), "no CLIP model with a vision transformer"),
        ("a.safetensors", _cut_off, "could not be read"),
        ("a.pt", _cut_off_pt, "could not be read"),
        ("a.safetensors", lambda path: path.write_bytes(b""), "could not be read"),
        ("a.pt", lambda path: path.write_bytes(b""), "could not be read"),
        ("a.bin", lambda path: path.write_bytes(b"<!DOCTYPE html>"), "could run code"),
        ("a.pt", lambda path: torch.save({"state_dict": {}, "code": Code()}, path), "could run code"),
    ],
)
def test_files_that_are_no_scorer_give_one_sentence(node, models, capsys, name, write, words):
    write(models["reward"] / name)
    with pytest.raises(ValueError) as refusal:
        node.execute(name)
    sentence = str(refusal.value)
    assert re.search(words, sentence)
    assert sentence.startswith("model_name: ") and name in sentence and sentence.endswith(".")
    assert "\n" not in sentence and "run code" not in capsys.readouterr().out
