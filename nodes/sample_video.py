"""Sample Video: latents, frames and a video in one node, exactly as the core KSampler makes them."""

from fractions import Fraction

import comfy.samplers
import nodes as core_nodes
from comfy_api.latest import Types, io

from ..adapters.architectures import defaults_of
from .contract import checked
from .synthetic_video import SyntheticVideo
from .video_latent import check_latent, check_vae_fits, clip_size, empty_latent
from .wire_types import CATEGORY


class SampleVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoSampleVideo",
            display_name="Sample Video",
            category=CATEGORY,
            description="Samples a clip from noise and decodes it. The result equals the core KSampler's for the same "
            "settings; use that one if you need more control.",
            search_aliases=["text to video", "t2v", "ksampler video", "PersonalVideo"],
            inputs=[
                io.Model.Input("model", tooltip="The text-to-video model, with its LoRAs."),
                io.Conditioning.Input("positive", tooltip="The prompt, with the trigger word of the identity."),
                io.Conditioning.Input("negative", tooltip="What to avoid; ignored at cfg 1."),
                io.Vae.Input("vae", tooltip="The video VAE that belongs to the model."),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Pixels; 0 is the model's usual width. A wrong value says which ones fit.",
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=8192,
                    step=8,
                    tooltip="Pixels; 0 is the model's usual height. A wrong value says which ones fit.",
                ),
                io.Int.Input(
                    "length",
                    default=0,
                    min=0,
                    max=1024,
                    tooltip="Frames; 0 is the model's usual length. Most video VAEs take 4k+1 (33, 61, 81), LTX-Video "
                    "8k+1, AnimateDiff any up to 32; a wrong value says which ones fit.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The initial noise: the same seed and settings give the same clip.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Sampling steps; more are slower and finer. 0 is the model's usual number. Use those of the "
                    "training.",
                ),
                io.Float.Input(
                    "cfg",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Guidance scale: higher follows the prompt more, and too high harms the picture; 1 switches "
                    "guidance off and halves the time. 0 is the model's usual value, which is 1 for models with embedded "
                    "guidance (HunyuanVideo).",
                ),
                io.Combo.Input(
                    "sampler_name",
                    options=comfy.samplers.SAMPLER_NAMES,
                    default="euler",
                    tooltip="euler is what training uses; any other one works.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=comfy.samplers.SCHEDULER_NAMES,
                    default="simple",
                    tooltip="Noise schedule; use that of the training.",
                ),
                io.Float.Input(
                    "fps",
                    default=16.0,
                    min=1.0,
                    max=120.0,
                    step=1.0,
                    tooltip="Frames a second of the video; changes its speed, not its frames.",
                ),
                io.Latent.Input(
                    "latent_image", optional=True, tooltip="Latents to start from; width, height and length are then ignored."
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="As the core KSampler gives it."),
                io.Image.Output(display_name="images", tooltip="The frames."),
                io.Video.Output(display_name="video", tooltip="The frames with fps, for the core Save Video."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        model,
        positive,
        negative,
        vae,
        width,
        height,
        length,
        seed,
        steps,
        cfg,
        sampler_name,
        scheduler,
        fps,
        latent_image=None,
    ) -> io.NodeOutput:
        defaults = defaults_of(model.model)
        if latent_image is None:
            size = clip_size(defaults, width, height, length)
            latent_image = {"samples": empty_latent(model, vae, *size)}
        else:
            check_vae_fits(model, vae)
            check_latent(model, latent_image["samples"])
        (latent,) = core_nodes.common_ksampler(
            model, seed, steps or defaults.steps, cfg or defaults.cfg, sampler_name, scheduler, positive, negative, latent_image
        )
        images = vae.decode(latent["samples"]).flatten(0, -4)
        video = SyntheticVideo(Types.VideoComponents(images=images, frame_rate=Fraction(fps)))
        return io.NodeOutput(latent, images, video)
