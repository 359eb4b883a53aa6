"""Evaluate Identity Video: is it the person, does it move, does it fit the prompt; for the frames of any video."""

from collections.abc import Callable
from contextlib import nullcontext

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..evaluation.clip_metrics import FRAMES_AT_ONCE, image_features
from ..evaluation.dynamic_degree import FRAMES_A_SECOND, Dynamics, dynamic_degree
from ..evaluation.face_similarity import JUDGED_FRAMES, FaceSimilarity, face_similarity, reference_embeddings
from ..evaluation.frames import every_nth, frames_of
from ..evaluation.judges import judge_warning
from ..evaluation.lucas_kanade import lucas_kanade
from ..evaluation.raft import VBENCH_WEIGHTS, Raft
from ..evaluation.video_plot import video_plot
from ..evaluation.video_table import Row, clip_rows, face_rows, markdown, missing_clip_rows, motion_rows
from ..host.autograd import managed, resident
from ..rewards.faces import FaceModel, Identity
from ..rewards.semantic import SemanticReward
from ..sentences import one_line, reason
from .contract import checked, show_text
from .wire_types import CATEGORY, FaceModelType, IdentityType, SemanticRewardType

FLOW_FOLDER = "optical_flow"
FLOW_WEIGHTS = "raft_large"  # in the name of torchvision's files
CLASSICAL_FLOW = "Lucas-Kanade"


class EvaluateVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoEvaluateVideo",
            display_name="Evaluate Identity Video",
            category=CATEGORY,
            description="Measures a video: is it the person, does it still move, does it fit the prompt. Takes the frames "
            "of any video, also of other methods, so that all are measured in the same way.",
            search_aliases=["face similarity", "dynamic degree", "CLIP score", "metrics", "PersonalVideo"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.Image.Input("images", tooltip="The frames of one video, in order."),
                IdentityType.Input("identity", tooltip="The person that the video should show."),
                FaceModelType.Input(
                    "face_model",
                    tooltip="The judge: a face model that training did not reward, for example buffalo_l or "
                    "opencv/yunet + sface where antelopev2 was rewarded. The table warns of one that is no judge.",
                ),
                io.String.Input(
                    "prompt",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="The prompt of the video, for CLIP-T. Empty: CLIP-T is not measured.",
                ),
                SemanticRewardType.Input(
                    "semantic_reward",
                    optional=True,
                    tooltip="A CLIP model, for CLIP-T, CLIP-I and Temporal Consistency. Without it they are not measured. "
                    "The figures depend on the model; the literature's are of OpenAI's CLIP.",
                ),
                io.Float.Input(
                    "fps",
                    default=8.0,
                    min=0.1,
                    max=240.0,
                    step=0.1,
                    optional=True,
                    tooltip="Frames a second of the video: motion is measured between frames about 1/8 second apart, as "
                    "VBench does. Get Video Components gives it.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="table", tooltip="Every figure with what it means, as Markdown."),
                io.Image.Output(display_name="plot", tooltip="The same as a picture: frames, faces, similarity and motion."),
                io.Float.Output(
                    display_name="face_similarity",
                    tooltip="Mean of max(0, cosine) to the photos over 16 frames, 0..1; 0 if no frame shows a face.",
                ),
                io.Float.Output(
                    display_name="dynamic",
                    tooltip="How far the strongest 5 % of the picture move between frames about 1/8 second apart, in "
                    "pixels, mean over the video; 0 for a single frame.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls,
        images: Tensor,
        identity: Identity,
        face_model: FaceModel,
        prompt: str = "",
        semantic_reward: SemanticReward | None = None,
        fps: float = 8.0,
    ) -> io.NodeOutput:
        frames = frames_of(images)
        height, width = frames.shape[-2:]
        advance = _progress(len(frames), fps, semantic_reward is not None)
        try:
            with torch.inference_mode(False), torch.no_grad():
                faces, rows = _faces(frames, identity, face_model, advance)
                dynamics, flow, remark = _motion(frames, fps, advance)
                rows += motion_rows(dynamics, flow, remark)
                rows += _clip(frames, identity, semantic_reward, prompt.strip(), advance)
        except Exception as error:
            if not comfy.model_management.is_oom(error):
                raise
            raise ValueError(f"images: out of memory at {width} x {height} pixels; scale the frames down first.") from error
        warning = judge_warning(identity.face_model, face_model)
        remarks = [line for line in (warning, f"Dynamic Degree: {remark}." if remark else "") if line]
        title = prompt.strip() or "no prompt given"
        plot = video_plot(title, rows, _photos(identity)[0], frames, faces, dynamics, remarks)
        rows.append(Row("Video", f"{len(frames)} frames", f"{width} x {height} pixels, {fps:g} frames a second"))
        if warning:
            rows.insert(0, Row("Attention", "not independent", warning))
        table = markdown(rows)
        picture = torch.from_numpy(np.array(plot)).float()[None] / 255
        show_text(cls.hidden.unique_id, _headline(rows))
        shown = ui.PreviewImage(picture, cls=cls).as_dict() | ui.PreviewText(table).as_dict()
        return io.NodeOutput(table, picture, faces.score, dynamics.strength, ui=shown)


def _progress(length: int, fps: float, with_clip: bool) -> Callable[[], None]:
    """What each part of the work calls when it is done: the node's bar, at which the host stops what was cancelled."""
    pairs = len(every_nth(length, fps, FRAMES_A_SECOND)) - 1
    parts = -(-length // FRAMES_AT_ONCE) if with_clip else 0
    bar = comfy.utils.ProgressBar(min(length, JUDGED_FRAMES) + pairs + parts)
    return lambda: bar.update(1)


def _faces(frames: Tensor, identity: Identity, judge: FaceModel, advance: Callable[[], None]) -> tuple[FaceSimilarity, list[Row]]:
    with resident(managed(judge.networks)):
        references = reference_embeddings(identity, judge)
        faces = face_similarity(judge, frames, references, advance)
    return faces, face_rows(faces, judge.name, len(references), len(_photos(identity)))


def _motion(frames: Tensor, fps: float, advance: Callable[[], None]) -> tuple[Dynamics, str, str]:
    """Its figures, the flow's name, and why it is not VBench's, or empty."""
    flow, name, remark = _flow()
    with resident(managed(flow.network)) if isinstance(flow, Raft) else nullcontext():
        device = comfy.model_management.get_torch_device()
        return dynamic_degree(frames, fps, flow, device, advance), name, remark


def _flow() -> tuple[Callable[[Tensor, Tensor], Tensor], str, str]:
    """RAFT from the host's folder, the weights that VBench uses before others; else the classical flow. Its name, and why it is
    not VBench's, or empty."""
    files = [name for name in folder_paths.get_filename_list(FLOW_FOLDER) if FLOW_WEIGHTS in name.lower()]
    if not files:
        return (
            lucas_kanade,
            CLASSICAL_FLOW,
            (f"not VBench's flow, as {VBENCH_WEIGHTS} of torchvision is not in models/{FLOW_FOLDER}"),
        )
    file = VBENCH_WEIGHTS if VBENCH_WEIGHTS in files else files[0]
    try:
        path = folder_paths.get_full_path_or_raise(FLOW_FOLDER, file)
        flow = Raft(comfy.utils.load_torch_file(path, safe_load=True))
    except Exception as error:  # a damaged file raises nearly anything
        return lucas_kanade, CLASSICAL_FLOW, f"not VBench's flow, as {one_line(file)} cannot be used ({reason(error)})"
    return (
        flow,
        f"RAFT ({one_line(file)})",
        "" if file == VBENCH_WEIGHTS else f"not VBench's flow, whose weights are {VBENCH_WEIGHTS}",
    )


def _clip(
    frames: Tensor, identity: Identity, reward: SemanticReward | None, prompt: str, advance: Callable[[], None]
) -> list[Row]:
    if reward is None:
        return missing_clip_rows()
    text = None
    if prompt:
        with resident(managed(reward.text_networks)):
            text = reward.encode_text([prompt])[0].cpu()
    with resident(managed(reward.networks)):
        seen = image_features(reward, frames, advance)
        photos = torch.cat([image_features(reward, photo[None]) for photo in _photos(identity)])
    return clip_rows(reward.name, seen, text, photos)


def _photos(identity: Identity) -> list[Tensor]:
    return list(identity.photos or identity.crops)


def _headline(rows: list[Row]) -> str:
    return "\n".join(f"{row.metric}: {row.value}" for row in rows)
