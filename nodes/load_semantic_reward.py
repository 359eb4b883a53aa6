"""Load Semantic Reward: the image-text scorer behind the semantic consistency reward."""

from pathlib import Path

import comfy.sd1_clip
import folder_paths
import torch
from comfy_api.latest import io

from ..demo.load import load_semantic_reward
from ..rewards.clip_scorer import ClipScorer
from .contract import checked
from .wire_types import CATEGORY, SemanticRewardType

DEMO = "demo"
FOLDER = "reward"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
HOST_TOKENIZER = Path(comfy.sd1_clip.__file__).parent / "sd1_tokenizer"


class LoadSemanticReward(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoLoadSemanticReward",
            display_name="Load Semantic Reward",
            category=CATEGORY,
            description="Scores how well a frame fits its prompt. Training uses it to keep the videos' meaning "
            "and motion as the original model makes them.",
            search_aliases=["HPSv2", "PickScore", "CLIP score", "human preference", "SCR", "PersonalVideo"],
            inputs=[
                io.Combo.Input(
                    "model_name",
                    options=_files(),
                    tooltip="HPS_v2.1_compressed.pt or HPS_v2_compressed.pt (the paper's), PickScore or a CLIP model with "
                    'both towers, in models/reward or models/clip_vision. Keep "HPS" in the name of an HPS file, and '
                    '"laion" or "datacomp" in that of a ViT-B or ViT-L trained on LAION or DataComp: they are used '
                    "differently. demo: the bundled scorer of the demo world.",
                ),
                io.Float.Input(
                    "logit_scale",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Factor on the scores before the softmax of the semantic loss, 0 to 1000; higher weighs small "
                    "differences between frames more. 0: the one that the model was trained with (about 100 for HPSv2 and "
                    "CLIP). With 1 the loss does next to nothing.",
                ),
            ],
            outputs=[SemanticRewardType.Output(display_name="semantic_reward", tooltip="For Train PersonalVideo Adapter.")],
        )

    @classmethod
    def validate_inputs(cls, model_name=None):
        if model_name is None or model_name in _files():
            return True
        return f"model_name: {model_name} is not there; put it into models/{FOLDER} and refresh (R), or choose another file."

    @classmethod
    @checked
    def execute(cls, model_name: str, logit_scale: float = 0.0) -> io.NodeOutput:
        with torch.inference_mode(False):
            if model_name == DEMO:
                reward = load_semantic_reward()
                reward.logit_scale = logit_scale or reward.logit_scale
            else:
                reward = ClipScorer(_path(model_name), HOST_TOKENIZER, logit_scale)
        return io.NodeOutput(reward)


def _files() -> list[str]:
    """The demo first, then each file once; models/reward comes before models/clip_vision."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    names = folder_paths.get_filename_list(FOLDER) + folder_paths.get_filename_list("clip_vision")
    return list(dict.fromkeys([DEMO] + [name for name in names if name.lower().endswith(SUFFIXES)]))


def _path(name: str) -> Path:
    path = folder_paths.get_full_path(FOLDER, name) or folder_paths.get_full_path("clip_vision", name)
    if path is None:
        raise ValueError(f"model_name: {name} is not there any more; refresh (R) and choose another file.")
    return Path(path)
