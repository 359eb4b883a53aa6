"""PersonalVideo for ComfyUI: reward-guided identity tuning of text-to-video models."""

from comfy_api.latest import ComfyExtension, io

from .demo.load import register_loras
from .nodes.apply_late_step_lora import ApplyLateStepLora
from .nodes.estimate_training import EstimateTraining
from .nodes.evaluate_video import EvaluateVideo
from .nodes.load_demo import LoadDemo
from .nodes.load_face_model import LoadFaceModel
from .nodes.load_identity_images import LoadIdentityImages
from .nodes.load_motion_module import LoadMotionModule, register_folder
from .nodes.load_semantic_reward import LoadSemanticReward
from .nodes.sample_video import SampleVideo
from .nodes.simulated_prompts import SimulatedPrompts
from .nodes.train_adapter import TrainAdapter

WEB_DIRECTORY = "./web"


class PersonalVideo(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            LoadFaceModel,
            LoadIdentityImages,
            LoadSemanticReward,
            SimulatedPrompts,
            TrainAdapter,
            ApplyLateStepLora,
            SampleVideo,
            EvaluateVideo,
            LoadMotionModule,
            LoadDemo,
            EstimateTraining,
        ]


async def comfy_entrypoint() -> PersonalVideo:
    register_loras()
    register_folder()
    return PersonalVideo()
