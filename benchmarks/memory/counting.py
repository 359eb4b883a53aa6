"""Counting on small models of every family what ``memory.py`` reports."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.samplers
import comfy.sd
import torch

from benchmarks.memory.live_bytes import LiveBytes, saved_bytes
from devkit import tiny_models
from devkit.gradients import GRADIENT_STEPS, START, STEPS, random_adapter
from devkit.tiny_models import FAMILIES, TOKENS
from devkit.tiny_motion import write_motion_module

DTYPES = {4: torch.float32, 2: torch.bfloat16}


@dataclass(frozen=True)
class Sample:
    """A small model. name: its family's in ``tiny_models``. config: what differs from it. shape: that of the latents."""

    name: str
    shape: tuple[int, ...]
    config: dict
    element_size: int = 4

    def load(self, pack, folder: Path):
        """The MODEL by the host's loaders, which computes with numbers of ``element_size`` bytes."""
        family = FAMILIES[self.name]
        described = family.described | {key: self.config[key] for key in family.described if key in self.config}
        name = "_".join(["memory", self.name, *map(str, self.config.values())])
        FAMILIES[name] = replace(family, name=name, config=family.config | self.config, described=described)
        file = folder / f"{name}.safetensors"
        try:
            if not file.exists():
                tiny_models.write_diffusion_model(name, file)
        finally:
            del FAMILIES[name]
        with torch.inference_mode():
            model = comfy.sd.load_diffusion_model(str(file), {"dtype": DTYPES[self.element_size]})
            model.set_model_compute_dtype(DTYPES[self.element_size])
        if self.name == "sd15":
            path = write_motion_module(folder / "motion.safetensors", model.model.diffusion_model)
            with torch.inference_mode():
                model = pack.adapters.motion_injection.apply_motion_modules(
                    model, pack.adapters.motion_checkpoint.read_checkpoint(path)
                )
        return model


def in_rollout(pack, sample: Sample, folder: Path, mode: str, body: Callable, cfg: float = 1.0) -> None:
    """Call ``body(model, layers, roll)`` in the host's guider; ``roll(steps, checkpointing)`` is a loss after these steps."""
    model = sample.load(pack, folder)
    architecture = pack.adapters.architectures.architecture_of(model.model)
    layers = pack.training.memory.layers.layers_of(model, architecture, sample.shape, TOKENS)
    model = pack.host.autograd.static_clone(model, "model")
    adapter = random_adapter(pack, model)
    pack.adapters.late_step.LateStepInjection(adapter.residuals(), START, 1.0).attach(model)
    pack.host.checkpointing.BlockCheckpointing(architecture, mode).attach(model)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)

    def inside(rollout) -> None:
        rollout.use_prompt(0)
        x = torch.randn(sample.shape, generator=torch.Generator().manual_seed(0)).to(rollout.latent)

        def roll(steps: int, checkpointing: bool):
            return rollout.to_vae(rollout.run(x, STEPS - steps, STEPS, checkpointing)).sum()

        with pack.host.checkpointing.mutations_allowed(architecture):
            body(model, layers, roll)

    conditions = [tiny_models.conditioning(sample.name, seed) for seed in (1, 2)]
    pack.training.rollout.with_rollout(model, conditions[:1], conditions[1], cfg, sigmas, torch.zeros(sample.shape), inside)


def saved_by_kind(pack, sample: Sample, folder: Path, mode: str) -> tuple[tuple, dict[str, int]]:
    """The layers, and the bytes that the blocks of each kind save in one step; what is outside of blocks is under ""."""
    found = []

    def body(model, layers, roll) -> None:
        place = {"kind": "", "step": 0}
        architecture = pack.adapters.architectures.architecture_of(model.model)
        modules = [module for name, module in model.model.diffusion_model.named_modules() if architecture.blocks.fullmatch(name)]
        if len(modules) != len(layers):
            raise RuntimeError(f"{sample.name}: {len(modules)} blocks and {len(layers)} layers")
        handles = []
        for number, (module, layer) in enumerate(zip(modules, layers)):

            def enter(*_, kind=layer.kind, first=number == 0):
                place["kind"] = kind
                place["step"] += first

            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(lambda *_: place.update(kind=""))]
        # The second step alone counts, as nothing before the first adapter needs a gradient in the first step.
        sums = saved_bytes(lambda: roll(2, False), lambda: place["kind"] if place["step"] == 2 else "first step")
        sums.pop("first step")
        for handle in handles:
            handle.remove()
        found.append((layers, sums))

    in_rollout(pack, sample, folder, mode, body)
    return found[0]


def counted_peak(pack, sample: Sample, folder: Path, mode: str, steps: int = GRADIENT_STEPS, cfg: float = 1.0) -> tuple:
    """The layers, and the most bytes that forward and backward through ``steps`` sampling steps hold at a time."""
    found = []

    def body(model, layers, roll) -> None:
        with LiveBytes() as counter:
            roll(steps, mode != "off").backward()
        found.append((layers, counter.peak))

    in_rollout(pack, sample, folder, mode, body, cfg)
    return found[0]
