"""The supported families as their workflows use them: their files, sizes and sampling."""

from collections.abc import Callable
from dataclasses import dataclass

from tools.workflows import files as published
from tools.workflows.files import File
from tools.workflows.loaders import diffusion_family, load_animatediff, load_ltxv, load_wan_22_14b

FEWER_CHUNKS = "`vae_gradient_chunks` 2 or 1"


@dataclass(frozen=True)
class Family:
    """A family and its workflows.

    title: its name for people, with which the names of its files begin. load(builder, with style LoRA): its loaders.
    width, height [pixels], length [frames], steps, cfg, fps, sampler, scheduler: for training and for sampling.
    training_steps, learning_rate, weight_decay: those of the paper (section 7) for a UNet or a DiT. own: what the user of
    this family alone has to know, as lines in the note's last list. training: the same for whoever trains. memory: what
    this family alone can do when memory runs out then.
    """

    title: str
    load: Callable
    width: int
    height: int
    length: int
    steps: int
    cfg: float
    fps: float
    files: list[File]
    sampler: str = "euler"
    scheduler: str = "simple"
    training_steps: int = 4000
    learning_rate: float = 2e-5
    weight_decay: float = 1e-4
    own: str = ""
    training: str = ""
    memory: str = ""

    @property
    def lora(self) -> str:
        """The name of the file that the first run of the training workflow saves."""
        return f"{self.title} identity_00001_.safetensors"

    @property
    def size(self) -> dict:
        return {"width": self.width, "height": self.height, "length": self.length}


FAMILIES = (
    Family(
        "AnimateDiff", load_animatediff, 512, 512, 16, 50, 7.5, 8.0,
        [published.REALISTIC_VISION, published.SD_VAE, published.MOTION_V3],
        sampler="ddim", scheduler="ddim_uniform", training_steps=800, learning_rate=1e-4, weight_decay=1e-2,
        own="\n- The motion module was trained on 16 frames; other lengths work, up to 32.",
        training="\n- These are the paper's values; `preset` also has its face augmentation and its constant learning rate.",
    ),
    Family(
        "HunyuanVideo",
        diffusion_family(
            published.HUNYUAN_MODEL, "hunyuan_video", (published.CLIP_L, published.LLAVA), published.HUNYUAN_VAE
        ),
        512, 768, 61, 30, 1.0, 24.0,
        [published.HUNYUAN_MODEL, published.CLIP_L, published.LLAVA, published.HUNYUAN_VAE],
        own="\n- Guidance is an input of this model (6 by default), so cfg stays 1 and every step is one evaluation.",
        memory=FEWER_CHUNKS,
    ),
    Family(
        "HunyuanVideo 1.5",
        diffusion_family(
            published.HUNYUAN_15_MODEL, "hunyuan_video_15", (published.QWEN, published.BYT5), published.HUNYUAN_15_VAE,
            ("ModelSamplingSD3", {"shift": 5.0}),
        ),
        848, 480, 61, 20, 6.0, 24.0,
        [published.HUNYUAN_15_MODEL, published.QWEN, published.BYT5, published.HUNYUAN_15_VAE],
    ),
    Family(
        "Wan 2.1",
        diffusion_family(published.WAN_21_MODEL, "wan", (published.UMT5,), published.WAN_21_VAE),
        832, 480, 33, 30, 6.0, 16.0,
        [published.WAN_21_MODEL, published.UMT5, published.WAN_21_VAE],
        own=f"\n- The 14B model takes the same nodes ([{published.WAN_21_14B.name}]({published.WAN_21_14B.url})); a LoRA fits "
        "only the size it was trained on.",
    ),
    Family(
        "Wan 2.2 14B", load_wan_22_14b, 832, 480, 33, 20, 3.5, 16.0,
        [published.WAN_22_HIGH, published.WAN_22_LOW, published.UMT5, published.WAN_21_VAE],
        own="\n- Two experts share the steps. The high-noise one makes the first 9 of 20 and is never trained; the identity "
        "belongs to the low-noise one.\n- Both files are scaled to 8 bits by their publisher: leave `weight_dtype` at `default`.",
    ),
    Family(
        "Wan 2.2 5B",
        diffusion_family(published.WAN_22_5B, "wan", (published.UMT5,), published.WAN_22_VAE),
        1280, 704, 49, 20, 5.0, 24.0,
        [published.WAN_22_5B, published.UMT5, published.WAN_22_VAE],
    ),
    Family(
        "LTX-Video", load_ltxv, 768, 512, 49, 30, 3.0, 25.0,
        [published.LTXV, published.T5],
        own="\n- This model likes long, descriptive prompts.",
    ),
    Family(
        "CogVideoX",
        diffusion_family(
            published.COGVIDEOX_MODEL, "cogvideox", (published.T5,), published.COGVIDEOX_VAE,
            ("ModelSamplingDiscrete", {"sampling": "v_prediction", "zsnr": True}),
        ),
        720, 480, 49, 50, 6.0, 8.0,
        [published.COGVIDEOX_MODEL, published.T5, published.COGVIDEOX_VAE],
        own="\n- ComfyUI reads the model under its own key names (`blocks.0.attn_out...`); nobody is known to publish "
        "CogVideoX-5b's text-to-video weights so, and the diffusers file has to be renamed first.\n"
        "- **ModelSamplingDiscrete** stays in: ComfyUI's own default for this model does not fit its samplers.",
        memory=FEWER_CHUNKS,
    ),
)  # fmt: skip
