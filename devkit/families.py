"""The families as cases for gradients, for the tests and for `make gradients`."""

from dataclasses import replace
from pathlib import Path

import comfy.sd
import torch

from devkit import tiny_models
from devkit.gradients import Case, gradient, random_adapter
from devkit.tiny_motion import write_motion_module

CFG = 3.0
ANIMATEDIFF = "animatediff"
_SMALL = {name: replace(family, latent_shape=(*family.latent_shape[:-2], 4, 4)) for name, family in tiny_models.FAMILIES.items()}
_SMALL["sd15"] = replace(_SMALL["sd15"], latent_shape=(2, 4, 4, 4))
FAMILIES = _SMALL | {ANIMATEDIFF: _SMALL["sd15"]}
"""sd15 is the image model by itself; animatediff is the same with motion modules."""


def load_family(pack, family: str, folder: Path, weight_dtype: str = "default", seed: int = 0):
    """The MODEL of a tiny random checkpoint in ``folder``, by the host's loaders."""
    model = tiny_models.load_model(FAMILIES[family].name, folder, weight_dtype, seed)
    if family != ANIMATEDIFF:
        return model
    path = write_motion_module(folder / "motion.safetensors", model.model.diffusion_model)
    with torch.inference_mode():
        return pack.adapters.motion_injection.apply_motion_modules(model, pack.adapters.motion_checkpoint.read_checkpoint(path))


def conditioning(family: str, seed: int) -> list:
    """The CONDITIONING of one random prompt."""
    return tiny_models.conditioning(FAMILIES[family].name, seed)


def family_case(pack, family: str, folder: Path, style: bool = False, weight_dtype: str = "default") -> Case:
    """A tiny model of ``family`` with two prompts; ``style`` puts another LoRA on it through the core."""
    model = load_family(pack, family, folder, weight_dtype)
    if style:
        with torch.inference_mode():
            model = comfy.sd.load_lora_for_models(model, None, style_lora(pack, model), 1.0, 0.0)[0]
    cfg = CFG if FAMILIES[family].cfg else 1.0
    return Case(model, conditioning(family, 1), conditioning(family, 2), cfg, FAMILIES[family].latent_shape)


def style_lora(pack, model, keys=None, seed: int = 9) -> dict[str, torch.Tensor]:
    """A random LoRA on the adapter's linears, which ``keys(linears)`` names; if it is None, as our own files do."""
    targets = pack.adapters.architectures.find_targets(model.model)
    linears = [target.name for target in targets]
    names = keys(linears) if keys else pack.adapters.host_lora.file_keys(model.model, linears)
    return pack.adapters.lora_file.to_state_dict(random_adapter(pack, model, seed), targets, names)


def fp8_error(pack, family: str, folder: Path) -> float:
    """The relative difference between the gradient on 8-bit weights and that on the same weights in 32 bits."""
    eight = family_case(pack, family, folder, weight_dtype="fp8_e4m3fn")
    expected = gradient(pack, _in_full_precision(pack, eight, family, folder), "steps")
    return ((gradient(pack, eight, "steps") - expected).norm() / expected.norm()).item()


def _in_full_precision(pack, eight: Case, family: str, folder: Path) -> Case:
    full = family_case(pack, family, folder)
    state = {name: value.float() for name, value in eight.model.model.state_dict().items()}
    with torch.inference_mode():
        full.model.model.load_state_dict(state)
    return full
