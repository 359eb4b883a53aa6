"""Three workflows for every supported family: train, sample with identity, and sample with identity and style LoRA."""

from pathlib import Path

from devkit.comfy_host import ROOT
from tools.workflows import files as published
from tools.workflows.builder import Output, WorkflowBuilder
from tools.workflows.loaders import Loaded, loader
from tools.workflows.notes import sample_note, train_note
from tools.workflows.table import FAMILIES, Family

FOLDER = ROOT / "workflows"
PROMPT = (
    "Half-body portrait of a sks person in a raincoat on a busy street in the evening, turning to the camera and laughing, "
    "soft light on the face"
)
NEGATIVE = "blurry, low quality, distorted face, watermark, still picture"
NOTE_WIDTH, TEXT_WIDTH = 370, 340

WAN_22_HANDOVER = 9
"""With shift 5 the first 9 of 20 steps lie above sigma 0.875, where the high-noise expert works."""


def train(object_info: dict, family: Family) -> WorkflowBuilder:
    workflow = WorkflowBuilder(object_info)
    sampling = (
        f"Training samples {family.length} frames of {family.width} x {family.height} in {family.steps} steps at cfg "
        f"{family.cfg:g}, scheduler {family.scheduler}."
    )
    text = train_note(family.title, family.files, sampling, family.training + family.own, family.memory)
    note = workflow.note(text, column=0, title="Start here", width=NOTE_WIDTH)
    loaded = family.load(workflow, False)
    reward = loader(workflow, "PersonalVideoLoadSemanticReward", {"model_name": published.HPS.name}, [published.HPS], column=1)
    faces = workflow.node("PersonalVideoLoadFaceModel", {"model_name": "insightface/antelopev2"}, column=2)
    identity = workflow.node("PersonalVideoLoadIdentityImages", {"face_model": faces["face_model"], "folder": "[None]"}, column=2)
    shown = workflow.node("PreviewImage", {"images": identity["faces"]}, column=2, room=170, title="The person")
    photos = workflow.node("PreviewAny", {"source": identity["report"]}, column=2, room=110, title="Photos used")
    prompts = workflow.node("PersonalVideoSimulatedPrompts", {"subject": "person"}, column=2)
    early = {"high_noise_model": loaded.early} if loaded.early else {}
    trained = workflow.node(
        "PersonalVideoTrainAdapter",
        {
            "model": loaded.model, "clip": loaded.clip, "vae": loaded.vae, "identity": identity["identity"],
            "semantic_reward": reward["semantic_reward"], "prompts": prompts["prompts"], **early, **family.size,
            "negative_prompt": NEGATIVE if family.cfg != 1 else "", "steps": family.training_steps,
            "sampling_steps": family.steps, "cfg": family.cfg, "scheduler": family.scheduler,
            "learning_rate": family.learning_rate, "weight_decay": family.weight_decay,
            "filename_prefix": f"loras/{family.title} identity",
        },
        column=3, width=360, room_below=320,
    )  # fmt: skip
    report = workflow.node("PreviewAny", {"source": trained["report"]}, column=4, width=370, room=240, title="Report")
    graph = workflow.node("LossGraphNode", {"loss": trained["loss_map"]}, column=4, width=370, room=210)
    clip = workflow.node(
        "SaveAnimatedWEBP",
        {
            "images": trained["before_after"], "fps": family.fps,
            "filename_prefix": f"personalvideo/{family.title} before and after",
        },
        column=4, width=370, room=210, title="Before (left) and after (right)",
    )  # fmt: skip
    workflow.group("Read me", [note])
    workflow.group("1. The video model", loaded.nodes)
    workflow.group("2. The judge of meaning and motion", [reward])
    workflow.group("3. Who, doing what", [faces, identity, shown, photos, prompts])
    workflow.group("4. Train", [trained])
    workflow.group("5. What came out", [report, graph, clip])
    return workflow


def sample(object_info: dict, family: Family, style: bool) -> WorkflowBuilder:
    workflow = WorkflowBuilder(object_info)
    text = sample_note(family.title, family.files, style, family.own)
    note = workflow.note(text, column=0, title="Start here", width=NOTE_WIDTH)
    loaded = family.load(workflow, style)
    identity = workflow.node(
        "PersonalVideoApplyLateStepLora", {"model": loaded.model, "lora_name": family.lora}, column=2, width=TEXT_WIDTH
    )
    positive = workflow.node("CLIPTextEncode", {"clip": loaded.clip, "text": PROMPT}, column=2, width=TEXT_WIDTH, title="Prompt")
    negative = workflow.node(
        "CLIPTextEncode",
        {"clip": loaded.clip, "text": NEGATIVE if family.cfg != 1 else ""},
        column=2,
        width=TEXT_WIDTH,
        title="Negative prompt",
    )
    make = two_experts if loaded.early else one_model
    made, video = make(workflow, family, loaded, identity["model"], positive[0], negative[0])
    saved = workflow.node(
        "SaveVideo",
        {"video": video, "filename_prefix": f"personalvideo/{family.title}"},
        column=4,
        width=360,
        room=520,
        title="The video",
    )
    workflow.group("Read me", [note])
    workflow.group("1. The video model" + (" and the style" if style else ""), loaded.nodes)
    workflow.group("2. Who, doing what", [identity, positive, negative])
    for title, nodes in made.items():
        workflow.group(title, nodes)
    workflow.group(f"{2 + len(made) + 1}. Save", [saved])
    return workflow


def one_model(workflow, family: Family, loaded: Loaded, model: Output, positive: Output, negative: Output):
    """Sampling with Sample Video, as ({group's title: nodes}, VIDEO)."""
    node = workflow.node(
        "PersonalVideoSampleVideo",
        {
            "model": model, "positive": positive, "negative": negative, "vae": loaded.vae, **family.size,
            "steps": family.steps, "cfg": family.cfg, "sampler_name": family.sampler, "scheduler": family.scheduler,
            "fps": family.fps,
        },
        column=3, width=310, room_below=300,
    )  # fmt: skip
    return {"3. Sample": [node]}, node["video"]


def two_experts(workflow, family: Family, loaded: Loaded, model: Output, positive: Output, negative: Output):
    """The core's own sampling with two models, as ({group's title: nodes}, VIDEO); the second has the identity."""
    latent = workflow.node("EmptyHunyuanLatentVideo", family.size, column=2, width=TEXT_WIDTH)
    common = {
        "positive": positive, "negative": negative, "steps": family.steps, "cfg": family.cfg,
        "sampler_name": family.sampler, "scheduler": family.scheduler,
    }  # fmt: skip
    first = workflow.node(
        "KSamplerAdvanced",
        common | {
            "model": loaded.early, "latent_image": latent["LATENT"], "add_noise": "enable", "start_at_step": 0,
            "end_at_step": WAN_22_HANDOVER, "return_with_leftover_noise": "enable",
        },
        column=3, title="High noise: the first steps",
    )  # fmt: skip
    second = workflow.node(
        "KSamplerAdvanced",
        common | {
            "model": model, "latent_image": first["LATENT"], "add_noise": "disable", "start_at_step": WAN_22_HANDOVER,
            "end_at_step": 10000, "return_with_leftover_noise": "disable",
        },
        column=3, title="Low noise, with the identity: the rest",
    )  # fmt: skip
    decoded = workflow.node("VAEDecode", {"samples": second["LATENT"], "vae": loaded.vae}, column=4, width=360)
    video = workflow.node("CreateVideo", {"images": decoded["IMAGE"], "fps": family.fps}, column=4, width=360)
    made = {"3. Size": [latent], "4. Sample: two experts": [first, second], "5. Decode": [decoded, video]}
    return made, video["VIDEO"]


def workflows(object_info: dict) -> dict[Path, WorkflowBuilder]:
    """The workflows by the file that each goes into."""
    made = {}
    for family in FAMILIES:
        made[FOLDER / f"{family.title} 1 - Train an identity.json"] = train(object_info, family)
        made[FOLDER / f"{family.title} 2 - Sample with identity.json"] = sample(object_info, family, style=False)
        made[FOLDER / f"{family.title} 3 - Identity and style LoRA.json"] = sample(object_info, family, style=True)
    return made
