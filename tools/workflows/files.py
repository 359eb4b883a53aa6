"""The published model files that the workflows name: where they come from and where they go."""

from dataclasses import dataclass

HUGGING_FACE = "https://huggingface.co/"
FLUX_TEXT = "comfyanonymous/flux_text_encoders/resolve/main/"
HUNYUAN = "Comfy-Org/HunyuanVideo_repackaged/resolve/main/split_files/"
HUNYUAN_15 = "Comfy-Org/HunyuanVideo_1.5_repackaged/resolve/main/split_files/"
WAN_21 = "Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/"
WAN_22 = "Comfy-Org/Wan_2.2_ComfyUI_Repackaged/resolve/main/split_files/"


@dataclass(frozen=True)
class File:
    """A model file.

    name: what the loader's list shows. directory: its folder below `models`. url: empty if nobody publishes the file in
    this form. rename: whether the download has another name.
    """

    name: str
    directory: str
    url: str

    @property
    def scaled(self) -> bool:
        """Whether its weights have 8 bits, with a scale for each tensor."""
        return "fp8_scaled" in self.name

    @property
    def rename(self) -> bool:
        return bool(self.url) and not self.url.endswith("/" + self.name)

    def markdown(self) -> str:
        """The file's line in the list of a note."""
        if not self.url:
            return f"- `{self.name}` in `models/{self.directory}`"
        return f"- [{self.name}]({self.url}) in `models/{self.directory}`" + (", renamed so" if self.rename else "")


def file(name: str, directory: str, where: str, *, as_is: bool = True) -> File:
    """A file on Hugging Face. `where`: its folder there (`as_is`), or its whole path, if it has another name there."""
    return File(name, directory, HUGGING_FACE + where + (name if as_is else ""))


REALISTIC_VISION = file(
    "Realistic_Vision_V5.1_fp16-no-ema.safetensors", "checkpoints", "SG161222/Realistic_Vision_V5.1_noVAE/resolve/main/"
)
SD_VAE = file("vae-ft-mse-840000-ema-pruned.safetensors", "vae", "stabilityai/sd-vae-ft-mse-original/resolve/main/")
MOTION_V3 = file("v3_sd15_mm.ckpt", "animatediff_models", "guoyww/animatediff/resolve/main/")

CLIP_L = file("clip_l.safetensors", "text_encoders", FLUX_TEXT)
T5 = file("t5xxl_fp16.safetensors", "text_encoders", FLUX_TEXT)
UMT5 = file("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders", WAN_21 + "text_encoders/")
LLAVA = file("llava_llama3_fp8_scaled.safetensors", "text_encoders", HUNYUAN + "text_encoders/")
QWEN = file("qwen_2.5_vl_7b_fp8_scaled.safetensors", "text_encoders", HUNYUAN_15 + "text_encoders/")
BYT5 = file("byt5_small_glyphxl_fp16.safetensors", "text_encoders", HUNYUAN_15 + "text_encoders/")

HUNYUAN_MODEL = file("hunyuan_video_t2v_720p_bf16.safetensors", "diffusion_models", HUNYUAN + "diffusion_models/")
HUNYUAN_VAE = file("hunyuan_video_vae_bf16.safetensors", "vae", HUNYUAN + "vae/")
HUNYUAN_15_MODEL = file("hunyuanvideo1.5_480p_t2v_fp16.safetensors", "diffusion_models", HUNYUAN_15 + "diffusion_models/")
HUNYUAN_15_VAE = file("hunyuanvideo15_vae_fp16.safetensors", "vae", HUNYUAN_15 + "vae/")

WAN_21_MODEL = file("wan2.1_t2v_1.3B_bf16.safetensors", "diffusion_models", WAN_21 + "diffusion_models/")
WAN_21_14B = file("wan2.1_t2v_14B_fp8_scaled.safetensors", "diffusion_models", WAN_21 + "diffusion_models/")
WAN_21_VAE = file("wan_2.1_vae.safetensors", "vae", WAN_21 + "vae/")
WAN_22_HIGH = file("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", "diffusion_models", WAN_22 + "diffusion_models/")
WAN_22_LOW = file("wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", "diffusion_models", WAN_22 + "diffusion_models/")
WAN_22_5B = file("wan2.2_ti2v_5B_fp16.safetensors", "diffusion_models", WAN_22 + "diffusion_models/")
WAN_22_VAE = file("wan2.2_vae.safetensors", "vae", WAN_22 + "vae/")

LTXV = file("ltx-video-2b-v0.9.5.safetensors", "checkpoints", "Lightricks/LTX-Video/resolve/main/")

COGVIDEOX_MODEL = File("cogvideox_5b_t2v_bf16.safetensors", "diffusion_models", "")
COGVIDEOX_VAE = file(
    "cogvideox_vae.safetensors", "vae",
    "zai-org/CogVideoX-5b/resolve/main/vae/diffusion_pytorch_model.safetensors", as_is=False,
)  # fmt: skip

HPS = file("HPS_v2.1_compressed.pt", "reward", "xswu/HPSv2/resolve/main/")

STYLE = "your style LoRA.safetensors"
"""The name that the style workflows show until a file is chosen; there is no such file."""
