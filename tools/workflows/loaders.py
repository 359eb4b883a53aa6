"""The host's own loaders, as each family needs them in its workflows."""

from dataclasses import dataclass

from tools.workflows import files as published
from tools.workflows.builder import Node, Output, WorkflowBuilder
from tools.workflows.files import File

WIDTH = 390
"""The width of loader nodes, whose file names are long [canvas pixels]."""

WAN_22_SHIFT = 5.0


@dataclass(frozen=True)
class Loaded:
    """What a family's loaders give. early: the expert for the first steps, if there is one. nodes: those in the frame."""

    model: Output
    clip: Output
    vae: Output
    nodes: list[Node]
    early: Output | None = None


def loader(workflow: WorkflowBuilder, kind: str, values: dict, files: list[File], title: str = "", column: int = 1):
    """A loader node that names its files; the frontend offers to download those that are missing."""
    node = workflow.node(kind, values, column=column, width=WIDTH, title=title)
    node.data["properties"]["models"] = [
        {"name": file.name, "url": file.url, "directory": file.directory} for file in files if file.url and not file.rename
    ]
    return node


def unet(workflow: WorkflowBuilder, file: File, title: str = "") -> Node:
    return loader(workflow, "UNETLoader", {"unet_name": file.name}, [file], title)


def text_encoder(workflow: WorkflowBuilder, kind: str, *files: File) -> Node:
    if len(files) == 1:
        return loader(workflow, "CLIPLoader", {"clip_name": files[0].name, "type": kind}, list(files))
    first, second = files
    values = {"clip_name1": first.name, "clip_name2": second.name, "type": kind}
    return loader(workflow, "DualCLIPLoader", values, list(files))


def vae_loader(workflow: WorkflowBuilder, file: File) -> Node:
    return loader(workflow, "VAELoader", {"vae_name": file.name}, [file])


def style_lora(workflow: WorkflowBuilder, model: Output, title: str = "Style LoRA") -> Node:
    values = {"model": model, "lora_name": published.STYLE, "strength_model": 1.0}
    return workflow.node("LoraLoaderModelOnly", values, column=1, width=WIDTH, title=title)


def load_animatediff(workflow: WorkflowBuilder, style: bool) -> Loaded:
    """The loaders of AnimateDiff, whose style LoRAs act on the text encoder too."""
    file = published.REALISTIC_VISION
    base = loader(workflow, "CheckpointLoaderSimple", {"ckpt_name": file.name}, [file])
    vae = vae_loader(workflow, published.SD_VAE)
    nodes = [base, vae]
    model, clip = base["MODEL"], base["CLIP"]
    if style:
        values = {"model": model, "clip": clip, "lora_name": published.STYLE, "strength_model": 1.0, "strength_clip": 1.0}
        nodes.append(workflow.node("LoraLoader", values, column=1, width=WIDTH, title="Style LoRA"))
        model, clip = nodes[-1]["MODEL"], nodes[-1]["CLIP"]
    file = published.MOTION_V3
    motion = loader(workflow, "PersonalVideoLoadMotionModule", {"model": model, "motion_module": file.name}, [file])
    return Loaded(motion["model"], clip, vae["VAE"], [*nodes, motion])


def diffusion_family(model: File, kind: str, texts: tuple[File, ...], vae: File, sampling: tuple[str, dict] | None = None):
    """The `load` of a family that consists of three files; `sampling`: a node (kind, values) that sets its noise schedule."""

    def load(workflow: WorkflowBuilder, style: bool) -> Loaded:
        nodes = [unet(workflow, model), text_encoder(workflow, kind, *texts), vae_loader(workflow, vae)]
        last = nodes[0]["MODEL"]
        if style:
            nodes.append(style_lora(workflow, last))
            last = nodes[-1]["MODEL"]
        if sampling:
            nodes.append(workflow.node(sampling[0], {"model": last} | sampling[1], column=1, width=WIDTH))
            last = nodes[-1]["MODEL"]
        return Loaded(last, nodes[1]["CLIP"], nodes[2]["VAE"], nodes)

    return load


def load_ltxv(workflow: WorkflowBuilder, style: bool) -> Loaded:
    base = loader(workflow, "CheckpointLoaderSimple", {"ckpt_name": published.LTXV.name}, [published.LTXV])
    text = text_encoder(workflow, "ltxv", published.T5)
    nodes = [base, text] + ([style_lora(workflow, base["MODEL"])] if style else [])
    return Loaded(nodes[-1]["MODEL"] if style else base["MODEL"], text["CLIP"], base["VAE"], nodes)


def load_wan_22_14b(workflow: WorkflowBuilder, style: bool) -> Loaded:
    """The loaders of both experts, each with the style."""
    experts, nodes = [], []
    for file, name in ((published.WAN_22_HIGH, "high noise"), (published.WAN_22_LOW, "low noise")):
        nodes.append(unet(workflow, file, f"{name.capitalize()} expert"))
        if style:
            nodes.append(style_lora(workflow, nodes[-1]["MODEL"], f"Style LoRA, {name}"))
        values = {"model": nodes[-1]["MODEL"], "shift": WAN_22_SHIFT}
        nodes.append(workflow.node("ModelSamplingSD3", values, column=1, width=WIDTH))
        experts.append(nodes[-1]["MODEL"])
    text, vae = text_encoder(workflow, "wan", published.UMT5), vae_loader(workflow, published.WAN_21_VAE)
    return Loaded(experts[1], text["CLIP"], vae["VAE"], [*nodes, text, vae], early=experts[0])
