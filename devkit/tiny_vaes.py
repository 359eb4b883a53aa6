"""Small random VAEs of every family, made by the host's own loader and detection.

If the detection fixes the size of a network, the host's class is built smaller; everything else is the host's.
"""

import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import comfy.ldm.cogvideo.vae
import comfy.ldm.hunyuan_video.vae_refiner
import comfy.ldm.lightricks.vae.causal_video_autoencoder
import comfy.ldm.modules.temporal_ae
import comfy.ldm.wan.vae
import comfy.ldm.wan.vae2_2
import comfy.sd
import comfy.taesd.taehv
import comfy.taesd.taesd
import torch
from torch import nn


@dataclass(frozen=True)
class TinyVae:
    """A small VAE. build(dtype=float32) gives the comfy.sd.VAE. latents: the shape of a clip of several chunks."""

    build: Callable
    latents: tuple[int, ...]


def image(dtype=torch.float32):
    """Stable Diffusion's, with a decoder of 32 channels."""
    config = dict(double_z=True, z_channels=4, resolution=256, in_channels=3, out_ch=3, ch=32, ch_mult=[1, 2, 4, 4],
                  num_res_blocks=2, attn_resolutions=[], dropout=0.0)  # fmt: skip
    with _smaller(comfy.sd, "AutoencoderKL", ddconfig=config):
        return load(comfy.sd.AutoencoderKL(embed_dim=4), dtype)


def image_temporal(dtype=torch.float32):
    """Stable Video Diffusion's image VAE, whose decoder mixes frames, with 32 channels instead of 128."""
    module = comfy.ldm.modules.temporal_ae
    config = dict(double_z=True, z_channels=4, resolution=256, in_channels=3, out_ch=3, ch_mult=[1, 2, 4, 4],
                  num_res_blocks=1, attn_resolutions=[], dropout=0.0, video_kernel_size=[3, 1, 1], alpha=0.0)  # fmt: skip
    with _smaller(module, "VideoDecoder", ch=32, num_res_blocks=1):
        network = nn.Module()
        network.decoder = module.VideoDecoder(**config)
        return load(network, dtype)


def wan21(dtype=torch.float32):
    """Wan 2.1's, with dim 8."""
    return load(comfy.ldm.wan.vae.WanVAE(
        dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[], temperal_downsample=[False, True, True],
    ), dtype)  # fmt: skip


def wan22(dtype=torch.float32):
    """Wan 2.2's (5B), with dim 8 instead of 160 and 256."""
    with _smaller(comfy.ldm.wan.vae2_2, "WanVAE", dim=8, dec_dim=8):
        return load(comfy.ldm.wan.vae2_2.WanVAE(
            z_dim=48, dim_mult=[1, 2, 4, 4], num_res_blocks=2, attn_scales=[], temperal_downsample=[False, True, True],
        ), dtype)  # fmt: skip


def hunyuan(dtype=torch.float32, layers=1, growth=(1, 1, 2, 2)):
    """HunyuanVideo's, with 32 channels instead of 128, one layer a block instead of two, and less growth between blocks."""
    config = dict(double_z=True, z_channels=16, resolution=256, in_channels=3, out_ch=3, ch=32, ch_mult=list(growth),
                  num_res_blocks=layers, attn_resolutions=[], dropout=0.0, conv3d=True, time_compress=4)  # fmt: skip
    with _smaller(comfy.sd, "AutoencoderKL", ddconfig=config):
        return load(comfy.sd.AutoencoderKL(embed_dim=16), dtype)


def hunyuan15(dtype=torch.float32, layers=1, channels=(8, 8, 16, 32, 32)):
    """HunyuanVideo 1.5's, with 8 to 32 channels instead of 128 to 1024 and one layer a block instead of two."""
    module = comfy.ldm.hunyuan_video.vae_refiner
    sizes = dict(block_out_channels=list(channels), num_res_blocks=layers)
    with _smaller(module, "Decoder", **sizes), _smaller(module, "Encoder", **sizes):
        config = dict(in_channels=3, out_channels=3, z_channels=32, ffactor_spatial=16, ffactor_temporal=4)
        network = nn.Module()
        network.encoder, network.decoder = module.Encoder(**config), module.Decoder(**config)
        return load(network, dtype)


def cogvideo(dtype=torch.float32, layers=1, channels=(32, 32, 64, 64)):
    """CogVideoX's, with 32 and 64 channels instead of 128 to 512 and one layer a block instead of three."""
    sizes = dict(block_out_channels=channels, layers_per_block=layers)
    with _smaller(comfy.ldm.cogvideo.vae, "AutoencoderKLCogVideoX", **sizes):
        return load(comfy.ldm.cogvideo.vae.AutoencoderKLCogVideoX(latent_channels=16), dtype)


def ltx(dtype=torch.float32, timestep=False, noise=False, **changes):
    """LTX-Video's, which its file describes; timestep and noise are the conditioning and random noise of later versions."""
    config = dict(
        dims=3, in_channels=3, out_channels=3, latent_channels=128, norm_layer="pixel_norm", patch_size=4,
        latent_log_var="uniform", causal_decoder=False, timestep_conditioning=timestep, spatial_padding_mode="zeros",
        encoder_base_channels=8, decoder_base_channels=8,
        encoder_blocks=[["res_x", {"num_layers": 1}], ["compress_all", {}], ["res_x_y", 1], ["compress_all", {}],
                        ["compress_all", {}]],
        decoder_blocks=[
            ["res_x", {"num_layers": 1, "inject_noise": noise}], ["compress_all", {"residual": True, "multiplier": 2}],
            *([] if timestep else [["res_x_y", {"multiplier": 2}]]),
            ["res_x", {"num_layers": 1, "inject_noise": noise}], ["compress_all", {"residual": True, "multiplier": 2}],
            ["res_x", {"num_layers": 1, "inject_noise": noise}], ["compress_all", {}], ["res_x", {"num_layers": 1}],
        ],
    )  # fmt: skip
    config |= changes
    network = comfy.ldm.lightricks.vae.causal_video_autoencoder.VideoVAE(config=config)
    return load(network, dtype, {"config": json.dumps({"vae": config})})


def ltx_grouped(dtype=torch.float32):
    """An LTX-Video VAE whose normalisation spans all frames, so that no window of it is exact."""
    return ltx(dtype, norm_layer="group_norm", encoder_base_channels=32, decoder_base_channels=32,
               decoder_blocks=[["compress_all", {}]] * 3 + [["res_x", {"num_layers": 1}]])  # fmt: skip


def taesd(dtype=torch.float32):
    """The tiny VAE of Stable Diffusion, in its real size."""
    return load(comfy.taesd.taesd.TAESD(latent_channels=4), dtype)


def taehv(channels, dtype=torch.float32, stored=torch.float32):
    """A tiny video VAE in its real size.

    channels: 16 for Wan 2.1 and HunyuanVideo (stored as float16), 48 for Wan 2.2, 32 for HunyuanVideo 1.5, 128 for LTX-2.
    """
    return load(comfy.taesd.taehv.TAEHV(channels), dtype, stored=stored)


VAES = {
    "image": TinyVae(image, (5, 4, 4, 4)),
    "image temporal": TinyVae(image_temporal, (3, 4, 2, 2)),
    "wan 2.1": TinyVae(wan21, (1, 16, 6, 2, 2)),
    "wan 2.2": TinyVae(wan22, (1, 48, 5, 2, 2)),
    "hunyuan": TinyVae(hunyuan, (1, 16, 5, 1, 2)),
    "hunyuan 1.5": TinyVae(hunyuan15, (1, 32, 5, 2, 2)),
    "cogvideo": TinyVae(cogvideo, (1, 16, 3, 1, 2)),
    "ltx": TinyVae(ltx, (1, 128, 5, 2, 2)),
    "ltx timestep": TinyVae(lambda dtype=torch.float32: ltx(dtype, timestep=True), (1, 128, 4, 2, 2)),
    "ltx noise": TinyVae(lambda dtype=torch.float32: ltx(dtype, timestep=True, noise=True), (1, 128, 4, 2, 2)),
    "ltx grouped": TinyVae(ltx_grouped, (1, 128, 3, 2, 2)),
    "taesd": TinyVae(taesd, (3, 4, 2, 2)),
    "taehv wan 2.1": TinyVae(lambda dtype=torch.float32: taehv(16, dtype), (1, 16, 4, 2, 2)),
    "taehv hunyuan": TinyVae(lambda dtype=torch.float32: taehv(16, dtype, torch.float16), (1, 16, 3, 2, 2)),
    "taehv wan 2.2": TinyVae(lambda dtype=torch.float32: taehv(48, dtype), (1, 48, 3, 2, 2)),
    "taehv hunyuan 1.5": TinyVae(lambda dtype=torch.float32: taehv(32, dtype), (1, 32, 3, 2, 2)),
    "taehv ltx 2": TinyVae(lambda dtype=torch.float32: taehv(128, dtype), (1, 128, 3, 2, 2)),
}


def load(network: nn.Module, dtype=torch.float32, metadata=None, stored=torch.float32):
    """The VAE that the host's VAELoader makes of random weights for ``network``. stored: the dtype in the file."""
    state = {name: value.to(stored) for name, value in random_state(network).items()}
    with torch.inference_mode():
        return comfy.sd.VAE(sd=state, dtype=dtype, metadata=metadata)


def random_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Random weights that keep the size of activations; those of norms are 1."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, value in network.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if "scale" in name or "mean-of" in name:
            state[name] = 0.1 * noise
        elif "gamma" in name or "std-of" in name or ("norm" in name and name.endswith("weight")):
            state[name] = torch.ones_like(noise)
        else:
            state[name] = noise / value[0].numel() ** 0.5 if value.ndim > 1 else 0.02 * noise
    return state


@contextmanager
def _smaller(module, name: str, **sizes):
    """Context in which the host's class ``module.name`` is built with ``sizes``, whatever the loader asks for."""
    original = getattr(module, name)

    class Smaller(original):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, **sizes})

    setattr(module, name, Smaller)
    try:
        yield
    finally:
        setattr(module, name, original)
