"""Full-size models without memory for weights: on the meta device tensors have a shape and a type, and no numbers."""

import comfy.sd
import comfy.taesd.taehv
import torch
from comfy.model_patcher import ModelPatcher

from benchmarks.gpu.models import FullModel, conditioning, host_model

META = torch.device("meta")
WEIGHTS = {
    "fp32": (torch.float32, None),
    "bf16": (torch.bfloat16, None),
    "fp16": (torch.float16, None),
    "fp8": (torch.float8_e4m3fn, torch.bfloat16),
}


def meta_model(full: FullModel, weights: str) -> ModelPatcher:
    """MODEL, whose home is the meta device. weights: one of WEIGHTS."""
    model = host_model(full, *WEIGHTS[weights], "meta").to(META)
    return ModelPatcher(model, META, META)


def sampling_of(full: FullModel):
    """The noise schedule of ``full``, with its numbers."""
    return host_model(full, *WEIGHTS["bf16"], "meta").model_sampling


def meta_vae(full: FullModel):
    """The VAE of ``full``."""
    return _vae(full.vae)


def meta_tiny_vae(latent_format):
    """The small preview VAE of a video model's latents."""
    return _vae(lambda: comfy.taesd.taehv.TAEHV(latent_format.latent_channels))


def meta_conditioning(full: FullModel) -> list:
    """CONDITIONING of one prompt of the usual length."""
    return [[_moved(features), _moved(options)] for features, options in conditioning(full, 0)]


def _vae(build):
    with META:
        network = build()
        vae = comfy.sd.VAE(sd=network.state_dict(), dtype=torch.bfloat16)
    vae.device = META
    return vae


def _moved(value):
    if isinstance(value, dict):
        return {name: _moved(part) for name, part in value.items()}
    return value.to(META) if isinstance(value, torch.Tensor) else value
