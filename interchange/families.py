"""What the linears of each family are called here and in diffusers.

``FAMILIES`` has an entry for each family that the pack trains, under the name that adapter files carry as ``base_model``.
"""

import re
from dataclasses import dataclass

QKV = ("to_q", "to_k", "to_v")


@dataclass(frozen=True)
class Linear:
    """A linear in our files and the modules of diffusers that it is made of.

    ours: its name in our files. parts: the names of the modules in diffusers, in the order of the linear's rows. In both,
    ``{}`` stands for the same number. mlp_rows: how many more rows of the linear belong to the MLP, in multiples of the
    number of its inputs.
    """

    ours: str
    parts: tuple[str, ...]
    mlp_rows: int = 0


@dataclass(frozen=True)
class Family:
    """A family of base models.

    component: the part of a diffusers pipeline that holds the adapter. kohya: whether our files call the matrices
    lora_down and lora_up instead of lora_A and lora_B.
    """

    title: str
    linears: tuple[Linear, ...]
    component: str = "transformer"
    kohya: bool = False


def _fused(ours: str, theirs: str, mlp_rows: int = 0) -> Linear:
    return Linear(f"diffusion_model.{ours}", tuple(f"{theirs}.{part}" for part in QKV), mlp_rows)


def _separate(ours: str, theirs: str, names: tuple[str, ...]) -> tuple[Linear, ...]:
    return tuple(Linear(f"diffusion_model.{ours}.{name}", (f"{theirs}.{part}",)) for name, part in zip(names, QKV))


def _kohya(block: str) -> tuple[Linear, ...]:
    modules = f"{block}.attentions.{{}}.transformer_blocks.{{}}.attn1"
    return tuple(Linear(f"lora_unet_{modules}.{part}".replace(".", "_"), (f"{modules}.{part}",)) for part in QKV)


_WAN = _separate("blocks.{}.self_attn", "blocks.{}.attn1", ("q", "k", "v"))
_HUNYUAN_DOUBLE = _fused("double_blocks.{}.img_attn.qkv", "transformer_blocks.{}.attn")
_HUNYUAN_SINGLE = _fused("single_blocks.{}.linear1", "single_transformer_blocks.{}.attn", mlp_rows=4)

FAMILIES = {
    "sd15": Family(
        "AnimateDiff (Stable Diffusion 1.5)",
        _kohya("down_blocks.{}") + _kohya("mid_block") + _kohya("up_blocks.{}"), component="unet", kohya=True,
    ),
    "hunyuan_video_15": Family("HunyuanVideo 1.5", (_HUNYUAN_DOUBLE,)),
    "hunyuan_video": Family("HunyuanVideo", (_HUNYUAN_DOUBLE, _HUNYUAN_SINGLE)),
    "wan22_5b": Family("Wan 2.2 5B", _WAN),
    "wan": Family("Wan 2.1, Wan 2.2 14B", _WAN),
    "ltxv": Family("LTX-Video", _separate("transformer_blocks.{}.attn1", "transformer_blocks.{}.attn1", QKV)),
    "cogvideox": Family("CogVideoX", _separate("blocks.{}", "transformer_blocks.{}.attn1", ("q", "k", "v"))),
}  # fmt: skip


def numbers_in(template: str, name: str) -> tuple[str, ...] | None:
    """The numbers that ``name`` has where ``template`` has ``{}``, or None if it is another name.

    >>> numbers_in("blocks.{}.attn1.to_q", "blocks.12.attn1.to_q")
    ('12',)
    """
    match = re.fullmatch(re.escape(template).replace(r"\{\}", r"(\d+)"), name)
    return match and match.groups()
