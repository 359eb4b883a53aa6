"""Models and VAEs of the host beyond the demo's own: what fits works, what does not is named."""

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import pytest
import torch

from devkit.demo_world import PROMPTS
from devkit.tiny_vaes import VAES


@pytest.fixture(scope="module")
def wan_vae():
    return VAES["wan 2.1"].build()


@pytest.fixture(scope="module")
def edit_model():
    config = comfy.supported_models.SD15_instructpix2pix(dict(
        image_size=32, in_channels=8, out_channels=4, model_channels=32, num_res_blocks=[1, 1], transformer_depth=[1, 1],
        transformer_depth_output=[1, 1, 1, 1], transformer_depth_middle=1, channel_mult=[1, 2], context_dim=768,
        use_linear_in_transformer=False, adm_in_channels=None, use_checkpoint=False, num_heads=4, legacy=False,
        use_spatial_transformer=True, use_temporal_attention=False,
    ))  # fmt: skip
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(config.get_model({}, ""), device, torch.device("cpu"))


def test_unsupported_family_is_named_with_the_supported_ones(demo, edit_model, tmp_path):
    with pytest.raises(
        ValueError, match="the family SD15_instructpix2pix is not supported; .* one of these families: AnimateDiff"
    ):
        demo.run(tmp_path / "a.safetensors", model=edit_model)


def test_training_runs_on_the_hosts_own_wan_vae(demo, wan_vae, tmp_path, monkeypatch):
    still = demo.pack.demo.faces.head_face(torch.tensor([0.0, -0.1, 0.6]), 64, 64, 1.0)
    monkeypatch.setattr(demo.face_model, "find", lambda frames: [[still]] * len(frames))
    monkeypatch.setattr(demo, "vae", wan_vae)
    monkeypatch.setattr(demo, "latent", torch.zeros(1, 16, 2, 8, 8))
    run = demo.train(tmp_path / "a.safetensors")
    assert run.result.before.shape == run.result.after.shape == (5, 3, 64, 64)
    assert all(record.loss == record.loss for record in run.state.history)


@pytest.mark.parametrize("length, latent", [(1, 1), (5, 2), (81, 21)])
def test_latent_length_follows_the_vae(pack, demo, wan_vae, length, latent):
    empty = pack.nodes.video_latent.empty_latent(demo.model, wan_vae, 64, 48, length)
    assert tuple(empty.shape) == (1, 16, latent, 6, 8)


def test_length_between_two_valid_ones_names_both(pack, demo, wan_vae):
    with pytest.raises(ValueError, match="cannot represent 80 frames; use 77 or 81"):
        pack.nodes.video_latent.empty_latent(demo.model, wan_vae, 64, 64, 80)


def test_vae_of_another_model_is_named(pack, edit_model, wan_vae):
    with pytest.raises(ValueError, match="vae: this is a video VAE; connect the image VAE"):
        pack.nodes.video_latent.empty_latent(edit_model, wan_vae, 64, 64, 5)


@pytest.mark.parametrize(
    "preset, steps, rate, decay", [("paper (AnimateDiff)", 800, 1e-4, 1e-2), ("paper (HunyuanVideo)", 4000, 2e-5, 1e-4)]
)
def test_paper_presets_hold_the_papers_values(pack, demo, preset, steps, rate, decay):
    settings = pack.training.settings.apply_preset(demo.settings, preset)
    assert (settings.steps, settings.learning_rate, settings.weight_decay) == (steps, rate, decay)
    assert (settings.start_percent, settings.preserve_weight, settings.identity_frames) == (0.75, 0.0, 1)
    assert (settings.augmentation, settings.learning_rate_schedule) == ("paper", "constant")
    assert pack.training.settings.apply_preset(demo.settings, "custom") == demo.settings


def test_held_out_prompt_is_encoded_but_never_trained_on(demo, tmp_path, monkeypatch):
    trained_on = []
    clip = demo.pack.training.teacher.bank.TeacherBank.clip

    def record(bank, key):
        trained_on.append(key[0])
        return clip(bank, key)

    monkeypatch.setattr(demo.pack.training.teacher.bank.TeacherBank, "clip", record)
    demo.train(tmp_path / "a.safetensors", steps=12)
    held_out = len(PROMPTS) - 1
    before, *between, after = trained_on
    assert before == after == held_out and set(between) == set(range(held_out))


def test_host_without_differentiable_kernels_is_refused(demo, tmp_path, monkeypatch):
    monkeypatch.delattr(comfy.model_management, "in_training")
    with pytest.raises(
        ValueError, match="too old to train in: it has no comfy.model_management.in_training .* update it to 0.30"
    ):
        demo.run(tmp_path / "a.safetensors")
