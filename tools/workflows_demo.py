"""The two workflows of the bundled demo model."""

from pathlib import Path

from comfy_host import ROOT
from workflow_builder import WorkflowBuilder

FOLDER = ROOT / "workflows"
TRAIN, SAMPLE = FOLDER / "Demo 1 - Train an identity.json", FOLDER / "Demo 2 - Sample with identity and style LoRA.json"
IDENTITY = "Aro"
TRAINING = {
    "width": 64, "height": 64, "length": 8, "steps": 260, "sampling_steps": 16, "cfg": 1.0, "learning_rate": 2e-3,
    "gradient_steps": 4, "num_frames": 4, "identity_frames": 4, "preserve_weight": 8.0, "preview_every": 5,
    "gradient_checkpointing": "off", "filename_prefix": "loras/demo identity",
}  # fmt: skip
SAMPLING = {"width": 64, "height": 64, "length": 8, "steps": 16, "cfg": 1.0, "fps": 8.0}
HELD_OUT = (ROOT / "demo" / "held_out.txt").read_text().splitlines()[0].replace(" V ", " sks ")

TRAIN_NOTE = """## Demo 1: teach a tiny video model one person

Everything here is bundled: press **Run** and watch. On a laptop it takes about two minutes.

1. **Load Demo Models** is a text-to-video model of drawn people.
2. **Load Identity Images** shows it five pictures of somebody it has never seen. Pick another name under `folder`.
3. **Train** samples videos, compares the faces in them with the pictures, and adjusts a LoRA that acts \
only in the last quarter of the sampling steps. Left in the preview: the original model; right: the same video with the LoRA.

The LoRA is saved in `output/loras`. Press `R` to see it in every LoRA list, then open **Demo 2**."""

SAMPLE_NOTE = """## Demo 2: the person in new videos, with a style

- **Load LoRA** is ComfyUI's own node with an ordinary style LoRA (a noir look). Set its strength to 0 to leave it out.
- **Apply Late-Step Identity LoRA** adds the person in the last quarter of the steps. `strength_model` 0 shows the \
base model with the same seed.
- Choose the LoRA you trained in Demo 1 under `lora_name` (press `R` first).

The demo model knows sentences such as *a sks person on the beach, wearing a red shirt, moving left*: beach, forest, \
city at night, snow, room; red, blue, green, yellow, purple, white; moving left, right, up, down, coming closer, nodding."""


def train(object_info: dict) -> WorkflowBuilder:
    workflow = WorkflowBuilder(object_info)
    note = workflow.note(TRAIN_NOTE, column=0, title="Start here", width=420, height=400)
    demo = workflow.node("PersonalVideoLoadDemo", {}, column=1)
    prompts = workflow.node("PersonalVideoSimulatedPrompts", {"subject": "demo"}, column=1)
    identity = workflow.node(
        "PersonalVideoLoadIdentityImages", {"face_model": demo["face_model"], "folder": f"demo/{IDENTITY}"}, column=2
    )
    faces = workflow.node("PreviewImage", {"images": identity["faces"]}, column=2, room=220, title="The person")
    photos = workflow.node("PreviewAny", {"source": identity["report"]}, column=2, room=120, title="Photos used")
    train = workflow.node(
        "PersonalVideoTrainAdapter",
        {
            "model": demo["model"], "clip": demo["clip"], "vae": demo["vae"], "identity": identity["identity"],
            "semantic_reward": demo["semantic_reward"], "prompts": prompts["prompts"], **TRAINING,
        },
        column=3, width=400, room=320,
    )  # fmt: skip
    report = workflow.node("PreviewAny", {"source": train["report"]}, column=4, width=420, room=160, title="Report")
    graph = workflow.node("LossGraphNode", {"loss": train["loss_map"]}, column=4, width=420, room=260)
    clip = workflow.node(
        "SaveAnimatedWEBP",
        {"images": train["before_after"], "fps": 8.0, "filename_prefix": "personalvideo/before and after"},
        column=4, width=420, room=240, title="Before (left) and after (right)",
    )  # fmt: skip
    workflow.group("1. Demo models and prompts", [demo, prompts])
    workflow.group("2. Who", [identity, faces, photos])
    workflow.group("3. Train", [train])
    workflow.group("4. What came out", [report, graph, clip])
    workflow.group("Read me", [note])
    return workflow


def sample_with_style(object_info: dict) -> WorkflowBuilder:
    workflow = WorkflowBuilder(object_info)
    note = workflow.note(SAMPLE_NOTE, column=0, title="Start here", width=420, height=400)
    demo = workflow.node("PersonalVideoLoadDemo", {}, column=1)
    style = workflow.node(
        "LoraLoader",
        {"model": demo["model"], "clip": demo["clip"], "lora_name": "demo style noir.safetensors",
         "strength_model": 1.0, "strength_clip": 0.0},
        column=1, title="Style LoRA",
    )  # fmt: skip
    identity = workflow.node(
        "PersonalVideoApplyLateStepLora",
        {"model": style["MODEL"], "lora_name": f"demo identity {IDENTITY}.safetensors"},
        column=2,
    )
    positive = workflow.node("CLIPTextEncode", {"clip": style["CLIP"], "text": HELD_OUT}, column=2, title="Prompt")
    negative = workflow.node("CLIPTextEncode", {"clip": style["CLIP"], "text": ""}, column=2, title="Negative prompt")
    sample = workflow.node(
        "PersonalVideoSampleVideo",
        {"model": identity["model"], "positive": positive[0], "negative": negative[0], "vae": demo["vae"], **SAMPLING},
        column=3, width=360,
    )
    clip = workflow.node(
        "SaveAnimatedWEBP",
        {"images": sample["images"], "fps": 8.0, "lossless": True, "filename_prefix": "personalvideo/demo"},
        column=4, width=420, room=360, title="The video",
    )  # fmt: skip
    video = workflow.node(
        "SaveVideo", {"video": sample["video"], "filename_prefix": "personalvideo/demo"},
        column=4, width=420, room=360, title="The same as MP4",
    )  # fmt: skip
    workflow.group("Read me", [note])
    workflow.group("1. Demo models and style", [demo, style])
    workflow.group("2. Who, doing what", [identity, positive, negative])
    workflow.group("3. Sample", [sample])
    workflow.group("4. Save", [clip, video])
    return workflow


def workflows(object_info: dict) -> dict[Path, WorkflowBuilder]:
    """By the file that each goes into."""
    return {TRAIN: train(object_info), SAMPLE: sample_with_style(object_info)}
