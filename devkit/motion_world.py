"""A tiny Stable Diffusion 1.5 with motion modules: build it, load it through the node, sample it as the core does."""

from contextlib import contextmanager
from functools import partial
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.supported_models
import folder_paths
import torch

from devkit.tiny_motion import write_motion_module

UNET = dict(
    image_size=32, in_channels=4, out_channels=4, model_channels=64, num_res_blocks=[1, 1, 1], transformer_depth=[1, 1, 0],
    transformer_depth_output=[1, 1, 1, 1, 0, 0], transformer_depth_middle=1, channel_mult=[1, 2, 2], context_dim=32,
    use_linear_in_transformer=False, adm_in_channels=None, use_checkpoint=False, num_heads=8, legacy=False,
    use_spatial_transformer=True, use_temporal_attention=False,
)  # fmt: skip
STEPS, CFG = 3, 5.0


def tiny_sd15(config=comfy.supported_models.SD15, weights=torch.float32, compute=None):
    family = config(dict(UNET))
    family.set_inference_dtype(weights, compute)
    with torch.inference_mode():
        model = family.get_model({}, "")
        generator = torch.Generator().manual_seed(0)
        for name, parameter in model.diffusion_model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter[0].numel()
            if parameter.ndim > 1:
                parameter.copy_(noise / fan_in**0.5)
            else:
                parameter.copy_(noise * 0.1 + (1.0 if name.endswith("weight") else 0.0))
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.ModelPatcher(model, device, torch.device("cpu"))


@contextmanager
def motion_loader(pack):
    """Context with ``load(model, file, **kind)``, the MODEL that the node makes with a new motion module.

    The files are removed at its end.
    """
    folder = Path(folder_paths.models_dir) / "animatediff_models"
    folder.mkdir(exist_ok=True)
    try:
        yield partial(_load, pack, folder)
    finally:
        for file in folder.iterdir():
            file.unlink()


def _load(pack, folder, model, file="mm.safetensors", write=write_motion_module, **kind):
    write(folder / file, model.model.diffusion_model, **kind)
    return load_file(pack, model, file)


def load_file(pack, model, file):
    with torch.inference_mode():
        return pack.nodes.load_motion_module.LoadMotionModule.execute(model, file).args[0]


def text(seed):
    return [[torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(seed)), {}]]


def noise(frames=6, seed=3):
    return torch.randn(frames, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def sample(model, frames=6, start=None, **options):
    """The latents that the core KSampler makes."""
    start = noise(frames) if start is None else start
    with torch.inference_mode():
        return comfy.sample.sample(
            model,
            start,
            STEPS,
            CFG,
            "ddim",
            "ddim_uniform",
            text(1),
            text(2),
            torch.zeros_like(start),
            disable_pbar=True,
            seed=1,
            **options,
        )


class Predict(comfy.samplers.Sampler):
    """Makes one guided prediction of the clean latents, where a sampler would make it."""

    def __init__(self, x, sigma):
        self.x, self.sigma = x, sigma

    def sample(self, guider, sigmas, extra_args, callback, noise, *args):
        x, sigma = self.x.to(noise.device), self.sigma.to(noise.device)
        self.prediction = guider(x, sigma.expand(len(x)), **extra_args).cpu()
        return torch.zeros_like(noise)


def predict(model, x, timestep, positive, negative, cfg):
    sigma = model.get_model_object("model_sampling").sigmas[timestep].clone()
    guider, sampler = comfy.samplers.CFGGuider(model), Predict(x, sigma)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    with torch.inference_mode():
        guider.sample(torch.zeros_like(x), torch.zeros_like(x), sampler, torch.stack([sigma, sigma * 0]), seed=0)
    return sampler.prediction


def core_lora(model):
    """``model`` with a LoRA on two attentions and on the resampling layer behind a motion module."""
    generator = torch.Generator().manual_seed(0)
    lora = {}
    for layer, *kernel in (
        ("down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", 64),
        ("up_blocks_1_attentions_1_transformer_blocks_0_attn1_to_q", 128),
        ("up_blocks_0_upsamplers_0_conv", 128, 3, 3),
    ):
        rank = [4, *kernel]
        lora[f"lora_unet_{layer}.lora_down.weight"] = torch.randn(rank, generator=generator) * 0.3
        rank = [kernel[0], 4] + [1] * len(kernel[1:])
        lora[f"lora_unet_{layer}.lora_up.weight"] = torch.randn(rank, generator=generator) * 0.3
    with torch.inference_mode():
        return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]
