"""Motion modules from a file, whatever the layout it was published in.

AnimateDiff v1, v2 and v3, their safetensors forms, AnimateLCM, and the
MotionAdapter of diffusers hold the same weights under different names.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import comfy.utils
import torch
from torch import Tensor

from .motion_modules import MotionModules

FRAMES_WITHOUT_TABLE = 64  # AnimateLCM, the one publication that leaves its positional table out
GOOD_FILES = "mm_sd_v15_v2.ckpt, v3_sd15_mm.ckpt or another motion module for Stable Diffusion 1.5"

_MODULE = re.compile(r"(?:.*\.)?(down|mid|up)_blocks?(?:\.(\d+))?\.motion_modules\.(\d+)\.(?:temporal_transformer\.)?(.+)")
_RENAMED = (
    (".attn1.", ".attention_blocks.0."),
    (".attn2.", ".attention_blocks.1."),
    (".norm1.", ".norms.0."),
    (".norm2.", ".norms.1."),
    (".norm3.", ".ff_norm."),
    (".attention_blocks.0.pos_encoder.pe", ".positions"),
    (".pos_embed.pe", ".positions"),
)
_SECOND_TABLE = ".attention_blocks.1.pos_encoder.pe"
_PICTURE_INPUTS = ("img_encoder.", "fps_embedding.", "controlnet_cond_embedding.")


@dataclass(frozen=True)
class MotionCheckpoint:
    """Weights of the motion modules at each part of a UNet, in the order of its blocks."""

    name: str
    down: list[dict[str, Tensor]]
    middle: list[dict[str, Tensor]]
    up: list[dict[str, Tensor]]

    @property
    def max_frames(self) -> int:
        table = self.down[0].get("transformer_blocks.0.positions")
        return FRAMES_WITHOUT_TABLE if table is None else table.shape[1]

    def channels(self, part: str) -> list[int]:
        """Channels of each module of ``part`` ("down", "middle" or "up")."""
        return [len(weights["norm.weight"]) for weights in getattr(self, part)]

    def build(self, ops, dtype: torch.dtype, device: torch.device) -> MotionModules:
        """The networks with these weights; raises ValueError, naming the file, if they are others'."""
        parts = {part: self.channels(part) for part in ("down", "middle", "up")}
        try:
            modules = MotionModules(**parts, max_frames=self.max_frames, ops=ops, dtype=dtype, device=device)
            for part in parts:
                for module, weights in zip(getattr(modules, part), getattr(self, part)):
                    table = {"transformer_blocks.0.positions": module.transformer_blocks[0].positions}
                    module.load_state_dict(table | weights)
        except (RuntimeError, ValueError) as error:
            raise not_a_motion_module(self.name, "weights are missing, or there are others") from error
        if not all(weight.isfinite().all() for weights in self.down + self.middle + self.up for weight in weights.values()):
            raise not_a_motion_module(self.name, "some weights are no numbers")
        return modules.eval().requires_grad_(False)


def read_checkpoint(path: Path) -> MotionCheckpoint:
    """Raises ValueError, naming the file, if it cannot be read or holds something else."""
    try:
        stored = cast(dict, comfy.utils.load_torch_file(str(path), safe_load=True))
    except Exception as error:
        raise ValueError(
            f"motion_module: {path.name} cannot be read; download it again, as .safetensors if there is such a file."
        ) from error
    stored = stored if isinstance(stored, dict) else {}
    tensors = {name: tensor for name, tensor in stored.items() if isinstance(name, str) and isinstance(tensor, Tensor)}
    _refuse_picture_inputs(tensors, path.name)
    modules: dict[tuple, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if found := _MODULE.fullmatch(name):
            part, level, index, weight = found.groups()
            if not weight.endswith(_SECOND_TABLE):
                modules.setdefault((part, int(level or 0), int(index)), {})[_renamed(weight)] = tensor
    parts = {part: [modules[key] for key in sorted(modules) if key[0] == part] for part in ("down", "mid", "up")}
    if not (parts["down"] and parts["up"]) or not all(map(_has_size, modules.values())):
        raise not_a_motion_module(path.name, "it lacks motion modules for down_blocks and up_blocks")
    return MotionCheckpoint(path.name, parts["down"], parts["mid"], parts["up"])


def _has_size(weights: dict[str, Tensor]) -> bool:
    """Whether the weights of a module tell its channels and frames."""
    norm, table = weights.get("norm.weight"), weights.get("transformer_blocks.0.positions")
    return norm is not None and norm.ndim == 1 and (table is None or table.ndim == 3)


def not_a_motion_module(name: str, reason: str) -> ValueError:
    return ValueError(
        f"motion_module: {name} is not an AnimateDiff motion module for Stable Diffusion 1.5 ({reason}); choose {GOOD_FILES}."
    )


def _refuse_picture_inputs(tensors: dict[str, Tensor], name: str) -> None:
    entry = tensors.get("conv_in.weight")
    wide = entry is not None and entry.shape[1] != 4
    if wide or any(key.startswith(_PICTURE_INPUTS) for key in tensors):
        raise not_a_motion_module(name, "it needs a picture or other extra inputs")


def _renamed(weight: str) -> str:
    for theirs, ours in _RENAMED:
        weight = weight.replace(theirs, ours)
    return weight
