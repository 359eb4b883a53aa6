"""Empty latents of a clip in the shape that a model and its VAE agree on."""

from itertools import count

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..adapters.architectures import ARCHITECTURES, Defaults, architecture_of

IMAGE = 2  # latent dimensions of models whose frames are the batch


def clip_size(defaults: Defaults, width: int, height: int, length: int) -> tuple[int, int, int]:
    """The size asked for; what is 0 is the family's own."""
    return width or defaults.width, height or defaults.height, length or defaults.length


def empty_latent(model: ModelPatcher, vae, width: int, height: int, length: int) -> Tensor:
    """Zeros for one clip of ``length`` frames: [1, C, T, h, w], or [length, C, h, w] for image models.

    Raises ValueError, naming the values that fit, if the VAE cannot represent the
    size, or if VAE and model do not belong together.
    """
    latent_format = model.get_model_object("latent_format")
    check_vae_fits(model, vae)
    if latent_format.latent_dimensions == IMAGE:
        _check_side("width", width, vae.downscale_ratio)
        _check_side("height", height, vae.downscale_ratio)
        return torch.zeros(length, latent_format.latent_channels, height // vae.downscale_ratio, width // vae.downscale_ratio)
    temporal_down, rows, columns = vae.downscale_ratio
    temporal_up = vae.upscale_ratio[0]
    step = architecture_of(model.model).length_step
    _check_side("width", width, columns)
    _check_side("height", height, rows)

    def fits(frames: int) -> bool:
        return temporal_up(temporal_down(frames)) == frames and (frames - 1) % step == 0

    if not fits(length):
        shorter = next(frames for frames in range(length, 0, -1) if fits(frames))
        longer = next(frames for frames in count(length) if fits(frames))
        raise ValueError(f"length: this VAE cannot represent {length} frames; use {shorter} or {longer}.")
    return torch.zeros(1, latent_format.latent_channels, temporal_down(length), height // rows, width // columns)


def check_vae_fits(model: ModelPatcher, vae) -> None:
    """Raise ValueError unless ``vae`` makes frames out of the model's latents."""
    latent_format = model.get_model_object("latent_format")
    image_vae = not isinstance(vae.downscale_ratio, tuple)
    image_model = latent_format.latent_dimensions == IMAGE
    if image_vae and not image_model:
        raise ValueError("vae: this is an image VAE; connect the video VAE that belongs to the model.")
    if image_model and not image_vae:
        raise ValueError("vae: this is a video VAE; connect the image VAE that belongs to the model.")
    if vae.latent_channels != latent_format.latent_channels:
        raise ValueError(
            f"vae: it has {vae.latent_channels} latent channels and the model has {latent_format.latent_channels}; "
            "connect the VAE that belongs to the model."
        )
    own = architecture_of(model.model)
    known = {kind for architecture in ARCHITECTURES for kind in architecture.vae_classes}
    kind = next((kind.__name__ for kind in type(vae.first_stage_model).__mro__ if kind.__name__ in known), None)
    if kind is not None and kind not in own.vae_classes:
        others = " or ".join(other.title for other in ARCHITECTURES if kind in other.vae_classes)
        raise ValueError(f"vae: it belongs to {others}; connect the VAE of {own.title}.")


def _check_side(name: str, pixels: int, multiple: int) -> None:
    if pixels % multiple:
        lower = pixels // multiple * multiple
        raise ValueError(f"{name}: {pixels} is not a multiple of {multiple}; use {lower} or {lower + multiple}.")
