"""What the Train node shows when it is done: a clip before and after, and the rewards over the steps."""

import os

import folder_paths
from comfy_api.latest import io, ui
from PIL import Image

from ..evaluation.training_plot import comparison_frames, training_plot
from ..training.result import TrainingResult
from .synthetic_video import XMP

FRAMES_A_SECOND = 12  # between AnimateDiff's 8 and HunyuanVideo's 24
QUALITY, EFFORT = 85, 2  # WebP's settings; an effort of 4 takes twice the time to save 3 percent


def result_pictures(result: TrainingResult) -> dict:
    """Save the pictures to ComfyUI's temp folder, the clip marked as synthetic, and return the node's ui output.

    The clip is an animated WebP but is not declared as one: the frontend would then show it alone, in the little room
    that is left on the node, instead of making room for both pictures.
    """
    names = "original model", "with the adapter"
    captions = tuple(
        name if similarity != similarity else f"{name}: similarity {similarity:.2f}"
        for name, similarity in zip(names, result.similarities)
    )
    frames, every = comparison_frames(result.before, result.after, captions)
    history = result.history
    semantic = [record.semantic for record in history] if result.scored else None
    plot = training_plot([record.similarity for record in history], semantic, frames[0].height)
    clip = _save(
        frames[0], "webp", save_all=True, append_images=frames[1:], duration=round(1000 * every / FRAMES_A_SECOND), loop=0,
        quality=QUALITY, method=EFFORT, xmp=XMP.encode(),
    )  # fmt: skip
    return ui.SavedImages([clip, _save(plot, "png")]).as_dict()


def _save(picture: Image.Image, suffix: str, **options) -> ui.SavedResult:
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        "personalvideo_result", folder_paths.get_temp_directory()
    )
    file = f"{name}_{counter:05}_.{suffix}"
    picture.save(os.path.join(folder, file), **options)
    return ui.SavedResult(file, subfolder, io.FolderType.temp)
