"""CLIP checkpoints of any size: read tower by tower, whatever names their weights carry.

Two layouts are known: open_clip's (also HPSv2's, wrapped in ``state_dict``) and transformers'
(PickScore). Weights are mapped from disk, so that a tower that is not used costs no memory.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..sentences import reason

TOWERS = {"vision": ("vision_model.", "visual_projection."), "text": ("text_model.", "text_projection.")}

# open_clip's name -> transformers' name. Matrices that open_clip keeps transposed are in _TRANSPOSED.
_VISION_NAMES = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
}
_TEXT_NAMES = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
}
_TRANSPOSED = {"visual.proj", "text_projection"}
_BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OPEN_CLIP_BLOCKS = {"vision": "visual.transformer.resblocks.", "text": "transformer.resblocks."}
_VOCABULARY = 49408  # of CLIP's tokenizer
_DEFAULT_LOGIT_SCALE = 100.0  # where training clips it; files that lack it were trained so


@dataclass(frozen=True)
class ClipFile:
    """What a checkpoint holds.

    image_size: side of the square input in pixels. context_length: tokens of a prompt.
    logit_scale: factor on cosines that it was trained with. activation: transformers' name.
    """

    path: Path
    image_size: int
    context_length: int
    logit_scale: float
    activation: str


def inspect(path: Path) -> ClipFile:
    """Check that both towers of a CLIP model are in the file and say what they expect.

    ValueError: not readable, not CLIP, or a tower is missing.
    """
    tensors = _read(path)
    vision, text = _tower(tensors, "vision"), _tower(tensors, "text")
    if "vision_model.embeddings.class_embedding" not in vision or "visual_projection.weight" not in vision:
        raise ValueError(
            f"model_name: {path.name} is no CLIP model with a vision transformer; choose HPSv2, PickScore or a CLIP "
            "file with image and text tower."
        )
    if "text_model.embeddings.token_embedding.weight" not in text or "text_projection.weight" not in text:
        raise ValueError(
            f"model_name: {path.name} has no text tower, so it cannot compare frames with prompts; choose HPSv2, "
            "PickScore or a CLIP file that has both towers."
        )
    seen, read = _settings(vision, "vision", path), _settings(text, "text", path)
    if seen["projection_dim"] != read["projection_dim"]:
        raise _incomplete(
            path, "text", f"its features have {read['projection_dim']} numbers, the image's {seen['projection_dim']}"
        )
    return ClipFile(
        path,
        seen["image_size"],
        read["max_position_embeddings"],
        _logit_scale(tensors, path),
        _activation(path.name, seen["hidden_size"]),
    )


def load_tower(file: ClipFile, tower: str) -> nn.Module:
    """The "vision" or "text" tower with its projection: float32, on the CPU, frozen.

    ValueError: weights are missing, have another shape than their neighbours, or are no numbers.
    """
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection

    weights = _tower(_read(file.path), tower)
    settings = _settings(weights, tower, file.path)
    weights = {name: weight.to(torch.float32, copy=True) for name, weight in weights.items()}
    try:
        with torch.device("meta"):
            if tower == "vision":
                network = CLIPVisionModelWithProjection(CLIPVisionConfig(**settings, hidden_act=file.activation))
            else:
                network = CLIPTextModelWithProjection(CLIPTextConfig(**settings, hidden_act=file.activation))
        network.load_state_dict(weights, assign=True)
    except (RuntimeError, ValueError) as error:
        raise _incomplete(file.path, tower, _first_detail(error)) from None
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise _incomplete(file.path, tower, "some weights are no numbers")
    _fill_position_ids(network)
    return network.eval().requires_grad_(False)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors = load_file(path)
        else:
            tensors = _read_torch(path)
    except OSError as error:
        raise ValueError(f"model_name: {path.name} could not be opened ({reason(error)}).") from None
    except Exception as error:  # a damaged archive raises nearly anything
        if type(error).__name__ == "UnpicklingError":  # what torch.load raises on anything but weights
            raise ValueError(
                f"model_name: {path.name} is no file of plain weights, and what else it holds is not loaded because "
                "it could run code; download the official file again or use a .safetensors one."
            ) from None
        raise ValueError(f"model_name: {path.name} could not be read ({reason(error)}); download it again.") from None
    if isinstance(tensors, dict):
        tensors = tensors.get("state_dict", tensors)
    if not isinstance(tensors, dict):
        return {}
    return {
        name: value
        for name, value in tensors.items()
        if isinstance(name, str) and isinstance(value, Tensor) and (value.ndim or name == "logit_scale")
    }


def _read_torch(path: Path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError as error:
        if "mmap can only be used" not in str(error):
            raise
    return torch.load(path, map_location="cpu", weights_only=True)  # the format of before PyTorch 1.6


def _tower(tensors: dict[str, Tensor], tower: str) -> dict[str, Tensor]:
    """The weights of a tower under transformers' names, still in the file's precision."""
    prefixes = TOWERS[tower]
    weights = {name: value for name, value in tensors.items() if name.startswith(prefixes) and not name.endswith("position_ids")}
    if weights:
        return weights
    names = _VISION_NAMES if tower == "vision" else _TEXT_NAMES
    for name, value in tensors.items():
        if name in names:
            weights[names[name]] = value.T if name in _TRANSPOSED else value
        elif name.startswith(_OPEN_CLIP_BLOCKS[tower]):
            number, _, rest = name.removeprefix(_OPEN_CLIP_BLOCKS[tower]).partition(".")
            weights.update(_block(f"{prefixes[0]}encoder.layers.{number}.", rest, value))
    return weights


def _block(prefix: str, name: str, value: Tensor) -> dict[str, Tensor]:
    """A weight of one transformer block, open_clip's fused q, k, v taken apart."""
    module, _, kind = name.rpartition(".")
    if name.startswith("attn.in_proj_"):
        kind = name.removeprefix("attn.in_proj_")
        return {f"{prefix}self_attn.{part}_proj.{kind}": piece for part, piece in zip("qkv", value.chunk(3))}
    return {f"{prefix}{_BLOCK_NAMES.get(module, module)}.{kind}": value}


def _settings(weights: dict[str, Tensor], tower: str, path: Path) -> dict[str, Any]:
    """What the shapes of a tower's weights say about it, by transformers' names."""
    try:
        settings = {"vision": _vision_settings, "text": _text_settings}[tower](weights)
    except KeyError as missing:
        raise _incomplete(path, tower, f"{missing.args[0]} is missing") from None
    except (ValueError, TypeError):  # a tensor of other dimensions
        settings = {}
    if not all(settings.values()) or not settings:
        raise _incomplete(path, tower, "its weights have shapes that do not belong together")
    return settings


def _vision_settings(weights: dict[str, Tensor]) -> dict[str, Any]:
    prefix = "vision_model.embeddings."
    width, _, patch, _ = weights[prefix + "patch_embedding.weight"].shape
    side = math.isqrt(len(weights[prefix + "position_embedding.weight"]) - 1)
    return _block_settings(weights, "vision_model.", width) | {
        "num_attention_heads": 16 if width >= 1024 else width // 64,  # L, H, g and G have 16
        "image_size": side * patch,
        "patch_size": patch,
        "projection_dim": len(weights["visual_projection.weight"]),
    }


def _text_settings(weights: dict[str, Tensor]) -> dict[str, Any]:
    vocabulary, width = weights["text_model.embeddings.token_embedding.weight"].shape
    if vocabulary < _VOCABULARY:
        raise ValueError("the vocabulary is not CLIP's")
    return _block_settings(weights, "text_model.", width) | {
        "num_attention_heads": width // 64,
        "vocab_size": vocabulary,
        "eos_token_id": vocabulary - 1,
        "max_position_embeddings": len(weights["text_model.embeddings.position_embedding.weight"]),
        "projection_dim": len(weights["text_projection.weight"]),
    }


def _block_settings(weights: dict[str, Tensor], prefix: str, width: int) -> dict[str, int]:
    ends = "mlp.fc1.bias"
    layers = [value for name, value in weights.items() if name.startswith(f"{prefix}encoder.") and name.endswith(ends)]
    return {"hidden_size": width, "intermediate_size": len(layers[0]) if layers else 4 * width, "num_hidden_layers": len(layers)}


def _logit_scale(tensors: dict[str, Tensor], path: Path) -> float:
    stored = tensors.get("logit_scale")
    if stored is None:
        return _DEFAULT_LOGIT_SCALE
    scale = stored.float().exp()
    if scale.numel() != 1 or not 0 < scale.item() < math.inf:
        raise ValueError(f"model_name: logit_scale in {path.name} is no scale; enter one in logit_scale, or choose another file.")
    return scale.item()


def _incomplete(path: Path, tower: str, detail: str) -> ValueError:
    return ValueError(f"model_name: the {tower} tower of {path.name} is not complete ({detail}); download the file again.")


def _activation(name: str, vision_width: int) -> str:
    """OpenAI's ViT-B and ViT-L use the sigmoid approximation of GELU, LAION's models the exact one.

    The weights do not tell them apart, so a B or L is taken for OpenAI's unless the file's name
    says otherwise; H, g and G exist from LAION alone.
    """
    exact = any(word in name.lower() for word in ("laion", "datacomp"))
    return "gelu" if exact or vision_width >= 1280 else "quick_gelu"


def _fill_position_ids(network: nn.Module) -> None:
    """Buffers that no checkpoint holds, 0 .. n - 1 by their definition."""
    for module in network.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                module._buffers[name] = torch.arange(buffer.shape[-1]).expand(buffer.shape)


def _first_detail(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[min(1, len(lines) - 1)].strip().rstrip(".")
