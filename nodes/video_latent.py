"""Empty video latents in the shape that a model and its VAE agree on."""

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor


def empty_latent(model: ModelPatcher, vae, width: int, height: int, length: int) -> Tensor:
    """Zeros [1, C, T, h, w] for one clip of ``length`` frames.

    Raises ValueError, naming the values that fit, if the VAE cannot represent the
    size, or if VAE and model do not belong together.
    """
    latent_format = model.get_model_object("latent_format")
    check_vae_fits(latent_format, vae)
    temporal_down, rows, columns = vae.downscale_ratio
    temporal_up = vae.upscale_ratio[0]
    _check_side("width", width, columns)
    _check_side("height", height, rows)
    frames = temporal_down(length)
    if temporal_up(frames) != length:
        shorter, longer = temporal_up(frames), temporal_up(frames + 1)
        raise ValueError(
            f"length: this VAE cannot represent {length} frames; use {shorter} or {longer}."
        )
    return torch.zeros(1, latent_format.latent_channels, frames, height // rows, width // columns)


def check_vae_fits(latent_format, vae) -> None:
    """Raise ValueError unless ``vae`` is a video VAE with the model's number of channels."""
    if not isinstance(vae.downscale_ratio, tuple):
        raise ValueError("vae: this is an image VAE; connect the video VAE that belongs to the model.")
    if vae.latent_channels != latent_format.latent_channels:
        raise ValueError(
            f"vae: it has {vae.latent_channels} latent channels and the model has {latent_format.latent_channels}; "
            "connect the VAE that belongs to the model."
        )


def _check_side(name: str, pixels: int, multiple: int) -> None:
    if pixels % multiple:
        lower = pixels // multiple * multiple
        raise ValueError(f"{name}: {pixels} is not a multiple of {multiple}; use {lower} or {lower + multiple}.")
