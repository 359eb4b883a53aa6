"""Empty latents of a clip in the shape that a model and its VAE agree on."""

from itertools import count

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..adapters.architectures import ARCHITECTURES, Defaults, architecture_of
from ..adapters.motion_injection import EVOLVED
from ..adapters.motion_injection import KEY as MOTION_KEY

IMAGE = 2  # latent dimensions of models whose frames are the batch


def clip_size(defaults: Defaults, width: int, height: int, length: int) -> tuple[int, int, int]:
    """The size asked for; what is 0 is the family's own."""
    return width or defaults.width, height or defaults.height, length or defaults.length


def empty_latent(model: ModelPatcher, vae, width: int, height: int, length: int) -> Tensor:
    """Zeros for one clip of ``length`` frames: [1, C, T, h, w], or [length, C, h, w] for image models.

    Raises ValueError, naming the values that fit, if model and VAE cannot represent the
    size, or if they do not belong together.
    """
    latent_format = model.get_model_object("latent_format")
    check_vae_fits(model, vae)
    channels = latent_format.latent_channels
    if length < 1:
        raise ValueError(f"length: {length} is no number of frames; use 1 or more, or 0 for the model's usual length.")
    if latent_format.latent_dimensions == IMAGE:
        _check_motion(model)
        multiple = vae.downscale_ratio
        _check_side("width", width, multiple)
        _check_side("height", height, multiple)
        return torch.zeros(length, channels, height // multiple, width // multiple)
    temporal_down, rows, columns = vae.downscale_ratio
    temporal_up = vae.upscale_ratio[0]
    step = architecture_of(model.model).length_step
    patch = _patch_side(model)
    _check_side("width", width, columns * patch)
    _check_side("height", height, rows * patch)

    def fits(frames: int) -> bool:
        return temporal_up(temporal_down(frames)) == frames and (frames - 1) % step == 0

    if not fits(length):
        shorter = next(frames for frames in range(length, 0, -1) if fits(frames))
        longer = next(frames for frames in count(length) if fits(frames))
        raise ValueError(f"length: this VAE cannot represent {length} frames; use {shorter} or {longer}.")
    return torch.zeros(1, channels, temporal_down(length), height // rows, width // columns)


def _check_motion(model: ModelPatcher) -> None:
    if not {MOTION_KEY, EVOLVED}.intersection(model.injections):
        raise ValueError(
            "model: Stable Diffusion 1.5 by itself makes single pictures; put Load AnimateDiff Motion Module behind it."
        )


def _patch_side(model: ModelPatcher) -> int:
    """Latent pixels along the side of one token: sides that are no multiple of it are padded or fail."""
    patch = getattr(model.model.diffusion_model, "patch_size", 1)
    return patch if isinstance(patch, int) else patch[-1]


def check_vae_fits(model: ModelPatcher, vae) -> None:
    """Raise ValueError unless ``vae`` makes frames out of the model's latents."""
    if getattr(vae, "first_stage_model", None) is None:
        raise ValueError("vae: the checkpoint has none; connect a Load VAE node with the one that belongs to the model.")
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


def check_latent(model: ModelPatcher, samples: Tensor) -> None:
    """Raise ValueError unless sampling can start from ``samples``; the host gives empty ones the model's channels itself."""
    latent_format = model.get_model_object("latent_format")
    dimensions, channels = latent_format.latent_dimensions + 2, latent_format.latent_channels
    fits = samples.ndim in (4, dimensions) and (samples.shape[1] == channels or not samples.any())
    if not fits or samples.ndim > dimensions:
        shape = " x ".join(map(str, samples.shape))
        raise ValueError(
            f"latent_image: {shape} numbers are no latents of this model, which have {dimensions} dimensions and {channels} "
            "channels; connect an empty latent that belongs to the model, or none."
        )
    if not samples.isfinite().all():
        raise ValueError("latent_image: it holds values that are no numbers; make it anew, or connect none.")


def _check_side(name: str, pixels: int, multiple: int) -> None:
    if pixels < 1 or pixels % multiple:
        lower = max(multiple, pixels // multiple * multiple)
        raise ValueError(f"{name}: {pixels} is not a multiple of {multiple}; use {lower} or {lower + multiple}.")
