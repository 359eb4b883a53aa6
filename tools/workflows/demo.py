"""The workflows of the bundled demo model."""

from pathlib import Path

from devkit.comfy_host import ROOT
from tools.workflows.builder import Node, Output, WorkflowBuilder
from tools.workflows.demo_notes import CORE_NOTE, EVALUATE_NOTE, SAMPLE_NOTE, STYLES_NOTE, TRAIN_NOTE

FOLDER = ROOT / "workflows"
TRAIN, SAMPLE = FOLDER / "Demo 1 - Train an identity.json", FOLDER / "Demo 2 - Sample with identity and style LoRA.json"
STYLES, EVALUATE = FOLDER / "Demo 3 - Two style LoRAs.json", FOLDER / "Demo 4 - Evaluate a video.json"
CORE = FOLDER / "Demo 5 - Core KSampler.json"
IDENTITY = "Aro"
NOIR, SUNSET = "demo style noir.safetensors", "demo style sunset.safetensors"
TRAINING = {
    "width": 64, "height": 64, "length": 8, "steps": 260, "sampling_steps": 16, "cfg": 1.0, "learning_rate": 2e-3,
    "gradient_steps": 4, "num_frames": 4, "identity_frames": 4, "preserve_weight": 8.0, "preview_every": 5,
    "gradient_checkpointing": "off", "filename_prefix": "loras/demo identity",
}  # fmt: skip
SIZE = {"width": 64, "height": 64, "length": 8}
STEPS = {"steps": 16, "cfg": 1.0}
FPS = 8.0
CORE_LENGTH = 29
"""With so many frames the core's empty latent is as long as the demo's eight frames: (29 - 1) / 4 + 1."""

HELD_OUT = (ROOT / "demo" / "held_out.txt").read_text().splitlines()[0].replace(" V ", " sks ")


def train(object_info: dict) -> WorkflowBuilder:
    workflow = WorkflowBuilder(object_info)
    note = workflow.note(TRAIN_NOTE, column=0, title="Start here")
    demo = workflow.node("PersonalVideoLoadDemo", {}, column=1)
    prompts = workflow.node("PersonalVideoSimulatedPrompts", {"subject": "demo"}, column=1)
    identity = workflow.node(
        "PersonalVideoLoadIdentityImages", {"face_model": demo["face_model"], "folder": f"demo/{IDENTITY}"}, column=2
    )
    faces = workflow.node("PreviewImage", {"images": identity["faces"]}, column=2, room=190, title="The person")
    photos = workflow.node("PreviewAny", {"source": identity["report"]}, column=2, room=150, title="Photos used")
    train = workflow.node(
        "PersonalVideoTrainAdapter",
        {
            "model": demo["model"], "clip": demo["clip"], "vae": demo["vae"], "identity": identity["identity"],
            "semantic_reward": demo["semantic_reward"], "prompts": prompts["prompts"], **TRAINING,
        },
        column=3, width=380, room_below=320,
    )  # fmt: skip
    report = workflow.node("PreviewAny", {"source": train["report"]}, column=4, width=400, room=240, title="Report")
    graph = workflow.node("LossGraphNode", {"loss": train["loss_map"]}, column=4, width=400, room=210)
    clip = workflow.node(
        "SaveAnimatedWEBP",
        {"images": train["before_after"], "fps": FPS, "filename_prefix": "personalvideo/before and after"},
        column=4, width=400, room=210, title="Before (left) and after (right)",
    )  # fmt: skip
    workflow.group("Read me", [note])
    workflow.group("1. Demo models and prompts", [demo, prompts])
    workflow.group("2. Who", [identity, faces, photos])
    workflow.group("3. Train", [train])
    workflow.group("4. What came out", [report, graph, clip])
    return workflow


def sample_with_style(object_info: dict) -> WorkflowBuilder:
    workflow = WorkflowBuilder(object_info)
    note = workflow.note(SAMPLE_NOTE, column=0, title="Start here")
    demo = workflow.node("PersonalVideoLoadDemo", {}, column=1)
    style = style_lora(workflow, demo["model"], demo["clip"], NOIR, "Style LoRA")
    identity, positive, negative = who_doing_what(workflow, style["MODEL"], style["CLIP"])
    sample = sample_video(workflow, identity, positive, negative, demo)
    saved = save(workflow, sample["images"], sample["video"])
    workflow.group("Read me", [note])
    workflow.group("1. Demo models and style", [demo, style])
    workflow.group("2. Who, doing what", [identity, positive, negative])
    workflow.group("3. Sample", [sample])
    workflow.group("4. Save", saved)
    return workflow


def sample_with_two_styles(object_info: dict) -> WorkflowBuilder:
    workflow = WorkflowBuilder(object_info)
    note = workflow.note(STYLES_NOTE, column=0, title="Start here")
    demo = workflow.node("PersonalVideoLoadDemo", {}, column=1)
    first = style_lora(workflow, demo["model"], demo["clip"], NOIR, "First style LoRA", 0.5)
    second = style_lora(workflow, first["MODEL"], first["CLIP"], SUNSET, "Second style LoRA", 0.8)
    identity, positive, negative = who_doing_what(workflow, second["MODEL"], second["CLIP"])
    sample = sample_video(workflow, identity, positive, negative, demo)
    saved = save(workflow, sample["images"], sample["video"])
    workflow.group("Read me", [note])
    workflow.group("1. Demo models and two styles", [demo, first, second])
    workflow.group("2. Who, doing what", [identity, positive, negative])
    workflow.group("3. Sample", [sample])
    workflow.group("4. Save", saved)
    return workflow


def evaluate(object_info: dict) -> WorkflowBuilder:
    workflow = WorkflowBuilder(object_info)
    note = workflow.note(EVALUATE_NOTE, column=0, title="Start here")
    demo = workflow.node("PersonalVideoLoadDemo", {}, column=1)
    who = workflow.node(
        "PersonalVideoLoadIdentityImages", {"face_model": demo["face_model"], "folder": f"demo/{IDENTITY}"}, column=1
    )
    shown = workflow.node("PreviewImage", {"images": who["faces"]}, column=1, room=190, title="The person")
    identity, positive, negative = who_doing_what(workflow, demo["model"], demo["clip"])
    sample = sample_video(workflow, identity, positive, negative, demo, room_below=0)
    judged = workflow.node(
        "PersonalVideoEvaluateVideo",
        {
            "images": sample["images"], "identity": who["identity"], "face_model": demo["judge"], "prompt": HELD_OUT,
            "semantic_reward": demo["semantic_reward"], "fps": FPS,
        },
        column=4, width=400, room_below=300,
    )  # fmt: skip
    plot = workflow.node("PreviewImage", {"images": judged["plot"]}, column=4, width=400, room=350, title="Plot")
    table = workflow.node(
        "PreviewAny", {"source": judged["table"]}, column=3, width=320, room=330, title="Table (preview_mode: Markdown)"
    )
    workflow.group("Read me", [note])
    workflow.group("1. Demo models", [demo])
    workflow.group("2. Who it should be", [who, shown])
    workflow.group("3. Who, doing what", [identity, positive, negative])
    workflow.group("4. Sample", [sample])
    workflow.group("5. Measure", [judged, plot])
    workflow.group("6. What the figures mean", [table])
    return workflow


def sample_with_core(object_info: dict) -> WorkflowBuilder:
    workflow = WorkflowBuilder(object_info)
    note = workflow.note(CORE_NOTE, column=0, title="Start here")
    demo = workflow.node("PersonalVideoLoadDemo", {}, column=1)
    identity, positive, negative = who_doing_what(workflow, demo["model"], demo["clip"])
    latent = workflow.node("EmptyHunyuanLatentVideo", SIZE | {"length": CORE_LENGTH}, column=3, width=320)
    sampled = workflow.node(
        "KSampler",
        {
            "model": identity["model"], "positive": positive[0], "negative": negative[0], "latent_image": latent["LATENT"],
            **STEPS, "sampler_name": "euler", "scheduler": "simple",
        },
        column=3, width=320, room_below=240,
    )  # fmt: skip
    decoded = workflow.node("VAEDecode", {"samples": sampled["LATENT"], "vae": demo["vae"]}, column=3, width=320)
    video = workflow.node("CreateVideo", {"images": decoded["IMAGE"], "fps": FPS}, column=3, width=320)
    saved = save(workflow, decoded["IMAGE"], video["VIDEO"])
    workflow.group("Read me", [note])
    workflow.group("1. Demo models", [demo])
    workflow.group("2. Who, doing what", [identity, positive, negative])
    workflow.group("3. Sample with the core's own nodes", [latent, sampled, decoded, video])
    workflow.group("4. Save", saved)
    return workflow


def style_lora(workflow: WorkflowBuilder, model: Output, clip: Output, name: str, title: str, strength: float = 1.0) -> Node:
    values = {"model": model, "clip": clip, "lora_name": name, "strength_model": strength, "strength_clip": 0.0}
    return workflow.node("LoraLoader", values, column=1, title=title)


def who_doing_what(workflow: WorkflowBuilder, model: Output, clip: Output) -> tuple[Node, Node, Node]:
    """The identity LoRA, the prompt and the negative prompt."""
    identity = workflow.node(
        "PersonalVideoApplyLateStepLora",
        {"model": model, "lora_name": f"demo identity {IDENTITY}.safetensors"},
        column=2, width=360,
    )  # fmt: skip
    positive = workflow.node("CLIPTextEncode", {"clip": clip, "text": HELD_OUT}, column=2, width=360, title="Prompt")
    negative = workflow.node("CLIPTextEncode", {"clip": clip, "text": ""}, column=2, width=360, title="Negative prompt")
    return identity, positive, negative


def sample_video(
    workflow: WorkflowBuilder, identity: Node, positive: Node, negative: Node, demo: Node, room_below: int = 300
) -> Node:
    values = {"model": identity["model"], "positive": positive[0], "negative": negative[0], "vae": demo["vae"]}
    return workflow.node(
        "PersonalVideoSampleVideo", values | SIZE | STEPS | {"fps": FPS}, column=3, width=320, room_below=room_below
    )


def save(workflow: WorkflowBuilder, images: Output, video: Output) -> list[Node]:
    """The nodes that save an animation, which shows every pixel as it is, and a video file."""
    clip = workflow.node(
        "SaveAnimatedWEBP",
        {"images": images, "fps": FPS, "lossless": True, "filename_prefix": "personalvideo/demo"},
        column=4, width=340, room=240, title="The video",
    )  # fmt: skip
    file = workflow.node(
        "SaveVideo", {"video": video, "filename_prefix": "personalvideo/demo"},
        column=4, width=340, room=360, title="The same as MP4",
    )  # fmt: skip
    return [clip, file]


def workflows(object_info: dict) -> dict[Path, WorkflowBuilder]:
    """The workflows by the file that each goes into."""
    return {
        TRAIN: train(object_info),
        SAMPLE: sample_with_style(object_info),
        STYLES: sample_with_two_styles(object_info),
        EVALUATE: evaluate(object_info),
        CORE: sample_with_core(object_info),
    }
