"""The demo's models in the form in which nodes hand them out, from the weights in ``demo/weights``."""

from pathlib import Path

import comfy.sd
import folder_paths
from comfy.model_patcher import ModelPatcher

from . import weights
from .faces import DemoFaceModel
from .host import build_clip, build_model, build_vae
from .semantic import DemoSemanticReward

LORAS = Path(__file__).parent / "loras"


def register_loras() -> None:
    """Make every LoRA list of the host show the bundled style and identity LoRAs."""
    folder_paths.add_model_folder_path("loras", str(LORAS))


def load_model() -> ModelPatcher:
    return build_model(weights.video_network())


def load_clip() -> comfy.sd.CLIP:
    return build_clip(weights.text_encoder())


def load_vae() -> comfy.sd.VAE:
    return build_vae(weights.frame_vae())


def load_face_model(role: str) -> DemoFaceModel:
    """The face model for ``role``, "reward" or "judge"; both have the same locator and different recognizers."""
    recognizer = {"reward": weights.reward_recognizer, "judge": weights.judge_recognizer}[role]
    name = "demo" if role == "reward" else "demo judge"
    return DemoFaceModel(name, weights.locator(), recognizer())


def load_semantic_reward() -> DemoSemanticReward:
    scorer = weights.scorer()
    return DemoSemanticReward(scorer, scorer.logit_scale)
