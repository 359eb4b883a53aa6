"""Load Face Model: a face detector and recognizer, for the reward or for judging."""

import torch
from comfy_api.latest import io

from ..demo.load import load_face_model
from .wire_types import CATEGORY, FaceModelType


class LoadFaceModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoLoadFaceModel",
            display_name="Load Face Model",
            category=CATEGORY,
            description="Finds faces and measures who they are. Load Identity Images and training use it.",
            search_aliases=["face recognizer", "face detector", "insightface"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=["demo"],
                    tooltip="demo: the bundled recognizer of the drawn demo people; it knows nothing of photographs.",
                ),
            ],
            outputs=[FaceModelType.Output(display_name="face_model")],
        )

    @classmethod
    def execute(cls, model_name: str) -> io.NodeOutput:
        with torch.inference_mode(False):
            return io.NodeOutput(load_face_model("reward"))
