"""AnimateDiff's motion modules: equal to diffusers, in every published layout, with clear refusals."""

import comfy.supported_models
import comfy.utils
import pytest
import safetensors.torch
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

from devkit.motion_world import CFG, UNET, motion_loader, noise, predict, sample, text, tiny_sd15
from devkit.tiny_motion import write_motion_module


@pytest.fixture(scope="module")
def sd15():
    return tiny_sd15()


@pytest.fixture
def load(pack):
    with motion_loader(pack) as load:
        yield load


@pytest.mark.parametrize("mid_block, table", [(True, 32), (False, 24)])
def test_prediction_equals_diffusers(load, mid_block, table):
    from diffusers import DDIMScheduler
    from diffusers.models import UNetMotionModel

    torch.manual_seed(0)
    theirs = UNetMotionModel(
        block_out_channels=(64, 128, 128), layers_per_block=1, cross_attention_dim=32, num_attention_heads=8,
        down_block_types=("CrossAttnDownBlockMotion", "CrossAttnDownBlockMotion", "DownBlockMotion"),
        up_block_types=("UpBlockMotion", "CrossAttnUpBlockMotion", "CrossAttnUpBlockMotion"),
        use_motion_mid_block=mid_block, motion_max_seq_length=table,
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in theirs.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    state = theirs.state_dict()
    motion = {name: weight.clone() for name, weight in state.items() if "motion_modules" in name}
    model = tiny_sd15()
    names = comfy.utils.unet_to_diffusers(UNET)
    spatial = {names[name]: weight for name, weight in state.items() if name not in motion}
    with torch.inference_mode():
        model.model.diffusion_model.load_state_dict(spatial)
    model = load(model, "motion adapter.safetensors", lambda path, unet: safetensors.torch.save_file(motion, path))

    abar = DDIMScheduler(beta_schedule="linear", beta_start=0.00085, beta_end=0.012).alphas_cumprod
    frames, cfg = 7, 3.0
    for timestep in (980, 400, 20):
        sigma = ((1 - abar[timestep]) / abar[timestep]) ** 0.5
        x = noise(frames) * (1 + sigma**2) ** 0.5
        context = torch.cat([text(2)[0][0], text(1)[0][0]]).repeat_interleave(frames, 0)
        clips = (x / (1 + sigma**2) ** 0.5).transpose(0, 1)[None].expand(2, -1, -1, -1, -1)
        with torch.inference_mode():
            off, on = theirs(clips, timestep, context).sample.transpose(1, 2)
        expected = x - sigma * (off + cfg * (on - off))
        ours = predict(model, x, timestep, text(1), text(2), cfg)
        assert (ours - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    "version, file, layout",
    [
        ("v1", "mm_sd_v15.ckpt", "state_dict"),
        ("v1", "mm.safetensors", "module"),
        ("v2", "mm_sd_v15_v2.ckpt", "plain"),
        ("v2", "mm.safetensors", "diffusers"),
        ("v3", "v3_sd15_mm.ckpt", "module"),
        ("v3", "mm.safetensors", "plain"),
    ],
)
def test_every_published_layout_gives_the_same_video(sd15, load, version, file, layout):
    # 8 frames see the same rows of every table; only v2 has a mid block
    reference = load(sd15, "reference.safetensors", version="v2" if version == "v2" else "v3")
    assert torch.equal(sample(load(sd15, file, version=version, layout=layout), 8), sample(reference, 8))


def test_mid_block_has_an_effect(sd15, load):
    assert (sample(load(sd15, version="v2")) - sample(load(sd15, version="v3"))).abs().max() > 1e-2


def test_module_without_a_table_computes_the_published_one(sd15, load):
    def prediction(version, frames):
        return predict(load(sd15, version=version), noise(frames), 700, text(1), text(2), 1.0)

    computed, stored = prediction("lcm", 24), prediction("v1", 24)
    assert (computed - stored).abs().max() < 1e-4 * stored.abs().max()
    assert torch.isfinite(prediction("lcm", 64)).all()


@pytest.mark.parametrize("frames", [1, 8, 16])
def test_batch_is_one_clip_whose_frames_see_each_other(sd15, load, frames):
    model, start = load(sd15), noise(frames)
    video = sample(model, frames)
    assert torch.isfinite(video).all() and (video - sample(sd15, frames)).abs().max() > 1e-2
    if frames == 1:
        return

    def prediction(of, x):
        return predict(of, x, 700, text(1), text(2), CFG)

    clip, other = prediction(model, start), start.clone()
    other[-1] = noise(1, seed=9)[0]
    assert (prediction(model, other)[0] - clip[0]).abs().max() > 1e-3
    assert torch.equal(prediction(sd15, other)[0], prediction(sd15, start)[0])
    backwards = prediction(model, start.flip(0)).flip(0)  # places in time tell frames apart
    assert (backwards - clip).abs().max() > 1e-3


def test_both_prompts_in_one_batch_equal_one_after_the_other(sd15, load):
    model, x = load(sd15), noise(6)
    together = predict(model, x, 700, text(1), text(2), CFG)
    on, off = (predict(model, x, 700, text(seed), text(seed), 1.0) for seed in (1, 2))
    assert (together - (off + CFG * (on - off))).abs().max() < 1e-4 * together.abs().max()
    assert (on - off).abs().max() > 1e-3


def test_noise_schedule_is_that_of_animatediff_and_the_base_keeps_its_own(sd15, load):
    betas = torch.linspace(0.00085, 0.012, 1000, dtype=torch.float64)
    abar = torch.cumprod(1 - betas, 0)
    before = sd15.get_model_object("model_sampling").sigmas.clone()
    model = load(sd15)
    sigmas = model.get_model_object("model_sampling").sigmas
    assert torch.allclose(sigmas, (((1 - abar) / abar) ** 0.5).float(), rtol=1e-6)
    assert (sigmas - before).abs().max() > 1
    sample(model)
    assert torch.equal(sd15.get_model_object("model_sampling").sigmas, before)
    sample(sd15)
    assert torch.equal(sd15.model.model_sampling.sigmas, before)


@pytest.mark.parametrize("kind", ["v_prediction", "lcm"])
def test_kind_of_prediction_is_kept(sd15, load, kind):
    chosen = ModelSamplingDiscrete().patch(sd15, kind, zsnr=False)[0].get_model_object("model_sampling")
    patched = ModelSamplingDiscrete().patch(sd15, kind, zsnr=False)[0]
    sampling = load(patched).get_model_object("model_sampling")
    assert [cls.__name__ for cls in type(sampling).__mro__] == [cls.__name__ for cls in type(chosen).__mro__]
    assert len(sampling.sigmas) == len(chosen.sigmas) and sampling.sigmas[-1] > chosen.sigmas[-1] * 1.1


@pytest.mark.parametrize("version, most", [("v1", 24), ("v3", 32)])
def test_more_frames_than_the_table_are_refused_with_the_maximum(sd15, load, version, most):
    model = load(sd15, version=version)
    assert torch.isfinite(sample(model, most)).all()
    with pytest.raises(ValueError, match=rf"length: {most + 1} frames are more than the {most} .*mm.safetensors"):
        sample(model, most + 1)


def test_context_windows_carry_longer_clips(sd15, load):
    model = load(sd15, version="v1")
    model = ContextWindowsManualNode.execute(
        model, 16, 4, "standard_static", 1, False, "pyramid", 0, False
    ).args[0]  # fmt: skip
    assert torch.isfinite(sample(model, 30)).all()


def test_second_motion_module_is_refused(sd15, load):
    with pytest.raises(ValueError, match="model: Load AnimateDiff Motion Module was already applied to it; connect"):
        load(load(sd15))


def test_other_base_models_are_named(load):
    with pytest.raises(ValueError, match="works on Stable Diffusion 1.5, and this model is SD20; connect"):
        load(tiny_sd15(comfy.supported_models.SD20))


def test_module_of_another_base_model_says_what_differs(sd15, load):
    def three_blocks(path, unet):
        write_motion_module(path, unet)
        weights = safetensors.torch.load_file(path)
        safetensors.torch.save_file({key: value for key, value in weights.items() if "blocks.2" not in key}, path)

    message = "mm_sdxl.safetensors was made for another base model: for the down blocks .* 64, 128 .* has 64, 128, 128"
    with pytest.raises(ValueError, match=message):
        load(sd15, "mm_sdxl.safetensors", three_blocks)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"conv_in.weight": torch.zeros(8, 9, 3, 3)}, "it needs a picture or other extra inputs"),
        ({"down_blocks.0.motion_modules.0.temporal_transformer.proj_in.weight": None}, "weights are missing"),
        (
            {"down_blocks.0.motion_modules.0.temporal_transformer.extra": torch.zeros(1)},
            "weights are missing, or there are others",
        ),
        ({"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": None}, "it lacks motion modules"),
        ({"down_blocks.0.motion_modules.0.temporal_transformer.norm.weight": torch.tensor(1.0)}, "it lacks motion modules"),
        (
            {
                "down_blocks.0.motion_modules.0.temporal_transformer."
                "transformer_blocks.0.attention_blocks.0.pos_encoder.pe": torch.zeros(32)
            },
            "it lacks motion modules",
        ),
        (
            {"down_blocks.0.motion_modules.0.temporal_transformer.proj_in.bias": torch.full((64,), torch.nan)},
            "some weights are no numbers",
        ),
    ],
)
def test_other_checkpoints_are_refused_by_name(sd15, load, change, reason):
    def changed(path, unet):
        write_motion_module(path, unet)
        weights = safetensors.torch.load_file(path) | change
        safetensors.torch.save_file({key: value for key, value in weights.items() if value is not None}, path)

    with pytest.raises(ValueError, match=rf"motion_module: pia.safetensors is not an AnimateDiff .*{reason}.*; choose"):
        load(sd15, "pia.safetensors", changed)


@pytest.mark.parametrize("file", ["cut.safetensors", "cut.ckpt"])
def test_truncated_download_is_named(sd15, load, file):
    def cut(path, unet):
        write_motion_module(path, unet)
        path.write_bytes(path.read_bytes()[:5000])

    with pytest.raises(ValueError, match=f"motion_module: {file} cannot be read; download it again"):
        load(sd15, file, cut)


class Payload:
    def __reduce__(self):
        return print, ("executed",)


def test_pickled_code_is_never_run(sd15, load, capsys):
    with pytest.raises(ValueError, match="evil.ckpt cannot be read"):
        load(sd15, "evil.ckpt", lambda path, unet: torch.save({"state_dict": Payload()}, path))
    assert "executed" not in capsys.readouterr().out
