"""Load Semantic Reward: the image-text scorer behind the semantic consistency reward."""

import torch
from comfy_api.latest import io

from ..demo.load import load_semantic_reward
from .wire_types import CATEGORY, SemanticRewardType


class LoadSemanticReward(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoLoadSemanticReward",
            display_name="Load Semantic Reward",
            category=CATEGORY,
            description="Scores how well a frame fits its prompt. Training uses it to keep the videos' meaning "
            "and motion as the original model makes them.",
            search_aliases=["HPSv2", "PickScore", "CLIP score", "SCR"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=["demo"],
                    tooltip="demo: the bundled scorer of the demo world.",
                ),
            ],
            outputs=[SemanticRewardType.Output(display_name="semantic_reward")],
        )

    @classmethod
    def execute(cls, model_name: str) -> io.NodeOutput:
        with torch.inference_mode(False):
            return io.NodeOutput(load_semantic_reward())
