"""Every family, loaded by the host's own nodes, keeps the pack's promises as the demo's model does."""

import logging

import comfy.sd
import comfy.utils
import pytest
import torch

from devkit import gradients
from devkit.demo_world import PROMPTS
from devkit.families import FAMILIES, family_case, fp8_error, style_lora
from devkit.family_world import FamilyWorld
from devkit.gradients import gradient, relative_error

SWITCH = 6  # of 8 steps: the last quarter
VIDEO_FAMILIES = sorted(set(FAMILIES) - {"sd15"})  # animatediff is sd15 and more
DISTANCES = (0.07, 0.1, 0.13)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=VIDEO_FAMILIES)
def world(request, demo, folder):
    return FamilyWorld(demo, request.param, folder)


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    """A finished run whose steps are large enough to be seen."""
    return world.train(tmp_path_factory.mktemp("trained") / "a.safetensors", learning_rate=0.5)


def core_lora(model, lora):
    with torch.inference_mode():
        return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]


def same(one, other, base, share=0.02):
    """Whether two results agree, up to a small share of their distance from the base model's."""
    return (one - other).abs().max() < share * (other - base).abs().max()


def test_adapter_without_strength_is_bit_identical_to_the_base(world):
    late_step = world.pack.adapters.late_step
    with torch.inference_mode():
        residuals = world.pack.adapters.host_lora.residuals_for(world.model, world.random_lora(), 0.0, "random")
        late = world.model.clone()
        late_step.LateStepInjection(residuals, 0.0, 1.0).attach(late)
    assert torch.equal(world.sample(late), world.base_clip)


def test_window_equals_core_lora_in_a_second_pass(world):
    lora = world.random_lora()
    early = world.sample(world.model, start_step=0, last_step=SWITCH)
    reference = world.sample(
        core_lora(world.model, lora), noise=torch.zeros_like(world.latent), latent=early, start_step=SWITCH, disable_noise=True
    )
    assert same(world.late_clip, reference, world.base_clip)


def test_trained_file_loads_in_the_core_and_its_window_is_the_trainers_own(world, trained, caplog):
    run = trained
    late = world.apply(world.model, run.lora(), start=-1.0, end=-1.0)
    video = world.decode(world.sample(late, PROMPTS[-1], run.settings.seed))
    base = world.decode(world.base_clip)
    assert same(run.result.after, video, base)
    assert (run.result.before - base).abs().max() < 1e-3  # the bank keeps half precision

    whole_range = world.sample(world.apply(world.model, run.lora(), start=0.0))
    with torch.inference_mode(), caplog.at_level(logging.WARNING):
        tensors = comfy.utils.load_torch_file(str(run.lora_path), safe_load=True)
        for load in (comfy.sd.load_lora_for_models, comfy.sd.load_bypass_lora_for_models):
            model, _ = load(world.model, None, tensors, 1.0, 0.0)
            assert same(world.sample(model), whole_range, world.base_clip)
    assert "not loaded" not in caplog.text.lower()


def test_bank_changes_speed_only(world, trained, tmp_path):
    without = world.train(tmp_path / "a.safetensors", learning_rate=0.5, remember_teacher=False)
    losses = [[record.loss for record in run.state.history] for run in (without, trained)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_model_that_is_still_loaded_from_sampling_trains_as_any_other(world, trained, tmp_path):
    world.sample(world.model)
    run = world.train(tmp_path / "a.safetensors", learning_rate=0.5)
    assert run.memory.demand.layers == trained.memory.demand.layers
    assert [record.loss for record in run.state.history] == [record.loss for record in trained.state.history]


def kohya_keys(world, linears):
    return {name: "lora_unet_" + name.removeprefix("diffusion_model.").replace(".", "_") for name in linears}


def diffusers_keys(world, linears):
    """Names without the host's prefix, as in diffusers' files, if the core reads such names."""
    if world.family == "hunyuan_video":
        return {name: name.replace("diffusion_model.", "transformer.").replace("_attn.qkv", "_attn_qkv") for name in linears}
    if world.family in ("sd15", "animatediff"):
        names = comfy.utils.unet_to_diffusers(world.model.model.model_config.unet_config)
        theirs = {f"diffusion_model.{ours}".removesuffix(".weight"): key.removesuffix(".weight") for key, ours in names.items()}
        return {name: "unet." + theirs[name].replace(".to_", ".processor.to_") for name in linears}
    return {name: name.removeprefix("diffusion_model." if world.family == "ltxv" else "") for name in linears}


@pytest.mark.parametrize("keys", [kohya_keys, diffusers_keys])
def test_style_lora_before_or_after_gives_the_same_video(world, keys, caplog):
    style = style_lora(world.pack, world.model, lambda linears: keys(world, linears))
    with caplog.at_level(logging.WARNING):
        before = world.apply(core_lora(world.model, style), world.random_lora())
        after = core_lora(world.apply(world.model, world.random_lora()), style)
    assert "not loaded" not in caplog.text.lower()
    clip = world.sample(before)
    assert torch.equal(clip, world.sample(after))
    assert not torch.equal(clip, world.late_clip)


@pytest.mark.parametrize("checkpointing, style", [("off", False), ("steps", True)])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_equals_finite_differences(pack, folder, family, checkpointing, style, monkeypatch):
    monkeypatch.setattr(gradients, "DISTANCES", DISTANCES)
    assert relative_error(pack, family_case(pack, family, folder, style=style), checkpointing) < 1e-3


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
def test_checkpointing_does_not_change_the_gradient(pack, folder, family):
    case = family_case(pack, family, folder)
    expected = gradient(pack, case, "off")
    for checkpointing in ("steps", "blocks", "offload"):
        assert (gradient(pack, case, checkpointing) - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("family", VIDEO_FAMILIES)
def test_gradient_on_eight_bit_weights_is_that_on_their_values(pack, folder, family):
    model = family_case(pack, family, folder, weight_dtype="fp8_e4m3fn").model
    assert torch.float8_e4m3fn in {parameter.dtype for parameter in model.model.parameters()}
    assert fp8_error(pack, family, folder) < 1e-3


def test_blocks_are_found_in_every_family(world):
    architectures = world.pack.adapters.architectures
    pattern = architectures.architecture_of(world.model.model).blocks
    names = [name for name, _ in world.model.model.diffusion_model.named_modules() if pattern.fullmatch(name)]
    targets = [target.name.removeprefix("diffusion_model.") for target in architectures.find_targets(world.model.model)]
    assert targets and all(any(target.startswith(name + ".") for name in names) for target in targets)


@pytest.mark.parametrize("length, sentence", [(48, "use 41 or 49"), (53, "use 49 or 57")])
def test_length_that_a_cogvideox_clip_cannot_have_names_those_it_can(demo, folder, length, sentence):
    world = FamilyWorld(demo, "cogvideox", folder)
    with pytest.raises(ValueError, match=f"cannot represent {length} frames; {sentence}"):
        demo.pack.nodes.video_latent.empty_latent(world.model, world.vae, 64, 64, length)


def test_sizes_that_are_left_open_are_the_familys_own(world):
    latent = world.pack.nodes.video_latent
    defaults = world.pack.adapters.architectures.defaults_of(world.model.model)
    size = latent.clip_size(defaults, 0, 0, 0)
    clip = latent.empty_latent(world.model, world.vae, *size)
    assert clip.ndim == world.latent.ndim and clip.shape[1] == world.latent.shape[1]
    assert defaults.cfg == 1.0 if world.family == "hunyuan_video" else defaults.cfg > 1.0


def test_vae_of_another_family_is_named(demo, folder):
    wan, hunyuan = FamilyWorld(demo, "wan21", folder), FamilyWorld(demo, "hunyuan_video", folder)
    with pytest.raises(ValueError, match="vae: it belongs to AnimateDiff .* or HunyuanVideo; connect the VAE of Wan 2.1"):
        demo.pack.nodes.video_latent.empty_latent(wan.model, hunyuan.vae, 64, 64, 9)
