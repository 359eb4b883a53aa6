"""One name for everything that decides how the original model's clips look."""

import hashlib
import json
from pathlib import Path

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...adapters.architectures import architecture_of
from ...rewards.faces import FaceModel
from ...rewards.semantic import SemanticReward

# Raise it when clips from older versions of this pack must no longer be used.
VERSION = 1
SAMPLED_VALUES = 16


def bank_fingerprint(
    *,
    model: ModelPatcher,
    high_noise_model: ModelPatcher | None,
    vae,
    latent: Tensor,
    cfg: float,
    sigmas: Tensor,
    first_late_step: int,
    negative_prompt: str,
    face_model: FaceModel,
    semantic_reward: SemanticReward | None,
    witness: tuple[str, int],
) -> str:
    """A hash of everything that decides a clip and can be named, apart from its prompt and initial noise.

    A model is named by its family, its file and the patches on it (style LoRAs with their strengths). What wrappers and
    injections do to it has no name, so clips have to be compared as well. witness: prompt and noise seed of the clip that
    every run samples again. Only runs with the same witness share a folder, so that no clip gets in whose model was not
    compared with that of the clips already there.
    """
    parts = {
        "version": VERSION,
        "models": [_model_name(patcher) for patcher in (model, high_noise_model) if patcher is not None],
        "vae": [type(vae.first_stage_model).__name__, _file_name(vae.patcher)],
        "latent": list(latent.shape),
        "sampling": [cfg, sigmas.tolist(), first_late_step],
        "negative": negative_prompt,
        "faces": [face_model.name, face_model.finder, face_model.fingerprints, face_model.crop_size, face_model.minimum_face],
        "semantic": semantic_reward and semantic_reward.name,
        "witness": witness,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _model_name(patcher: ModelPatcher) -> list:
    patches = {str(name): [_describe(patch) for patch in entries] for name, entries in patcher.patches.items()}
    return [architecture_of(patcher.model).name, str(patcher.model.get_dtype_inference()), _file_name(patcher), patches]


def _file_name(patcher: ModelPatcher) -> list:
    """The files that the host loaded ``patcher`` from, each with size and time; empty if the host does not tell."""
    made_by = getattr(patcher, "cached_patcher_init", None)
    arguments = made_by[1] if made_by else ()
    files = []
    for argument in arguments:
        if isinstance(argument, (str, Path)) and Path(argument).is_file():
            about = Path(argument).stat()
            files.append([Path(argument).name, about.st_size, about.st_mtime_ns])
    return files


def _describe(value) -> object:
    """The host's nested description of a patch, with a few values standing for each tensor."""
    if isinstance(value, Tensor):
        flat = value.detach().flatten()
        some = flat[:: max(1, len(flat) // SAMPLED_VALUES)]
        return [list(value.shape), some.float().tolist()]
    if isinstance(value, (list, tuple)):
        return [_describe(item) for item in value]
    if isinstance(value, (int, float, str, bool, type(None))):
        return value
    if hasattr(value, "weights"):
        return [type(value).__name__, _describe(value.weights)]
    return type(value).__name__
