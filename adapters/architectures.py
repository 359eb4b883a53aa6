"""Where the queries, keys and values of (spatial) self-attention live in each base model.

One description per architecture is all that the rest of the pack knows about a
base model; supporting another one means adding one entry to ``ARCHITECTURES``.
"""

import re
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Architecture:
    """How to find the linears of Eq. 6 in one family of diffusion models.

    name: short family name, written into adapter files.
    model_classes: class names of the host's base models that belong to it.
    linears: pattern of the linears' names, relative to ``diffusion_model``.
    """

    name: str
    model_classes: tuple[str, ...]
    linears: re.Pattern


ARCHITECTURES = (
    Architecture(
        name="wan",
        model_classes=("WAN21",),
        linears=re.compile(r"blocks\.\d+\.self_attn\.[qkv]"),
    ),
)


@dataclass(frozen=True)
class Target:
    """One linear that gets a low-rank residual; ``name`` starts with ``diffusion_model.``."""

    name: str
    in_features: int
    out_features: int


def architecture_of(model: nn.Module) -> Architecture:
    """The description that fits a host base model (``patcher.model``).

    Raises ValueError, naming the family and the supported ones, if there is none.
    """
    lineage = {cls.__name__ for cls in type(model).__mro__}
    for architecture in ARCHITECTURES:
        if lineage.intersection(architecture.model_classes):
            return architecture
    supported = ", ".join(architecture.name for architecture in ARCHITECTURES)
    raise ValueError(
        f"model: the family {type(model.model_config).__name__} is not supported for identity training; "
        f"connect a model of one of these families: {supported}."
    )


def find_targets(model: nn.Module) -> list[Target]:
    """The q, k and v linears of a host base model, in the order of its modules."""
    architecture = architecture_of(model)
    return [
        Target(f"diffusion_model.{name}", module.in_features, module.out_features)
        for name, module in model.diffusion_model.named_modules()
        if architecture.linears.fullmatch(name)
    ]
