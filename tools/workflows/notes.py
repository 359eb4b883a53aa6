"""The Markdown notes in the families' workflows."""

from tools.workflows.files import HPS, File

FACES = (
    "- a face model for **Load Face Model**: the insightface pack "
    "[antelopev2](https://github.com/deepinsight/insightface/releases/download/v0.7/antelopev2.zip) (research use only), "
    "its .onnx files directly in `models/insightface/models/antelopev2`; or, free for any use, the two OpenCV files "
    "[YuNet](https://huggingface.co/opencv/face_detection_yunet/resolve/main/face_detection_yunet_2023mar.onnx) and "
    "[SFace](https://huggingface.co/opencv/face_recognition_sface/resolve/main/face_recognition_sface_2021dec.onnx) "
    "in `models/face`"
)
ORDINARY_LORA = "any style LoRA made for this model, in `models/loras`, chosen in **Style LoRA**"


def train_note(title: str, files: list[File], sampling: str, own: str, memory: str = "") -> str:
    """The note of a training workflow.

    `sampling`: a sentence about how the training videos are made. `own`: what the user of this family alone has to know.
    `memory`: what this family alone can do when memory runs out, in backquotes.
    """
    return _note(
        f"## {title} 1: teach it one person",
        ["### Files", *(each.markdown() for each in files), HPS.markdown() + " (the semantic reward)", FACES],
        [
            "### Steps",
            "1. Put 1 to 20 photos of one person who agreed into a folder inside ComfyUI's `input` folder, press `R`, choose "
            "the folder in **Load Identity Images**.",
            "2. Choose man, woman or person in **Simulated Prompts**. `sks` is the word that will name the person.",
            "3. **Run.** The preview on the Train node shows the original model left and the same video with the LoRA right.",
        ],
        [
            "### Good to know",
            f"- {sampling} Sample with the same values later.",
            "- The LoRA is saved in `output/loras`. Cancel whenever it looks right: the newest state is saved, and choosing "
            "it under `existing_lora` goes on where it stopped.",
            _out_of_memory(files, memory) + own,
        ],
    )


def _out_of_memory(files: list[File], own: str) -> str:
    """What to change when memory runs out, beginning with what costs the least."""
    weights = [file for file in files if file.directory == "diffusion_models"]
    eight_bits = (
        "take weights of 8 bits (best a published file with `fp8_scaled` in its name, `weight_dtype` left at `default`; where "
        "there is none, `weight_dtype` `fp8_e4m3fn`), then "
    )
    already = any(file.scaled for file in weights)
    return (
        f"- Out of memory{' (the weights are of 8 bits already)' if already else ''}: first "
        f"{eight_bits if weights and not already else ''}lower `num_frames` and `gradient_steps`"
        f"{', then ' + own if own else ''}, then lower `length`, `width` and `height`."
    )


def sample_note(title: str, files: list[File], style: bool, own: str) -> str:
    heading = f"## {title} {3 if style else 2}: the person in new videos" + (", with a style" if style else "")
    return _note(
        heading,
        ["### Files", *(each.markdown() for each in files),
         f"- your LoRA from **{title} 1**: press `R` and choose it in **Apply Late-Step Identity LoRA**",
         *([f"- {ORDINARY_LORA}"] if style else [])],
        [
            "### Good to know",
            "- Name the person in the prompt as in training: *a sks person ...*",
            "- The identity acts in the last quarter of the sampling steps only, so layout and motion stay the base "
            "model's. `strength_model` 0 shows that model with the same seed.",
            *(["- The style acts in all steps. The order of the two does not matter."] if style else []),
            *([own.strip()] if own else []),
        ],
    )  # fmt: skip


def _note(heading: str, *parts: list[str]) -> str:
    return "\n\n".join([heading, *("\n".join(part) for part in parts)])
