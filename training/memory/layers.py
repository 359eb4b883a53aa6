"""What a model's recomputable blocks work on, in numbers: the input of the memory plan."""

import math
from typing import cast

from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, ResBlock, UNetModel, Upsample
from comfy.model_patcher import ModelPatcher
from torch import nn

from ...adapters.architectures import Architecture, find_targets
from ...adapters.motion_injection import EVOLVED, find_sites
from ...adapters.motion_injection import KEY as MOTION_KEY
from .estimate import Layer

# Tokens of a prompt that pass through the blocks together with those of the video (HunyuanVideo's 256, CogVideoX's 226).
TEXT_TOKENS = 256
# What a UNet itself is made of; motion modules of a model that was sampled just now are not among them.
UNetLayer = nn.Conv2d | ResBlock | SpatialTransformer | Downsample | Upsample


def layers_of(
    patcher: ModelPatcher, architecture: Architecture, shape: tuple[int, ...], text_tokens: int = TEXT_TOKENS
) -> tuple[Layer, ...]:
    """The blocks of a MODEL for latents of ``shape`` and one prompt, in the order in which they run."""
    network = patcher.model.diffusion_model
    if isinstance(network, UNetModel):
        motion = bool({MOTION_KEY, EVOLVED} & (patcher.injections.keys() | patcher.additional_models.keys()))
        return tuple(_unet_layers(network, shape, motion))
    widths = {target.name.removeprefix("diffusion_model."): target.in_features for target in find_targets(patcher.model)}
    tokens = _video_tokens(network, shape) + text_tokens
    layers = []
    for name, module in network.named_modules():
        if architecture.blocks.fullmatch(name):
            width = next(width for target, width in widths.items() if target.startswith(f"{name}."))
            layers.append(Layer(f"{architecture.name}.{name.split('.')[0]}", tokens, width, _hidden(module)))
    return tuple(layers)


def _video_tokens(network: nn.Module, shape: tuple[int, ...]) -> int:
    patch = getattr(network, "patch_size", 1)
    patch = (1, patch, patch) if isinstance(patch, int) else tuple(patch)
    return math.prod(math.ceil(length / side) for length, side in zip(shape[2:], patch))


def _hidden(block: nn.Module) -> int:
    """Width inside the block's MLP where it is no fixed multiple of the block's own (Wan)."""
    mlp = getattr(block, "ffn", None)
    return getattr(mlp[0], "out_features", 0) if isinstance(mlp, nn.Sequential) else 0


def _unet_layers(unet: UNetModel, shape: tuple[int, ...], motion: bool) -> list[Layer]:
    frames, _, height, width = shape
    layers = []
    level = 1
    sites = {id(site.block): site for part in vars(find_sites(unet)).values() for site in part}
    blocks = cast(list[nn.Module], [*unet.input_blocks, unet.middle_block, *unet.output_blocks])
    for block in blocks:
        for layer in (module for module in block.children() if isinstance(module, UNetLayer)):
            if isinstance(layer, Upsample):
                level //= 2
            tokens = frames * math.ceil(height / level) * math.ceil(width / level)
            layers.append(Layer(f"sd15.{_kind(layer)}", tokens, _channels(layer)))
            if isinstance(layer, Downsample):
                level *= 2
            if motion and id(block) in sites and layer is getattr(block, sites[id(block)].after):
                layers.append(Layer("sd15.MotionModule", tokens, sites[id(block)].channels))
    return layers


def _kind(layer: nn.Module) -> str:
    return type(layer).__name__ if isinstance(layer, (ResBlock, SpatialTransformer)) else "other"


def _channels(layer: UNetLayer) -> int:
    return layer.in_channels if isinstance(layer, SpatialTransformer) else layer.out_channels


def decoder_width(network: nn.Module) -> int:
    """Channels that go into the last layer of a VAE's decoder."""
    decoder = getattr(network, "decoder", None) or getattr(network, "taesd_decoder", network)
    convolutions = [module for module in decoder.modules() if isinstance(module, (nn.Conv2d, nn.Conv3d))]
    return convolutions[-1].in_channels if convolutions else 128
