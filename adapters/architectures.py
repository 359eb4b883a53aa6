"""What adapters, training and nodes know about each base model, one description a family.

For them, supporting another family means adding one entry to ``ARCHITECTURES``: where
the queries, keys and values of (spatial) self-attention live (Eq. 6), what its blocks
do to autograd, and how it is usually sampled.
"""

import re
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from comfy.model_base import BaseModel
from torch import Tensor


@dataclass(frozen=True)
class Defaults:
    """How a family is usually sampled and trained, taken where a user asks for nothing else.

    width, height [pixels], length [frames], steps, cfg: of sampling.
    learning_rate, training_steps: section 7 of the paper, which names them for a UNet and for a DiT.
    """

    width: int
    height: int
    length: int
    steps: int
    cfg: float
    learning_rate: float = 2e-5
    training_steps: int = 4000


@dataclass(frozen=True)
class Architecture:
    """One family of diffusion models.

    name: short family name, written into adapter files. title: its name for people.
    model_classes: class names of the host's base models that belong to it.
    linears: pattern of the linears that make q, k and v, one or all three at once;
    names are relative to ``diffusion_model``.
    linears_with_mlp: pattern of linears whose first 3 x in_features rows are q, k and v,
    and whose other rows belong to the MLP.
    blocks: pattern of the modules that are recomputed one by one in block checkpointing.
    mutates_saved_tensors: its blocks add in place to tensors that autograd has saved.
    vae_classes: class names of the host's autoencoders that are made for it.
    length_step: clips have a multiple of it plus one frames, where its VAE's own word is not enough.
    kohya_keys: files name modules as Stable Diffusion LoRAs do, not as the host does.
    """

    name: str
    title: str
    model_classes: tuple[str, ...]
    linears: re.Pattern
    blocks: re.Pattern
    vae_classes: tuple[str, ...]
    defaults: Defaults
    linears_with_mlp: re.Pattern | None = None
    mutates_saved_tensors: bool = False
    length_step: int = 1
    kohya_keys: bool = False


_HUNYUAN = Architecture(
    name="hunyuan_video",
    title="HunyuanVideo",
    model_classes=("HunyuanVideo",),
    linears=re.compile(r"double_blocks\.\d+\.img_attn\.qkv"),
    linears_with_mlp=re.compile(r"single_blocks\.\d+\.linear1"),
    blocks=re.compile(r"(double|single)_blocks\.\d+"),
    vae_classes=("AutoencoderKL", "AutoencodingEngine", "TAEHV"),
    defaults=Defaults(512, 768, 61, 30, 1.0),
    mutates_saved_tensors=True,
)

ARCHITECTURES = (
    Architecture(
        name="sd15",
        title="AnimateDiff (Stable Diffusion 1.5)",
        model_classes=("SD15",),
        linears=re.compile(r"(input_blocks|middle_block|output_blocks)\.[\d.]+\.transformer_blocks\.\d+\.attn1\.to_[qkv]"),
        blocks=re.compile(r"(input_blocks\.\d+|middle_block|output_blocks\.\d+)\.\w+"),
        vae_classes=("AutoencoderKL", "AutoencodingEngine", "TAESD"),
        defaults=Defaults(512, 512, 16, 50, 7.5, learning_rate=1e-4, training_steps=800),
        kohya_keys=True,
    ),
    replace(
        _HUNYUAN,
        name="hunyuan_video_15",
        title="HunyuanVideo 1.5",
        model_classes=("HunyuanVideo15",),
        vae_classes=("AutoencodingEngine", "TAEHV"),
        defaults=Defaults(848, 480, 61, 20, 6.0),
    ),
    _HUNYUAN,
    Architecture(
        name="wan22_5b",
        title="Wan 2.2 5B",
        model_classes=("WAN22",),
        linears=re.compile(r"blocks\.\d+\.self_attn\.[qkv]"),
        blocks=re.compile(r"blocks\.\d+"),
        vae_classes=("WanVAE", "TAEHV"),
        defaults=Defaults(1280, 704, 49, 20, 5.0),
    ),
    Architecture(
        name="wan",
        title="Wan 2.1, Wan 2.2 14B",
        model_classes=("WAN21", "WAN21_Vace"),
        linears=re.compile(r"blocks\.\d+\.self_attn\.[qkv]"),
        blocks=re.compile(r"blocks\.\d+"),
        vae_classes=("WanVAE", "TAEHV"),
        defaults=Defaults(832, 480, 33, 30, 6.0),
    ),
    Architecture(
        name="ltxv",
        title="LTX-Video",
        model_classes=("LTXV",),
        linears=re.compile(r"transformer_blocks\.\d+\.attn1\.to_[qkv]"),
        blocks=re.compile(r"transformer_blocks\.\d+"),
        mutates_saved_tensors=True,
        vae_classes=("VideoVAE", "TAEHV"),
        defaults=Defaults(768, 512, 49, 30, 3.0),
    ),
    Architecture(
        name="cogvideox",
        title="CogVideoX",
        model_classes=("CogVideoX",),
        linears=re.compile(r"blocks\.\d+\.[qkv]"),
        blocks=re.compile(r"blocks\.\d+"),
        vae_classes=("AutoencoderKLCogVideoX",),
        length_step=8,  # an even number of latent frames decodes to fewer frames than the VAE says
        defaults=Defaults(720, 480, 49, 50, 6.0),
    ),
)


@dataclass(frozen=True)
class Target:
    """One linear that gets a low-rank residual; ``name`` starts with ``diffusion_model.``.

    rows: how many of its leading output features the residual is added to.
    """

    name: str
    in_features: int
    out_features: int
    rows: int


@runtime_checkable
class Linear(Protocol):
    """A linear layer: the host's with weights of 8 bits are no ``nn.Linear``."""

    in_features: int
    out_features: int
    weight: Tensor


def architecture_of(model: BaseModel) -> Architecture:
    """The description that fits a host base model (``patcher.model``).

    Raises ValueError, naming the family and the supported ones, if there is none.
    """
    family = type(model.model_config).__name__
    names = {type(model).__name__, family}
    for architecture in ARCHITECTURES:
        if names.intersection(architecture.model_classes) and not _needs_picture(model):
            return architecture
    supported = "; ".join(architecture.title for architecture in ARCHITECTURES)
    raise ValueError(
        f"model: the family {family} is not supported; connect a text-to-video model of one of these families: {supported}."
    )


def _needs_picture(model: BaseModel) -> bool:
    """Image-to-video models share classes with text-to-video ones; Wan 2.2 5B (WAN22) is both."""
    return getattr(model, "image_to_video", False) and type(model).__name__ != "WAN22"


def find_targets(model: BaseModel) -> list[Target]:
    """The q, k and v linears of a host base model, in the order of its modules."""
    architecture = architecture_of(model)
    targets = []
    for name, module in model.diffusion_model.named_modules():
        if not isinstance(module, Linear):
            continue
        if architecture.linears.fullmatch(name):
            rows = module.out_features
        elif architecture.linears_with_mlp is not None and architecture.linears_with_mlp.fullmatch(name):
            rows = 3 * module.in_features
        else:
            continue
        targets.append(Target(f"diffusion_model.{name}", module.in_features, module.out_features, rows))
    return targets


def defaults_of(model: BaseModel) -> Defaults:
    """How a host base model is usually sampled; cfg 1 if it takes its guidance scale as an input."""
    defaults = architecture_of(model).defaults
    embedded = getattr(getattr(model.diffusion_model, "params", None), "guidance_embed", False)
    return replace(defaults, cfg=1.0) if embedded else defaults
