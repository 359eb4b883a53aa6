"""Tiny random checkpoints of every supported family, with the key names of the published files.

They are written as files and loaded by the host's own loader nodes, so that the host's detection, weight types and model
classes are the real ones; only depth and width are small. A seed always gives the same weights.

    write_diffusion_model("wan21", folder / "wan21.safetensors")
    model = load_model("wan21", folder)            # writes the file if it is not there yet
    latents = torch.zeros(FAMILIES["wan21"].latent_shape)
    positive = conditioning("wan21", seed=1)
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import comfy.supported_models
import folder_paths
import nodes
import torch
from safetensors.torch import save_file

TOKENS = 12
"""How many tokens the random prompts have."""

HUNYUAN = dict(
    image_model="hunyuan_video", mlp_ratio=4.0, hidden_size=256, num_heads=2, depth=2, theta=256, qkv_bias=True,
    axes_dim=[16, 56, 56], meanflow=False, meanflow_sum=False,
)  # fmt: skip
WAN = dict(
    image_model="wan2.1", model_type="t2v", dim=256, num_heads=2, ffn_dim=384, num_layers=2, patch_size=(1, 2, 2),
    freq_dim=256, window_size=(-1, -1), qk_norm=True, cross_attn_norm=True, eps=1e-6,
)  # fmt: skip
LTXV = dict(
    in_channels=128, cross_attention_dim=128, attention_head_dim=64, num_attention_heads=2, caption_channels=4096,
    num_layers=2, positional_embedding_theta=10000.0, positional_embedding_max_pos=[20, 2048, 2048],
    causal_temporal_positioning=True, vae_scale_factors=[8, 32, 32],
)  # fmt: skip


@dataclass(frozen=True)
class Family:
    """A family of models.

    latent_shape: that of a short clip with the smallest sides that every layer accepts, [B, C, T, h, w]; for sd15, whose
    frames are the batch, [T, C, h, w]. config: what the host's detection finds in the file. described: the part of it that
    is in the file's metadata. cfg: whether the family is sampled with guidance. loader: "diffusion_model" (Load Diffusion
    Model) or "checkpoint" (Load Checkpoint). context_dim: the width of the prompt's features. context_key: its name in
    config. extras(generator): further conditioning. doubled: parts of the names of matrices that need twice the size, or
    self-attention would not be felt in the output.
    """

    name: str
    model_class: str
    config: dict
    latent_shape: tuple[int, ...]
    context_dim: int
    cfg: bool = True
    loader: str = "diffusion_model"
    prefix: str = ""
    described: dict = field(default_factory=dict)
    extras: Callable[[torch.Generator], dict] = lambda generator: {}
    context_key: str = ""
    doubled: tuple[str, ...] = ()


def _hunyuan_extras(generator: torch.Generator) -> dict:
    return {"pooled_output": torch.randn(1, 768, generator=generator), "guidance": 6.0}


def _hunyuan15_extras(generator: torch.Generator) -> dict:
    return {"pooled_output": None, "conditioning_byt5small": torch.randn(1, 5, 1472, generator=generator)}


def _ltxv_extras(generator: torch.Generator) -> dict:
    mask = torch.ones(1, TOKENS, dtype=torch.long)
    mask[:, -3:] = 0
    return {"attention_mask": mask, "frame_rate": 25}


FAMILIES = {
    family.name: family
    for family in (
        Family(
            "sd15", "SD15",
            dict(
                image_size=32, in_channels=4, out_channels=4, model_channels=320, num_res_blocks=[1, 1],
                channel_mult=[1, 1], transformer_depth=[1, 0], transformer_depth_output=[1, 1, 0, 0],
                transformer_depth_middle=1, context_dim=768, use_linear_in_transformer=False, adm_in_channels=None,
                use_checkpoint=False, legacy=False, use_spatial_transformer=True, use_temporal_attention=False,
                use_temporal_resblock=False,
            ),
            latent_shape=(3, 4, 8, 8), context_dim=768, loader="checkpoint", prefix="model.diffusion_model.",
        ),
        Family(
            "hunyuan_video", "HunyuanVideo",
            HUNYUAN | dict(
                in_channels=16, out_channels=16, patch_size=[1, 2, 2], vec_in_dim=768, context_in_dim=4096,
                depth_single_blocks=2, byt5=False, guidance_embed=True, use_cond_type_embedding=False,
                vision_in_dim=None,
            ),
            latent_shape=(1, 16, 3, 8, 8), context_dim=4096, context_key="context_in_dim", cfg=False,
            extras=_hunyuan_extras,
        ),
        Family(
            "hunyuan_video_15", "HunyuanVideo15",
            HUNYUAN | dict(
                in_channels=65, out_channels=32, patch_size=[1, 1, 1], vec_in_dim=None, context_in_dim=3584,
                depth_single_blocks=0, byt5=True, guidance_embed=False, use_cond_type_embedding=True,
                vision_in_dim=1152, meanflow_sum=True,
            ),
            latent_shape=(1, 32, 3, 4, 4), context_dim=3584, context_key="context_in_dim", extras=_hunyuan15_extras,
        ),
        Family("wan21", "WAN21_T2V", WAN | dict(in_dim=16, out_dim=16), (1, 16, 3, 8, 8), 4096, context_key="text_dim"),
        Family("wan22_14b", "WAN21_T2V", WAN | dict(in_dim=16, out_dim=16), (1, 16, 3, 8, 8), 4096, context_key="text_dim"),
        Family("wan22_5b", "WAN22_T2V", WAN | dict(in_dim=48, out_dim=48), (1, 48, 3, 8, 8), 4096, context_key="text_dim"),
        Family(
            "ltxv", "LTXV", dict(image_model="ltxv") | LTXV, (1, 128, 3, 4, 4), 4096, loader="checkpoint",
            prefix="model.diffusion_model.", described=LTXV,
            extras=_ltxv_extras, context_key="caption_channels",
        ),
        Family(
            "cogvideox", "CogVideoX_T2V",
            dict(
                image_model="cogvideox", num_attention_heads=2, attention_head_dim=64, time_embed_dim=128,
                num_layers=2, in_channels=16, patch_size=2, text_embed_dim=4096,
                use_learned_positional_embeddings=False, use_rotary_positional_embeddings=True,
            ),
            (1, 16, 3, 8, 8), 4096, context_key="text_embed_dim",
            doubled=("time_embedding_linear", ".norm1.linear", ".norm2.linear"),
        ),
    )
}  # fmt: skip
"""Both experts of wan22_14b have one architecture; the high-noise one needs another seed."""


def diffusion_state(name: str, seed: int = 0, context_dim: int = 0) -> dict[str, torch.Tensor]:
    """Random float32 weights of the family's diffusion model, under the names of its module.

    context_dim: the width of the prompt's features, or 0 for the family's own.
    """
    family = FAMILIES[name]
    narrowed = {family.context_key: context_dim} if context_dim else {}
    config = getattr(comfy.supported_models, family.model_class)(family.config | narrowed)
    config.set_inference_dtype(torch.float32, None)
    network = config.get_model({}, "").diffusion_model
    generator = torch.Generator().manual_seed(seed)
    state = {key: _random(key, value, generator) for key, value in network.state_dict().items()}
    for key in state:
        if key.endswith("weight") and any(part in key for part in family.doubled):
            state[key] *= 2
    return state


def _random(key: str, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Norm scales near 1, small biases, and matrices that keep the size of what goes through, so that every layer matters."""
    values = torch.randn(like.shape, generator=generator)
    if like.ndim > 1:
        return values.div_(like[0].numel() ** 0.5)
    return values.mul_(0.1).add_(1.0 if key.endswith(("weight", "gamma")) else 0.0)


def write_diffusion_model(name: str, path: Path, seed: int = 0, context_dim: int = 0) -> Path:
    """Write the family's file with the diffusion model alone, as a checkpoint if the published file is one."""
    prefix = FAMILIES[name].prefix
    state = {prefix + key: value for key, value in diffusion_state(name, seed, context_dim).items()}
    save_file(state, path, metadata=file_metadata(name, context_dim))
    return path


def file_metadata(name: str, context_dim: int = 0) -> dict[str, str]:
    """The file's description of its network in the form that the host reads; Wan's has only what differs from published."""
    family = FAMILIES[name]
    config = dict(family.described)
    if context_dim:
        config[family.context_key] = context_dim
    return {"config": json.dumps({"transformer": config})} if config else {}


def load_model(name: str, folder: Path, weight_dtype: str = "default", seed: int = 0):
    """The MODEL that a user's loader node makes of ``folder/<name>.safetensors``, which is written if it is missing.

    With a seed other than 0 the file is ``<name>_<seed>``. A weight_dtype other than "default", such as "fp8_e4m3fn", goes
    through Load Diffusion Model.
    """
    family = FAMILIES[name]
    file = folder / (f"{name}_{seed}.safetensors" if seed else f"{name}.safetensors")
    if not file.exists():
        write_diffusion_model(name, file, seed)
    for kind in ("diffusion_models", "checkpoints"):
        folder_paths.add_model_folder_path(kind, str(folder), is_default=True)
    with torch.inference_mode():
        if family.loader == "checkpoint" and weight_dtype == "default":
            return nodes.CheckpointLoaderSimple().load_checkpoint(file.name)[0]
        return nodes.UNETLoader().load_unet(file.name, weight_dtype)[0]


def conditioning(name: str, seed: int = 0) -> list:
    """The CONDITIONING of one prompt, with random features in place of the family's text encoder."""
    family = FAMILIES[name]
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode():
        features = torch.randn(1, TOKENS, family.context_dim, generator=generator)
        return [[features, family.extras(generator)]]
