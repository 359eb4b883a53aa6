"""Load AnimateDiff Motion Module: a Stable Diffusion 1.5 model becomes a video model."""

import os
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..adapters.motion_checkpoint import read_checkpoint
from ..adapters.motion_injection import apply_motion_modules
from .contract import checked
from .wire_types import CATEGORY

FOLDER = "animatediff_models"


def register_folder() -> None:
    """Motion modules live in models/animatediff_models, next to whatever other packs registered there."""
    known = FOLDER in folder_paths.folder_names_and_paths
    folder_paths.add_model_folder_path(FOLDER, os.path.join(folder_paths.models_dir, FOLDER))
    if not known:
        folder_paths.folder_names_and_paths[FOLDER][1].update(folder_paths.supported_pt_extensions)


class LoadMotionModule(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoLoadMotionModule",
            display_name="Load AnimateDiff Motion Module",
            category=CATEGORY,
            description="Adds AnimateDiff's motion modules and its noise schedule to a Stable Diffusion 1.5 model. "
            "A batch of latents (16 frames is what they were trained on) is then one video.",
            search_aliases=["AnimateDiff", "motion module", "mm_sd_v15", "v3_sd15_mm", "PersonalVideo"],
            inputs=[
                io.Model.Input("model", tooltip="A Stable Diffusion 1.5 model; LoRAs may be on it already or follow later."),
                io.Combo.Input(
                    "motion_module",
                    options=folder_paths.get_filename_list(FOLDER),
                    tooltip="A file in models/animatediff_models: mm_sd_v15.ckpt (up to 24 frames), mm_sd_v15_v2.ckpt, "
                    "v3_sd15_mm.ckpt (up to 32), AnimateLCM, or the weights of a diffusers MotionAdapter.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="Samples a batch of latents as one video.")],
        )

    @classmethod
    def fingerprint_inputs(cls, motion_module=None, **kwargs):
        path = motion_module and folder_paths.get_full_path(FOLDER, motion_module)
        return os.path.getmtime(path) if path else None

    @classmethod
    @checked
    def execute(cls, model, motion_module) -> io.NodeOutput:
        path = Path(folder_paths.get_full_path_or_raise(FOLDER, motion_module))
        return io.NodeOutput(apply_motion_modules(model, read_checkpoint(path)))
