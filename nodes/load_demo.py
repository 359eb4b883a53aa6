"""Load Demo Models: the embedded cartoon world, ready without a download."""

import torch
from comfy_api.latest import io

from ..demo.load import load_clip, load_face_model, load_model, load_semantic_reward, load_vae
from .contract import checked
from .wire_types import CATEGORY, FaceModelType, SemanticRewardType


class LoadDemo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoLoadDemo",
            display_name="Load Demo Models",
            category=CATEGORY,
            description="A tiny text-to-video model of drawn people (8 frames of 64 x 64) with its text encoder, VAE, "
            "recognizers and scorer. It runs on a CPU; use it to see the whole method at work in minutes.",
            search_aliases=["PersonalVideo demo", "tiny model", "toy model", "example"],
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="A tiny Wan model; 16 steps and cfg 1 suit it."),
                io.Clip.Output(display_name="clip", tooltip="Its text encoder; knows the few words of the demo prompts."),
                io.Vae.Output(display_name="vae", tooltip="Its video VAE."),
                FaceModelType.Output(display_name="face_model", tooltip="The recognizer that training rewards."),
                FaceModelType.Output(display_name="judge", tooltip="Another recognizer, for evaluation only."),
                SemanticRewardType.Output(display_name="semantic_reward", tooltip="Its image-text scorer."),
            ],
        )

    @classmethod
    @checked
    def execute(cls) -> io.NodeOutput:
        with torch.inference_mode(False):
            return io.NodeOutput(
                load_model(), load_clip(), load_vae(), load_face_model("reward"), load_face_model("judge"), load_semantic_reward()
            )
