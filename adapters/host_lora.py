"""LoRA files and the host's own key map: any file as residuals, the names that our files use.

The Apply node gives a late-step window to every plain LoRA the host can read,
whatever its key format: ours, kohya, diffusers.
"""

import logging
import math

import comfy.lora
import comfy.lora_convert
import comfy.utils
import torch
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor, nn

from ..sentences import reason
from .architectures import Linear, architecture_of
from .low_rank import LowRank, LowRankConv2d

TEXT_ENCODERS = ("lora_te", "text_encoder")


def residuals_for(patcher: ModelPatcher, lora: dict[str, Tensor], strength: float, name: str) -> dict[str, LowRank]:
    """Residuals by linear name, scaled by ``strength``.

    Weights in it that the model has no place for are counted in the log.
    Raises ValueError (naming the LoRA) if nothing in it fits the model, if it
    holds something else than plain low-rank matrices of linears and convolutions, or values that are no numbers.
    """
    lora = {key: value for key, value in lora.items() if isinstance(key, str) and isinstance(value, Tensor)}
    key_map = comfy.lora.model_lora_keys_unet(patcher.model, {})
    try:
        patches = comfy.lora.load_lora(comfy.lora_convert.convert_lora(lora), key_map, log_missing=False)
    except Exception as error:  # the host takes any file for a LoRA
        raise ValueError(f"lora_name: {name} is no LoRA that can be read ({reason(error)}); choose another file.") from error
    if not patches:
        raise ValueError(
            f"lora_name: {name} holds no weights for a {type(patcher.model).__name__} model; "
            "choose a LoRA that was trained for this model."
        )
    layers = {key.rsplit(".lora_", 1)[0] for key in lora if ".lora_" in key and not key.startswith(TEXT_ENCODERS)}
    if len(layers) > len(patches):
        logging.warning(
            "%s: %d of its %d layers do not exist in this model and are left out.", name, len(layers) - len(patches), len(layers)
        )
    return {_module_name(key, name): _residual(patcher, key, patch, strength, name) for key, patch in patches.items()}


def _module_name(key, name: str) -> str:
    if not isinstance(key, str) or not key.endswith(".weight"):
        raise ValueError(
            f"lora_name: {name} patches {key}, which cannot be limited to late steps; load it with the core Load LoRA node."
        )
    return key.removesuffix(".weight")


def _residual(patcher: ModelPatcher, key: str, patch, strength: float, name: str) -> LowRank:
    plain = isinstance(patch, LoRAAdapter) and all(part is None for part in patch.weights[3:])
    layer = comfy.utils.get_attr(patcher.model, key.removesuffix(".weight"))
    known = layer.groups == 1 if isinstance(layer, nn.Conv2d) else isinstance(layer, Linear)
    if not (plain and known):
        raise ValueError(
            f"lora_name: {name} is not a plain LoRA of linear and convolution layers (at {key}); "
            "load it with the core Load LoRA node instead."
        )
    up, down, alpha = patch.weights[:3]
    _check_pair(up, down, alpha, key, name)
    shape = tuple(layer.weight.shape)
    stored = (up.shape[0], *down.shape[1:])
    if shape[:2] != stored[:2] or down[0, 0].numel() != layer.weight.shape[2:].numel():
        raise ValueError(
            f"lora_name: {name} was made for another model: {key} is {shape} here "
            f"and {stored} in the file; choose a LoRA trained for this model."
        )
    scale = strength * (1.0 if alpha is None else float(alpha) / down.shape[0])
    with torch.inference_mode(False):  # so that a training on top can differentiate through it
        down = down.clone().reshape(-1, *shape[1:])
        up = up.clone().reshape(*up.shape[:2], *(1 for _ in shape[2:]))
        residual = LowRankConv2d(down, up, scale, layer) if isinstance(layer, nn.Conv2d) else LowRank(down, up, scale)
        return residual.requires_grad_(False)


def _check_pair(up: Tensor, down: Tensor, alpha: Tensor | float | None, key: str, name: str) -> None:
    matrix = min(up.ndim, down.ndim) >= 2 and up.numel() == up.shape[0] * up.shape[1]
    if not matrix or not down.numel() or up.shape[1] != down.shape[0]:
        raise ValueError(
            f"lora_name: {name} is damaged: its matrices at {key} are {tuple(down.shape)} and {tuple(up.shape)}, which do "
            "not belong together; choose another file."
        )
    if not (math.isfinite(alpha or 0) and all(part.float().isfinite().all() for part in (up, down))):
        raise ValueError(
            f"lora_name: {name} holds values that are no numbers (at {key}), as a training leaves them that went astray; "
            "choose another file, or train it again."
        )


def file_keys(model: BaseModel, linears: list[str]) -> dict[str, str]:
    """The name in our files of each linear (``diffusion_model...``) of a host base model.

    Stable Diffusion's is kohya's, which every tool of that family reads; elsewhere
    it is the host's own.
    """
    if not architecture_of(model).kohya_keys:
        return {name: name for name in linears}
    diffusers = comfy.utils.unet_to_diffusers(model.model_config.unet_config)
    names = {
        f"diffusion_model.{host}".removesuffix(".weight"): theirs.removesuffix(".weight").replace(".", "_")
        for theirs, host in diffusers.items()
    }
    return {name: f"lora_unet_{names[name]}" for name in linears}
