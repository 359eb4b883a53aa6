"""The LoRAs that come with the demo, in the core's own loader; the few-step one does what it is for."""

import logging

import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.utils
import pytest
import torch

from devkit.comfy_host import ROOT

LORAS = ROOT / "demo" / "loras"
FEW_STEPS = LORAS / "demo distilled 4 steps.safetensors"
PROMPTS = [
    "a person in the snow, wearing a purple shirt, nodding",
    "a sks person on the beach, wearing a green shirt, coming closer",
]
SEEDS = [7, 8]


def load(model, path):
    """The MODEL that the core's Load LoRA gives at strength 1."""
    with torch.inference_mode():
        return comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(str(path), safe_load=True), 1.0, 0.0)[0]


def clips(demo, model, steps, cfg):
    """Frames [P, 8, 64, 64, 3] of all prompts and seeds, as the core's KSampler makes them."""
    frames = []
    for prompt in PROMPTS:
        for seed in SEEDS:
            latent = torch.zeros(1, 16, 8, 8, 8)
            noise = comfy.sample.prepare_noise(latent, seed)
            positive, negative = demo.encode(prompt), demo.encode("")
            with torch.inference_mode():
                latents = comfy.sample.sample(
                    model, noise, steps, cfg, "euler", "simple", positive, negative, latent, disable_pbar=True, seed=seed
                )
                frames.append(demo.vae.decode(latents)[0].clamp(0, 1))
    return torch.stack(frames)


@pytest.mark.parametrize("path", sorted(LORAS.glob("*.safetensors")), ids=lambda path: path.stem)
def test_core_loads_every_key(demo, path, caplog):
    with caplog.at_level(logging.WARNING):
        model = load(demo.model, path)
    assert "not loaded" not in caplog.text.lower()
    layers = {key.partition(".lora_")[0] for key in comfy.utils.load_torch_file(str(path)) if ".lora_" in key}
    assert len(model.patches) == len(layers) > 0


def test_sampler_of_four_steps_visits_every_fourth_level_of_sixteen(demo):
    schedule = demo.model.get_model_object("model_sampling")
    few, many = (comfy.samplers.calculate_sigmas(schedule, "simple", steps) for steps in (4, 16))
    assert torch.equal(few, many[::4])


def test_few_step_lora_brings_four_plain_steps_near_sixteen_guided_ones(demo):
    wanted = clips(demo, demo.model, steps=16, cfg=2.0)
    plain, distilled = (clips(demo, model, steps=4, cfg=1.0) for model in (demo.model, load(demo.model, FEW_STEPS)))
    without, with_it = ((frames - wanted).abs().flatten(1).mean(1) for frames in (plain, distilled))
    assert (with_it < without).all()
    assert with_it.mean() < 0.7 * without.mean()
