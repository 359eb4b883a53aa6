"""Tiny random motion modules with the key names of the published checkpoints.

The weights are those that diffusers' MotionAdapter would have for a given UNet; every layout that people download holds the
same ones under other names.
"""

from pathlib import Path

import safetensors.torch
import torch
from comfy.ldm.modules.attention import SpatialTransformer
from torch import Tensor

FRAMES = {"v1": 24, "v2": 32, "v3": 32, "lcm": 64}  # the lengths of the published positional tables
LAYOUTS = ("plain", "state_dict", "module", "diffusers")


def write_motion_module(
    path: Path,
    unet,
    version: str = "v2",
    layout: str = "plain",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    size: float = 1.0,
) -> Path:
    """Write a motion checkpoint for a host UNet (``model.model.diffusion_model``) to ``path``.

    version: "v1" (24 frames), "v2" (32 and a mid block), "v3" (32) or "lcm" (no table, 64). layout: "plain" keys, those
    that training scripts wrap ("state_dict" and "module"), or "diffusers". size: how strongly the modules act. Any suffix
    but .safetensors gives a .ckpt.
    """
    tensors = random_weights(unet, mid_block=version == "v2", seed=seed, size=size)
    tables = version != "lcm"
    rows = {}
    for name, weight in tensors.items():
        channels = len(weight)
        rows[name if layout == "diffusers" else published_name(name)] = weight.to(dtype)
        if tables and name.endswith("norm3.weight"):
            block = name.removesuffix("norm3.weight")
            table = positional_table(FRAMES[version], channels).to(dtype)
            places = (
                ["pos_embed.pe"] if layout == "diffusers" else [f"attention_blocks.{index}.pos_encoder.pe" for index in (0, 1)]
            )
            for place in places:
                rows[(block if layout == "diffusers" else published_name(block)) + place] = table.clone()
    if layout == "module":
        rows = {f"module.{name}": weight for name, weight in rows.items()}
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(rows, path)
    else:
        torch.save({"epoch": 1, "state_dict": rows} if layout in ("state_dict", "module") else rows, path)
    return path


def random_weights(unet, mid_block: bool, seed: int = 0, size: float = 1.0) -> dict[str, Tensor]:
    """The random weights under the names of diffusers, without positional tables."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, channels in module_channels(unet, mid_block).items():
        for weight, shape in _shapes(channels).items():
            noise = torch.randn(shape, generator=generator)
            if weight.endswith("weight") and len(shape) == 2:
                gain = 2.0 if "to_q" in weight or "to_k" in weight else 1.0  # attention that tells frames apart
                tensors[f"{name}.{weight}"] = noise * gain * (size if weight == "proj_out.weight" else 1) / shape[1] ** 0.5
            else:
                tensors[f"{name}.{weight}"] = noise * 0.1 + (1.0 if weight.endswith("weight") else 0.0)
    return tensors


def module_channels(unet, mid_block: bool) -> dict[str, int]:
    """The number of channels of each module, by its name in diffusers, as the layers of the host's UNet have it."""
    channels = {}
    for part, blocks in (("down_blocks", unet.input_blocks), ("up_blocks", unet.output_blocks)):
        level = index = 0
        for block in list(blocks):
            kinds = [type(layer).__name__ for layer in block]
            if "ResBlock" in kinds:
                channels[f"{part}.{level}.motion_modules.{index}"] = block[0].out_channels
                index += 1
            if "Downsample" in kinds or "Upsample" in kinds:
                level, index = level + 1, 0
    if mid_block:
        transformer = next(layer for layer in unet.middle_block if isinstance(layer, SpatialTransformer))
        channels["mid_block.motion_modules.0"] = transformer.in_channels
    return channels


def published_name(name: str) -> str:
    """The name that the first releases of AnimateDiff have for a name of diffusers."""
    module, index, rest = name.partition(".transformer_blocks")
    for theirs, published in (
        ("attn1", "attention_blocks.0"),
        ("attn2", "attention_blocks.1"),
        ("norm1", "norms.0"),
        ("norm2", "norms.1"),
        ("norm3", "ff_norm"),
    ):
        rest = rest.replace(f".{theirs}.", f".{published}.")
    head, _, tail = module.partition(".motion_modules.")
    number, _, tail = tail.partition(".")
    return f"{head}.motion_modules.{number}.temporal_transformer" + (f".{tail}" if tail else "") + index + rest


def positional_table(length: int, channels: int) -> Tensor:
    places = torch.arange(length, dtype=torch.float64)[:, None]
    angles = places / 10000 ** (torch.arange(0, channels, 2, dtype=torch.float64) / channels)
    table = torch.empty(1, length, channels)
    table[..., 0::2], table[..., 1::2] = angles.sin(), angles.cos()
    return table


def _shapes(channels: int) -> dict[str, tuple[int, ...]]:
    block = "transformer_blocks.0"
    shapes = {
        "norm.weight": (channels,),
        "norm.bias": (channels,),
        "proj_in.weight": (channels, channels),
        "proj_in.bias": (channels,),
        f"{block}.ff.net.0.proj.weight": (8 * channels, channels),
        f"{block}.ff.net.0.proj.bias": (8 * channels,),
        f"{block}.ff.net.2.weight": (channels, 4 * channels),
        f"{block}.ff.net.2.bias": (channels,),
        "proj_out.weight": (channels, channels),
        "proj_out.bias": (channels,),
    }
    for attention in ("attn1", "attn2"):
        for linear in ("to_q", "to_k", "to_v", "to_out.0"):
            shapes[f"{block}.{attention}.{linear}.weight"] = (channels, channels)
        shapes[f"{block}.{attention}.to_out.0.bias"] = (channels,)
    for norm in ("norm1", "norm2", "norm3"):
        shapes[f"{block}.{norm}.weight"] = shapes[f"{block}.{norm}.bias"] = (channels,)
    return shapes
