"""Pipelines of diffusers with the weights of the tiny checkpoints, converted by diffusers' own single-file converters.

They have no text encoder and no VAE; ``latents`` runs them on random features of prompts.
"""

from pathlib import Path

import diffusers
import torch
from diffusers.loaders import single_file_utils
from safetensors.torch import load_file
from torch import Tensor

from devkit.tiny_models import FAMILIES, conditioning, diffusion_state

STEPS = {"sd15": 4, "wan21": 8, "hunyuan_video": 8}
CFG = {"sd15": 2.0, "wan21": 5.0, "hunyuan_video": 1.0}
"""That of sd15 is low, as random weights blow its latents up to a deviation of 30 even so."""


def animatediff(motion_module: Path) -> diffusers.AnimateDiffPipeline:
    """The pipeline for sd15 with a motion module from a file in the layout of a diffusers MotionAdapter."""
    family = FAMILIES["sd15"]
    width, heads = family.config["model_channels"], 8
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(width, width),
        layers_per_block=1,
        cross_attention_dim=family.context_dim,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=heads,
    )
    state = {family.prefix + key: value for key, value in diffusion_state("sd15").items()}
    unet.load_state_dict(single_file_utils.convert_ldm_unet_checkpoint(state, unet.config))
    motion = diffusers.MotionAdapter(block_out_channels=(width, width), motion_layers_per_block=1)
    motion.load_state_dict(load_file(motion_module))
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, timestep_spacing="trailing"
    )
    return diffusers.AnimateDiffPipeline(
        vae=None, text_encoder=None, tokenizer=None, unet=unet, motion_adapter=motion, scheduler=scheduler
    )


def wan(shift: float) -> diffusers.WanPipeline:
    config = FAMILIES["wan21"].config
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=config["num_heads"],
        attention_head_dim=128,
        ffn_dim=config["ffn_dim"],
        num_layers=config["num_layers"],
    )
    transformer.load_state_dict(single_file_utils.convert_wan_transformer_to_diffusers(diffusion_state("wan21")))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    return diffusers.WanPipeline(tokenizer=None, text_encoder=None, vae=None, scheduler=scheduler, transformer=transformer)


def hunyuan_video(shift: float) -> diffusers.HunyuanVideoPipeline:
    config = FAMILIES["hunyuan_video"].config
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        num_attention_heads=config["num_heads"], num_layers=config["depth"], num_single_layers=config["depth_single_blocks"]
    )
    transformer.load_state_dict(_hunyuan_state(diffusion_state("hunyuan_video"), config["hidden_size"]))
    return diffusers.HunyuanVideoPipeline(
        text_encoder=None,
        tokenizer=None,
        text_encoder_2=None,
        tokenizer_2=None,
        vae=None,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=shift),
        transformer=transformer,
    )


def latents(name: str, pipe, noise: Tensor, callback=None) -> Tensor:
    """Run the pipeline of family ``name`` from ``noise``; noise and result have the host's shape."""
    (features, extras), (negative, _) = conditioning(name, 1)[0], conditioning(name, 2)[0]
    video = noise.movedim(0, 1)[None] if noise.ndim == 4 else noise
    frames, rows, columns = video.shape[2:]
    options = dict(negative_prompt_embeds=negative, num_frames=frames, guidance_scale=CFG[name])
    if name != "sd15":
        options["num_frames"] = (frames - 1) * 4 + 1
    if name == "hunyuan_video":
        options = dict(
            num_frames=options["num_frames"],
            guidance_scale=extras["guidance"],
            pooled_prompt_embeds=extras["pooled_output"],
            prompt_attention_mask=torch.ones(features.shape[:2]),
        )
    pipe.set_progress_bar_config(disable=True)
    result = pipe(
        prompt_embeds=features,
        latents=video,
        height=rows * 8,
        width=columns * 8,
        num_inference_steps=STEPS[name],
        output_type="latent",
        callback_on_step_end=callback,
        **options,
    ).frames
    return result[0].movedim(0, 1) if noise.ndim == 4 else result


def sigmas(pipe) -> Tensor:
    """The noise levels of the pipeline's last run, in the host's terms."""
    scheduler = pipe.scheduler
    if not isinstance(scheduler, diffusers.DDIMScheduler):
        return scheduler.sigmas.clone()
    kept = scheduler.alphas_cumprod[scheduler.timesteps]
    return torch.cat([((1 - kept) / kept).sqrt(), torch.zeros(1)])


def _hunyuan_state(host: dict[str, Tensor], width: int) -> dict[str, Tensor]:
    """Weights under diffusers' names, by way of the published ones; linear1 is split here, not by full width."""
    fused, published = {}, {}
    for key, value in host.items():
        if "linear1" in key:
            block, kind = key.replace("single_blocks", "single_transformer_blocks").split(".linear1.")
            for name, rows in zip(
                ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), value.split((width, width, width, len(value) - 3 * width))
            ):
                fused[f"{block}.{name}.{kind}"] = rows
            continue
        for ours, theirs in (
            ("_embedder.in_layer", "_embedder.mlp.0"),
            ("_embedder.out_layer", "_embedder.mlp.2"),
            ("c_embedder.mlp.0", "c_embedder.linear_1"),
            ("c_embedder.mlp.2", "c_embedder.linear_2"),
            ("time_in.in_layer", "time_in.mlp.0"),
            ("time_in.out_layer", "time_in.mlp.2"),
            ("guidance_in.in_layer", "guidance_in.mlp.0"),
            ("guidance_in.out_layer", "guidance_in.mlp.2"),
            ("_mod.lin.", "_mod.linear."),
            ("_attn.qkv.", "_attn_qkv."),
            ("_attn.proj.", "_attn_proj."),
            ("_attn.norm.query_norm", "_attn_q_norm"),
            ("_attn.norm.key_norm", "_attn_k_norm"),
            (".norm.query_norm", ".q_norm"),
            (".norm.key_norm", ".k_norm"),
            (".modulation.lin.", ".modulation.linear."),
            ("img_mlp.0", "img_mlp.fc1"),
            ("img_mlp.2", "img_mlp.fc2"),
            ("txt_mlp.0", "txt_mlp.fc1"),
            ("txt_mlp.2", "txt_mlp.fc2"),
            (".mlp.0.", ".mlp.fc1." if ".blocks." in key else ".mlp.0."),
            (".mlp.2.", ".mlp.fc2." if ".blocks." in key else ".mlp.2."),
        ):
            key = key.replace(ours, theirs)
        published[key] = value
    return single_file_utils.convert_hunyuan_video_transformer_to_diffusers(published) | fused
