"""Any LoRA file as residuals, through the host's own key map.

The Apply node gives a late-step window to every plain LoRA the host can read,
whatever its key format: ours, kohya, diffusers.
"""

import comfy.lora
import comfy.lora_convert
import torch
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor

from .low_rank import LowRank


def residuals_for(patcher: ModelPatcher, lora: dict[str, Tensor], strength: float, name: str) -> dict[str, LowRank]:
    """Residuals by linear name, scaled by ``strength``.

    Raises ValueError (naming the LoRA) if nothing in it fits the model, or if it
    holds something else than plain low-rank matrices of linears.
    """
    key_map = comfy.lora.model_lora_keys_unet(patcher.model, {})
    patches = comfy.lora.load_lora(comfy.lora_convert.convert_lora(lora), key_map, log_missing=False)
    if not patches:
        raise ValueError(
            f"lora_name: {name} holds no weights for a {type(patcher.model).__name__} model; "
            "choose a LoRA that was trained for this model."
        )
    return {
        _module_name(key, name): _residual(patcher, key, patch, strength, name)
        for key, patch in patches.items()
    }


def _module_name(key, name: str) -> str:
    if not isinstance(key, str) or not key.endswith(".weight"):
        raise ValueError(f"lora_name: {name} patches {key}, which cannot be limited to late steps; "
                         "load it with the core Load LoRA node.")
    return key.removesuffix(".weight")


def _residual(patcher: ModelPatcher, key: str, patch, strength: float, name: str) -> LowRank:
    plain = isinstance(patch, LoRAAdapter) and all(part is None for part in patch.weights[3:])
    if not plain or patch.weights[0].ndim != 2 or patch.weights[1].ndim != 2:
        raise ValueError(f"lora_name: {name} is not a plain LoRA of linear layers (at {key}); "
                         "load it with the core Load LoRA node instead.")
    up, down, alpha = patch.weights[:3]
    weight = patcher.get_model_object(key)
    if tuple(weight.shape) != (up.shape[0], down.shape[1]):
        raise ValueError(
            f"lora_name: {name} was made for another model: {key} is {tuple(weight.shape)} here "
            f"and {(up.shape[0], down.shape[1])} in the file; choose a LoRA trained for this model."
        )
    scale = strength * (1.0 if alpha is None else alpha / down.shape[0])
    with torch.inference_mode(False):  # so that a training on top can differentiate through it
        return LowRank(down.clone(), up.clone(), scale).requires_grad_(False)
