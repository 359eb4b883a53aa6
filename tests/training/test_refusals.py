"""What cannot be trained or sampled is refused in one sentence, before anything is computed where that is possible."""

import inspect
import logging

import comfy.sd
import folder_paths
import pytest
import torch

from devkit.families import conditioning, load_family
from devkit.family_world import FamilyWorld


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def wan(demo, folder):
    return FamilyWorld(demo, "wan21", folder)


def test_stable_diffusion_without_motion_is_refused(demo, folder):
    world = FamilyWorld(demo, "sd15", folder)
    with pytest.raises(ValueError, match="model: Stable Diffusion 1.5 by itself makes single pictures; put Load AnimateDiff"):
        demo.pack.nodes.video_latent.empty_latent(world.model, world.vae, 64, 64, 16)


def test_side_between_two_tokens_is_refused(demo, folder):
    world = FamilyWorld(demo, "hunyuan_video", folder)
    latent = demo.pack.nodes.video_latent
    with pytest.raises(ValueError, match="height: 760 is not a multiple of 16; use 752 or 768"):
        latent.empty_latent(world.model, world.vae, 512, 760, 61)
    with pytest.raises(ValueError, match="width: 8 is not a multiple of 16; use 16 or 32"):
        latent.empty_latent(world.model, world.vae, 8, 512, 61)


def test_checkpoints_without_vae_or_text_encoder_are_refused(demo):
    for vae in (None, comfy.sd.VAE(sd={})):
        with pytest.raises(ValueError, match="^vae: the checkpoint has none; connect a Load VAE node"):
            demo.pack.nodes.video_latent.empty_latent(demo.model, vae, 64, 64, 5)
    training_run = demo.pack.nodes.training_run.training_run
    nothing = dict.fromkeys(name for name in inspect.signature(training_run).parameters if name != "values")
    with pytest.raises(ValueError, match="^clip: the checkpoint has no text encoder; connect a Load CLIP node"):
        training_run(**nothing | {"model": demo.model, "vae": demo.vae})


@pytest.mark.parametrize(
    "name, content",
    [
        ("cut.safetensors", b"\x40\x00\x00\x00\x00\x00\x00\x00{"),
        ("empty.safetensors", b""),
        ("none.pt", b"no LoRA"),
        ("empty.pt", b""),
    ],
)
def test_loras_that_are_none_are_named(demo, tmp_path, monkeypatch, name, content):
    (tmp_path / name).write_bytes(content)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors", ".pt"}))
    node = demo.pack.nodes.apply_late_step_lora.ApplyLateStepLora
    with pytest.raises(ValueError, match=rf"^lora_name: {name} (is damaged|cannot be read) \(.+\); choose another file"):
        node.execute(demo.model, name, 1.0, -1.0, -1.0)


@pytest.mark.parametrize("prefix", ["../models/loras/anna", "anna", "loras/", "/tmp/loras/anna", "loras/../anna"])
def test_places_where_no_lora_list_looks_are_refused(demo, tmp_path, monkeypatch, prefix):
    lora_path = demo.pack.nodes.lora_path.lora_path
    for name in ("models/loras", "output/loras"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    roots = [str(tmp_path / "models" / "loras"), str(tmp_path / "output" / "loras")]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", (roots, {".safetensors"}))
    assert lora_path("loras/people/anna", "[None]") == tmp_path / "output" / "loras" / "people" / "anna_00001_.safetensors"
    with pytest.raises(ValueError, match="^filename_prefix: .* is no file name in a folder that LoRA lists show"):
        lora_path(prefix, "[None]")


def test_a_folder_that_cannot_be_made_is_named(demo, tmp_path, monkeypatch):
    (tmp_path / "loras").mkdir()
    (tmp_path / "loras" / "file").touch()
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path / "loras")], {".safetensors"}))
    with pytest.raises(ValueError, match="^filename_prefix: nothing can be written to the folder of anna .* choose another one"):
        demo.pack.nodes.lora_path.lora_path("loras/file/anna", "[None]")


def test_the_memory_plan_counts_the_steps_that_the_schedule_has(demo, tmp_path):
    run = demo.run(tmp_path / "a.safetensors", scheduler="ddim_uniform", sampling_steps=30, start_percent=0.97)
    assert len(run.sigmas) == 32 and run.memory.demand.gradient_steps == len(run.sigmas) - 1 - run.first_late_step > 0


@pytest.mark.parametrize("size, sentence", [((64, 64, -3), "length: -3 is no number of frames"), ((-64, 64, 5), "width: -64")])
def test_sizes_that_are_none_are_refused(wan, size, sentence):
    with pytest.raises(ValueError, match=sentence):
        wan.pack.nodes.video_latent.empty_latent(wan.model, wan.vae, *size)


def test_model_that_needs_a_picture_is_refused(wan, tmp_path, monkeypatch):
    monkeypatch.setattr(wan.model.model, "image_to_video", True)
    with pytest.raises(ValueError, match="is not supported; connect a text-to-video model of one of these families"):
        wan.run(tmp_path / "a.safetensors")


def test_text_encoder_of_another_model_is_named(wan, tmp_path, monkeypatch):
    monkeypatch.setattr(wan.clip, "encode_from_tokens_scheduled", lambda prompt: conditioning("sd15", 1))
    run = wan.run(tmp_path / "a.safetensors")
    with torch.inference_mode(), pytest.raises(ValueError, match="clip: its text features do not fit this model .*; connect"):
        run.execute(lambda record, frames: None)


def test_high_noise_model_of_another_family_or_the_same_network_is_refused(demo, wan, folder, tmp_path):
    hunyuan = load_family(demo.pack, "hunyuan_video", folder)
    with pytest.raises(ValueError, match="high_noise_model: it is a model of HunyuanVideo and model is one of Wan 2.1"):
        wan.run(tmp_path / "a.safetensors", high_noise_model=hunyuan)
    with pytest.raises(ValueError, match="high_noise_model: it is the same as model"):
        wan.run(tmp_path / "a.safetensors", high_noise_model=wan.model.clone())


def test_lora_of_which_a_part_fits_is_applied_and_the_rest_is_counted(wan, caplog):
    lora = wan.random_lora()
    more = lora | {key.replace("blocks.0.", "blocks.70."): value for key, value in lora.items()}
    with caplog.at_level(logging.WARNING):
        part = wan.sample(wan.apply(wan.model, more))
    assert "3 of its 9 layers do not exist in this model" in caplog.text
    assert torch.equal(part, wan.sample(wan.apply(wan.model, lora)))


def test_settings_that_change_on_resume_are_in_the_report(demo, tmp_path):
    path = tmp_path / "a.safetensors"
    demo.train(path, steps=1)
    same, other = demo.train(path, resume=True, steps=2), demo.train(path, resume=True, steps=3, cfg=3.0)
    first, second = (demo.pack.training.report.report(run.result, {}, "") for run in (same, other))
    assert "changed" not in first
    assert "Settings that changed when it was resumed: cfg: 2.0 -> 3.0." in second
