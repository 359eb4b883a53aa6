"""The runs whose cost is told: one family and one preset each."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache

import comfy.samplers
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from benchmarks.cost.count import Counted, counted
from benchmarks.cost.models import META, meta_conditioning, meta_model, meta_tiny_vae, meta_vae, sampling_of
from benchmarks.cost.operations import Operations
from benchmarks.cost.rate import OF_24_GB, OF_H100, seconds
from benchmarks.gpu.gpu import REWARDS
from benchmarks.gpu.models import MODELS, write_tiny_vae
from benchmarks.gpu.run import CPU_MEMORY, with_motion
from devkit.demo_world import DemoWorld

PROMPTS = 50
PAPER = {"sd15": "paper (AnimateDiff)"}
PAPER_OF_TRANSFORMERS = "paper (HunyuanVideo)"
FREE = 22 * 10**9 - REWARDS
"""Bytes of a 24 GB card that a run may plan with: the host, the driver and a desktop have the rest."""
RECOGNIZER = 24.2e9
"""Operations of one face in antelopev2's recognizer (IResNet-100: 12.1 G multiply-adds are published)."""
DETECTOR = 20e9
"""Operations of one frame in its detector (SCRFD-10G: 10 G multiply-adds at 640 x 480, published)."""


@dataclass(frozen=True)
class Case:
    """family: of the recipes. model: of benchmarks/gpu/models.py. weights: as a 24 GB card takes them."""

    family: str
    model: str
    weights: str


CASES = (
    Case("sd15", "AnimateDiff", "fp16"),
    Case("hunyuan_video", "HunyuanVideo", "fp8"),
    Case("hunyuan_video_15", "HunyuanVideo 1.5", "fp8"),
    Case("wan", "Wan 2.1 1.3B", "bf16"),
    Case("wan22_14b", "Wan 2.1 14B", "fp8"),
    Case("wan22_5b", "Wan 2.2 5B", "bf16"),
    Case("ltxv", "LTX-Video 2B", "bf16"),
    Case("cogvideox", "CogVideoX 5B", "bf16"),
)


def rows_of(pack, case: Case) -> Iterator[dict]:
    """One row for each of the presets standard, quick and the paper's."""
    for preset in ("standard", "quick", PAPER.get(case.family, PAPER_OF_TRANSFORMERS)):
        yield row_of(pack, case, preset)


def row_of(pack, case: Case, preset: str) -> dict:
    """The cost of one run for one person."""
    parts, latent, choice, late_steps = planned(pack, case, preset)
    memory, settings = pack.training.memory, choice.settings
    demand = memory.demand.demand_of(parts, latent)
    plan = memory.plan.choose(demand, memory.plan.Budget(int(FREE), CPU_MEMORY))
    option = plan.option if plan else memory.plan.options(demand)[-1]
    operations = _counted(pack, case, _Key(tuple(latent.shape), settings.cfg, parts.gradient_steps, option))

    draws = pack.training.draws.Draws(settings.seed, PROMPTS - 1, settings.bank_seeds)
    clips = 1 + len(draws.clip_keys(0, settings.steps))
    frames = parts.decoder.count(latent)
    look = vision_operations()
    step = (late_steps - parts.gradient_steps) * operations.call + operations.gradient
    step += option.frames * (3 * look + DETECTOR) + 3 * settings.identity_frames * RECOGNIZER  # forward, again, backward
    clip = settings.sampling_steps * operations.call + operations.clip + frames * (look + DETECTOR)
    total = settings.steps * step + clips * clip
    weights = sum(weight.numel() * weight.element_size() for weight in parts.adapter.parameters())
    disk = clips * pack.training.teacher.location.clip_bytes(parts.decoder, latent) + 4 * weights  # LoRA, state, two moments
    return {
        "family": case.family,
        "preset": preset,
        "train_size": f"{choice.length} x {choice.height} x {choice.width}",
        "sampling_steps": settings.sampling_steps,
        "peta_operations": round(total / 1e15, 1),
        "hours_h100": round(seconds(total, case.family, OF_H100) / 3600, 2),
        "hours_24gb": round(seconds(total, case.family, OF_24_GB) / 3600, 2) if plan else None,
        "vram_gb": round((memory.plan.needed(demand, option) + REWARDS) / 1e9, 1),
        "disk_gb": round(disk / 1e9, 2),
        "cfg": settings.cfg,
        "steps": settings.steps,
        "clips": clips,
        "clips_share": round(clips * clip / total, 2),
        "weights": case.weights,
        "plan": asdict(option),
    }


def planned(pack, case: Case, preset: str) -> tuple:
    """(RunParts, latents, Choice, sampling steps inside the window) of a run on the meta device."""
    full = MODELS[case.model]
    model = _model(pack, case)
    model.load_device = torch.device("cpu")  # where attention is fused, as it is on a GPU
    recipes, architectures = pack.training.recipes, pack.adapters.architectures
    untouched = asdict(pack.training.settings.TrainingSettings()) | {"width": 0, "height": 0, "length": 0}
    choice = recipes.choose(untouched, preset, model.model)
    settings = choice.settings
    if not full.motion and model.get_model_object("latent_format").taesd_decoder_name:
        write_tiny_vae(model.get_model_object("latent_format"))
    decoder = _decoder(pack, case)
    latent = pack.nodes.video_latent.empty_latent(model, decoder.vae, choice.width, choice.height, choice.length).to(META)
    sampling = sampling_of(full)
    sigmas = comfy.samplers.calculate_sigmas(sampling, settings.scheduler, settings.sampling_steps)
    schedule = pack.training.schedule
    window = pack.adapters.late_step.SigmaWindow.from_percent(sampling, settings.start_percent, 1.0)
    first = schedule.first_late_step(sigmas, window, settings.start_percent, settings.scheduler)
    late_steps = len(sigmas) - 1 - first
    demo = _demo(pack)
    targets = architectures.find_targets(model.model)
    parts = pack.training.memory.demand.RunParts(
        model=model, architecture=architectures.architecture_of(model.model), decoder=decoder, networks=[],
        face_model=demo.face_model, semantic_reward=demo.semantic_reward,
        adapter=pack.adapters.low_rank.LowRankAdapter.create(targets, settings.rank, settings.alpha, 0),
        settings=settings, gradient_steps=min(settings.gradient_steps, late_steps),
    )  # fmt: skip
    return parts, latent, choice, late_steps


@dataclass(frozen=True)
class _Key:
    """What the counted operations depend on, for one model."""

    shape: tuple[int, ...]
    cfg: float
    gradient_steps: int
    option: object


@cache
def _counted(pack, case: Case, key: _Key) -> Counted:
    model = _model(pack, case)
    tiny = key.option.tiny and meta_tiny_vae(model.get_model_object("latent_format"))
    decoder = _frame_decoder(pack, tiny) if tiny else _decoder(pack, case)
    settings = replace(pack.training.settings.TrainingSettings(), cfg=key.cfg)
    conditioning = meta_conditioning(MODELS[case.model])
    latent = torch.zeros(key.shape, device=META)
    return counted(pack, model, conditioning, decoder, latent, settings, key.gradient_steps, key.option)


def _model(pack, case: Case):
    full = MODELS[case.model]
    model = with_motion(pack, full, meta_model(full, case.weights))
    for additional in model.get_additional_models():
        pack.host.autograd.make_tensors_normal(additional.model)
        additional.model.to(META)
    return model


@cache
def _decoder(pack, case: Case):
    return _frame_decoder(pack, meta_vae(MODELS[case.model]))


def _frame_decoder(pack, vae):
    return pack.training.decoding.frame_decoder.FrameDecoder(vae, META)


@cache
def _demo(pack) -> DemoWorld:
    with torch.inference_mode():
        return DemoWorld(pack)


@cache
def vision_operations() -> int:
    """Operations of one frame in the vision tower of HPSv2 (ViT-H/14)."""
    with META:
        tower = CLIPVisionModelWithProjection(
            CLIPVisionConfig(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16,
                             patch_size=14, projection_dim=1024)
        )  # fmt: skip
        with torch.no_grad(), Operations() as operations:
            tower(pixel_values=torch.zeros(1, 3, 224, 224))
    return operations.count
