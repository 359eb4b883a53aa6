"""Motion modules inside the UNet of a MODEL, for as long as the host holds its injections.

The modules are an additional model of the patcher, so the host loads and
offloads them with it. Inside their blocks they are called ``personalvideo_motion``
and no other layer is renamed: names of weights, and so LoRAs, stay valid.
"""

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import cast

import comfy.model_patcher
import comfy.ops
import comfy.supported_models
import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock, UNetModel
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import ModelSamplingDiscrete
from comfy.patcher_extension import PatcherInjection
from torch import Tensor, nn

from .motion_checkpoint import GOOD_FILES, MotionCheckpoint
from .motion_modules import MotionModule, MotionModules

KEY = "personalvideo_motion"
EVOLVED = "ADE"  # the injection key of the pack AnimateDiff-Evolved
NODE = "Load AnimateDiff Motion Module"

# The host's "sqrt_linear" is what the rest of the world calls "linear": equal steps of beta.
BETAS = {"beta_schedule": "sqrt_linear", "linear_start": 0.00085, "linear_end": 0.012}


def apply_motion_modules(model: ModelPatcher, checkpoint: MotionCheckpoint) -> ModelPatcher:
    """A clone of ``model`` with the motion modules and AnimateDiff's noise schedule.

    Raises ValueError if the model is not a Stable Diffusion 1.5, has motion modules
    already, or has other blocks than the checkpoint was made for.
    """
    if not isinstance(model.model.model_config, comfy.supported_models.SD15):
        raise ValueError(
            f"model: {NODE} works on Stable Diffusion 1.5, and this model is {type(model.model.model_config).__name__}; "
            "connect a Stable Diffusion 1.5 checkpoint."
        )
    if KEY in model.injections:
        raise ValueError(f"model: {NODE} was already applied to it; connect the model from before that node.")
    _refuse_evolved(model)
    sites = find_sites(model.model.diffusion_model)
    for part, places in vars(sites).items():
        wanted, found = [site.channels for site in places], checkpoint.channels(part)
        if found != wanted and not (part == "middle" and not found):
            raise ValueError(
                f"motion_module: {checkpoint.name} was made for another base model: for the {part} blocks it has modules "
                f"of {_listed(found)} channels where the model has {_listed(wanted)}; choose {GOOD_FILES}."
            )
    # The host annotates whatever object it looks up as a module.
    dtype = cast(torch.dtype, model.get_model_object("manual_cast_dtype") or model.model_dtype())
    modules = checkpoint.build(comfy.ops.manual_cast, dtype, model.offload_device)

    patched = model.clone()
    patched.set_additional_models(KEY, [comfy.model_patcher.ModelPatcher(modules, patched.load_device, patched.offload_device)])
    patched.set_injections(KEY, [PatcherInjection(_inject, _eject)])
    patched.set_model_forward_timestep_embed_patch((MotionModule, partial(_run, checkpoint.name)))
    sampling = patched.get_model_object("model_sampling")
    if isinstance(sampling, ModelSamplingDiscrete):
        patched.add_object_patch("model_sampling", with_linear_betas(sampling))
    return patched


def with_linear_betas(sampling: ModelSamplingDiscrete) -> ModelSamplingDiscrete:
    """The same kind of prediction on AnimateDiff's noise schedule."""
    return type(sampling)(SimpleNamespace(sampling_settings=BETAS))


@dataclass(frozen=True)
class Site:
    """A motion module of ``channels`` belongs behind the layer ``after`` of ``block``."""

    block: nn.Sequential
    after: str
    channels: int


def find_sites(unet: UNetModel) -> SimpleNamespace:
    """Lists of sites ``down``, ``middle`` and ``up``: behind each spatial transformer, or the
    residual layer where a block has no transformer, and before any resampling."""
    return SimpleNamespace(down=_sites(unet.input_blocks), middle=_sites([unet.middle_block]), up=_sites(unet.output_blocks))


def _sites(blocks) -> list[Site]:
    sites = []
    for block in blocks:
        residuals = [(name, layer) for name, layer in block.named_children() if isinstance(layer, ResBlock)]
        transformers = [name for name, layer in block.named_children() if isinstance(layer, SpatialTransformer)]
        if residuals:
            name, layer = residuals[0]
            sites.append(Site(block, transformers[-1] if transformers else name, layer.out_channels))
    return sites


def _inject(patcher: ModelPatcher) -> None:
    _refuse_evolved(patcher)
    _eject(patcher)
    modules: MotionModules = patcher.get_additional_models_with_key(KEY)[0].model
    for part, sites in vars(find_sites(patcher.model.diffusion_model)).items():
        for site, module in zip(sites, getattr(modules, part)):
            _insert(site, module)


def _insert(site: Site, module: MotionModule) -> None:
    names = [name for name, _ in site.block.named_children()]
    site.block.add_module(KEY, module)
    for name in names[names.index(site.after) + 1 :]:
        layer = getattr(site.block, name)
        delattr(site.block, name)
        site.block.add_module(name, layer)


def _eject(patcher: ModelPatcher) -> None:
    unet = patcher.model.diffusion_model
    for block in (*unet.input_blocks, unet.middle_block, *unet.output_blocks):
        if hasattr(block, KEY):
            delattr(block, KEY)


def _run(name: str, module: MotionModule, x: Tensor, emb, context, options: dict, *shapes) -> Tensor:
    frames = len(x) // len(options.get("cond_or_uncond", [0]))
    if frames > module.max_frames:
        raise ValueError(
            f"length: {frames} frames are more than the {module.max_frames} that the motion module {name} can place "
            f"in time; use at most {module.max_frames}, or put the core node Context Windows (Manual) behind {NODE}."
        )
    return module(x, frames, options)


def _refuse_evolved(patcher: ModelPatcher) -> None:
    if EVOLVED in patcher.injections:
        raise ValueError(f"model: AnimateDiff-Evolved has put a motion module on it; use either its loader or {NODE}, not both.")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers)) or "no"
