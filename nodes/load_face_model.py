"""Load Face Model: a face detector and recognizer, for the reward or for judging."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..demo.load import load_face_model as load_demo_face_model
from ..rewards.aligned_faces import FaceModelPair
from ..rewards.face_files import OPENCV_PAIR, FaceFiles, list_face_models
from ..rewards.face_loading import load_face_model
from ..rewards.faces import FaceModel
from ..rewards.host_landmarker import HostLandmarker
from ..sentences import quoted
from .contract import checked
from .wire_types import CATEGORY, FaceModelType

DEMO = "demo"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class LoadFaceModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoLoadFaceModel",
            display_name="Load Face Model",
            category=CATEGORY,
            description="Finds faces and measures who they are. Load Identity Images and training use it.",
            search_aliases=["face recognizer", "face detector", "insightface", "antelopev2", "SFace", "PersonalVideo"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=_names(),
                    tooltip="opencv: face_detection_yunet_2023mar.onnx and face_recognition_sface_2021dec.onnx of the "
                    "OpenCV zoo in models/face; commercial use allowed. insightface: packs in "
                    "models/insightface/models/<pack>, single recognizers (.onnx) in models/insightface; most are for "
                    "research only. demo: the bundled recognizer of the drawn demo people; it knows no photographs.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="fp32",
                    advanced=True,
                    tooltip="Number format of the recognizer. bf16 halves its memory; similarities change a little.",
                ),
                io.Custom("FACE_DETECTION_MODEL").Input(
                    "detector",
                    optional=True,
                    tooltip="ComfyUI's own Load Face Detection Model (MediaPipe), to find faces with it instead.",
                ),
                FaceModelType.Input(
                    "also",
                    optional=True,
                    tooltip="A second face model: similarities are then the mean of both recognizers', which is harder "
                    "to fool than one. Judge with a third.",
                ),
            ],
            outputs=[
                FaceModelType.Output(display_name="face_model", tooltip="For Load Identity Images; another one for judging."),
                io.String.Output(display_name="licence", tooltip="What the weights may be used for."),
            ],
        )

    @classmethod
    def validate_inputs(cls, model_name=None):
        if model_name is None or model_name in _names():
            return True
        return f"model_name: {model_name} is not on this computer; {_remedy(model_name)}, then refresh (R)."

    @classmethod
    @checked
    def execute(cls, model_name: str, precision: str = "fp32", detector=None, also: FaceModel | None = None) -> io.NodeOutput:
        if detector is not None and not hasattr(detector, "detect_batch"):
            raise ValueError(f"detector: {quoted(detector)} arrives there; connect Load Face Detection Model (MediaPipe).")
        with torch.inference_mode(False):
            if model_name == DEMO:
                face_model = load_demo_face_model("reward")
            else:
                own_detector = None if detector is None else HostLandmarker(detector)
                face_model = load_face_model(_files()[model_name], PRECISIONS[precision], own_detector)
            if also is not None:
                face_model = FaceModelPair(face_model, also)
        return io.NodeOutput(face_model, f"{face_model.name}: {face_model.licence}")


def register_folders() -> None:
    """Add the folders for face models to the host's, beside whatever others have registered."""
    for name in ("insightface", "face"):
        folder_paths.add_model_folder_path(name, str(Path(folder_paths.models_dir) / name))


def _files() -> dict[str, FaceFiles]:
    register_folders()
    found = list_face_models(folder_paths.get_folder_paths("insightface"), folder_paths.get_folder_paths("face"))
    return {files.name: files for files in found}


def _names() -> list[str]:
    return [DEMO, *_files()]


def _remedy(model_name: str) -> str:
    if model_name == OPENCV_PAIR:
        return "put face_detection_yunet_2023mar.onnx and face_recognition_sface_2021dec.onnx of the OpenCV zoo into models/face"
    source, _, name = model_name.partition("/")
    if source == "insightface" and name.endswith(".onnx"):
        return "put it into models/insightface"
    if source == "insightface":
        return f"unzip the pack into models/insightface/models/{name}"
    return "choose another one of the list"
