"""The full-size models that `gpu.py` trains on, built of the host's own classes.

Sizes are the published ones; weights are random, as speed and memory do not depend on them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import comfy.ldm.wan.vae
import comfy.model_management
import comfy.sd
import comfy.supported_models
import comfy.taesd.taehv
import folder_paths
import torch
from comfy.model_patcher import ModelPatcher
from safetensors.torch import save_file

from devkit import tiny_models, tiny_vaes

UNET = dict(
    num_res_blocks=[2, 2, 2, 2], channel_mult=[1, 2, 4, 4], transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
    transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0], transformer_depth_middle=1, num_heads=8,
)  # fmt: skip
TILE = 2**22


@dataclass(frozen=True)
class FullModel:
    """A full-size model.

    family: its name in tiny_models. sizes: what differs from the tiny model. vae(dtype): its VAE. tokens: how many a
    prompt has. motion: whether it has motion modules.
    """

    name: str
    family: str
    sizes: dict
    vae: Callable
    tokens: int
    motion: bool = False


def wan_vae(dtype: torch.dtype):
    config = dict(z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[], temperal_downsample=[False, True, True])
    return tiny_vaes.load(comfy.ldm.wan.vae.WanVAE(dim=96, **config), dtype)


def hunyuan_vae(dtype: torch.dtype):
    config = dict(double_z=True, z_channels=16, resolution=256, in_channels=3, out_ch=3, ch=128, ch_mult=[1, 2, 4, 4],
                  num_res_blocks=2, attn_resolutions=[], dropout=0.0, conv3d=True, time_compress=4)  # fmt: skip
    return tiny_vaes.load(comfy.sd.AutoencoderKL(ddconfig=config, embed_dim=16), dtype)


def image_vae(dtype: torch.dtype):
    config = dict(double_z=True, z_channels=4, resolution=256, in_channels=3, out_ch=3, ch=128, ch_mult=[1, 2, 4, 4],
                  num_res_blocks=2, attn_resolutions=[], dropout=0.0)  # fmt: skip
    return tiny_vaes.load(comfy.sd.AutoencoderKL(ddconfig=config, embed_dim=4), dtype)


MODELS = {
    model.name: model
    for model in (
        FullModel("AnimateDiff", "sd15", UNET, image_vae, 77, motion=True),
        FullModel("HunyuanVideo", "hunyuan_video",
                  dict(hidden_size=3072, num_heads=24, depth=20, depth_single_blocks=40), hunyuan_vae, 256),
        FullModel("Wan 2.1 1.3B", "wan21", dict(dim=1536, num_heads=12, ffn_dim=8960, num_layers=30), wan_vae, 512),
        FullModel("Wan 2.1 14B", "wan21", dict(dim=5120, num_heads=40, ffn_dim=13824, num_layers=40), wan_vae, 512),
    )
}  # fmt: skip


def host_model(full: FullModel, weights: torch.dtype, compute: torch.dtype | None, device: str, tiny: bool = False):
    """The host's base model, with unfilled parameters on ``device``.

    weights: the dtype of the parameters. compute: that of the model's calls, if it is another one.
    """
    family = tiny_models.FAMILIES[full.family]
    config = getattr(comfy.supported_models, family.model_class)(family.config | ({} if tiny else full.sizes))
    config.set_inference_dtype(weights, compute)
    return config.get_model({}, "", device=torch.device(device))


def patcher(full: FullModel, weights: torch.dtype, compute: torch.dtype | None, tiny: bool = False) -> ModelPatcher:
    """A MODEL with random weights, which the host keeps in CPU memory."""
    with torch.inference_mode():
        model = host_model(full, weights, compute, "cpu", tiny)
        fill(model.diffusion_model)
    return ModelPatcher(model, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device())


def fill(network: torch.nn.Module) -> None:
    """Give ``network`` random weights that keep the size of what goes through them, from one repeated block of noise."""
    noise = torch.randn(TILE, generator=torch.Generator().manual_seed(0))
    for name, parameter in network.named_parameters():
        flat = parameter.data.view(-1)
        scale = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        block = (noise * scale + (1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0)).to(parameter.dtype)
        for start in range(0, flat.numel(), TILE):
            part = flat[start : start + TILE]
            part.copy_(block[: part.numel()])


def conditioning(full: FullModel, seed: int, tiny: bool = False) -> list:
    """The CONDITIONING of a prompt of the usual length, with random features."""
    tiny_length, tiny_models.TOKENS = tiny_models.TOKENS, tiny_models.TOKENS if tiny else full.tokens
    try:
        return tiny_models.conditioning(full.family, seed)
    finally:
        tiny_models.TOKENS = tiny_length


def unfilled(full: FullModel, weights: torch.dtype, compute: torch.dtype | None) -> ModelPatcher:
    """A MODEL whose weights have shapes and dtypes but take no memory."""
    with torch.inference_mode():
        model = host_model(full, weights, compute, "meta")
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def vae(full: FullModel, tiny: bool):
    if tiny:
        return tiny_vaes.VAES[TINY_VAES[full.family]].build()
    return full.vae(torch.bfloat16)


def write_tiny_vae(latent_format) -> None:
    """Write a tiny VAE for a video model's latents, with random weights, to where a user has the published one."""
    path = Path(folder_paths.get_folder_paths("vae_approx")[0]) / f"{latent_format.taesd_decoder_name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    network = comfy.taesd.taehv.TAEHV(latent_format.latent_channels)
    save_file({name: value.half() for name, value in tiny_vaes.random_state(network).items()}, path)


def latent_shape(full: FullModel, shape: tuple[int, ...], tiny: bool) -> tuple[int, ...]:
    return (*tiny_models.FAMILIES[full.family].latent_shape[:-2], 4, 4) if tiny else shape


TINY_VAES = {"sd15": "image", "hunyuan_video": "hunyuan", "wan21": "wan 2.1"}
