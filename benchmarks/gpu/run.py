"""One setting of `gpu.py`: a timed training run of the pack on full-size random models, or what its memory plan expects."""

import time
import zlib
from dataclasses import replace

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from benchmarks.gpu import models as gpu_models
from benchmarks.speed.world import SETTINGS, inside_training, show_faces
from devkit.demo_world import DemoWorld
from devkit.motion_world import motion_loader

TIMED_STEPS = 2
MATRIX, TINY_MATRIX = 8192, 512
CPU_MEMORY = 64 * 10**9
WEIGHTS = {"bf16": (torch.bfloat16, None), "fp8": (torch.float8_e4m3fn, torch.bfloat16)}


class FullWorld(DemoWorld):
    """The model, clip and vae of a setting, with the demo's rewards and identity and a face in every frame."""

    def __init__(self, pack, setting, tiny: bool):
        with torch.inference_mode():
            super().__init__(pack)
        full = gpu_models.MODELS[setting.model]
        weights, compute = (torch.float32, None) if tiny else WEIGHTS[setting.weights]
        self.model = with_motion(pack, full, gpu_models.patcher(full, weights, compute, tiny))
        self.vae = gpu_models.vae(full, tiny)
        if not full.motion:
            gpu_models.write_tiny_vae(self.model.model.latent_format)
        self.clip = RandomText(full, tiny)
        self.cfg = pack.adapters.architectures.defaults_of(self.model.model).cfg
        self.latent = torch.zeros(gpu_models.latent_shape(full, setting.latent, tiny))
        self.settings = replace(self.settings, **SETTINGS | {"gradient_checkpointing": "auto", "cfg": self.cfg})
        show_faces(self)


class RandomText:
    """Stands in for a text encoder and gives each prompt random features of the usual length, always the same ones."""

    def __init__(self, full: gpu_models.FullModel, tiny: bool):
        self.full, self.tiny = full, tiny

    def tokenize(self, prompt: str) -> str:
        return prompt

    def encode_from_tokens_scheduled(self, prompt: str) -> list:
        return gpu_models.conditioning(self.full, zlib.crc32(prompt.encode()), self.tiny)


class Operations(TorchDispatchMode):
    """Counts operations like PyTorch's FlopCounterMode, which cannot follow modules into a block that is recomputed."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        if formula := flop_registry.get(function._overloadpacket):
            self.count += formula(*args, **kwargs or {}, out_val=out)
        return out


def with_motion(pack, full: gpu_models.FullModel, model):
    """The MODEL, with motion modules if the setting has them."""
    if not full.motion:
        return model
    with motion_loader(pack) as load:
        return load(model)


def trained(pack, setting, tiny: bool, sampling_steps: int) -> dict:
    """The row of a run: the seconds of a step, the peak memory with the bank, and the share of the GPU's rate.

    That rate is the one at which the GPU multiplies large bf16 matrices. The first step of a video model takes minutes and
    is what is measured; for an image model with motion modules it is the steps after the first.
    """
    world, row = FullWorld(pack, setting, tiny), {}
    timed = TIMED_STEPS if gpu_models.MODELS[setting.model].motion else 0

    def body(trainer, one_step) -> None:
        with Operations() as operations:
            step = _seconds(one_step, 1)
        if timed:
            step = _seconds(one_step, timed)
        rate = _matrix_rate(trainer.rollout.latent.device)
        row.update(
            seconds_per_step=round(step, 3),
            timed_steps=timed or 1,
            sampling_steps=trainer.rollout.steps,
            tera_operations_per_step=round(operations.count / 1e12, 3),
            share_of_matrix_rate=round(operations.count / step / rate, 3),
            matrix_tera_rate=round(rate / 1e12, 1),
        )

    run = inside_training(world, body, steps=1 + timed, sampling_steps=sampling_steps)
    row["gradient_steps"] = run.memory.parts.gradient_steps
    row["plan"] = run.memory.sentence
    if torch.cuda.is_available():
        row["peak_gigabytes"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
        row["peak_allocated_gigabytes"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        row["device"] = torch.cuda.get_device_name()
    return row


def estimated(pack, setting, free: float) -> dict:
    """The memory plan's expectation for a card with ``free`` bytes; the diffusion model is built without memory."""
    full = gpu_models.MODELS[setting.model]
    weights, compute = WEIGHTS[setting.weights]
    with torch.inference_mode():
        demo = DemoWorld(pack)
    plan, demand_module = pack.training.memory.plan, pack.training.memory.demand
    model = with_motion(pack, full, gpu_models.unfilled(full, weights, compute))
    architectures, low_rank = pack.adapters.architectures, pack.adapters.low_rank
    if not full.motion:
        gpu_models.write_tiny_vae(model.model.latent_format)
    settings = replace(demo.settings, **SETTINGS | {"cfg": architectures.defaults_of(model.model).cfg})
    parts = demand_module.RunParts(
        model=model, architecture=architectures.architecture_of(model.model),
        decoder=pack.training.decoding.frame_decoder.FrameDecoder(full.vae(torch.bfloat16), torch.device("cpu")),
        networks=[], face_model=demo.face_model, semantic_reward=demo.semantic_reward,
        adapter=low_rank.LowRankAdapter.create(architectures.find_targets(model.model), settings.rank, settings.alpha, 0),
        settings=settings, gradient_steps=settings.gradient_steps,
    )  # fmt: skip
    demand = demand_module.demand_of(parts, torch.empty(setting.latent, device="meta"))
    row = {"estimate": True, "free_gigabytes": free / 1e9}
    if found := plan.choose(demand, plan.Budget(int(free), CPU_MEMORY)):
        return row | {
            "peak_gigabytes": round(pack.training.memory.estimate.peak(demand, found.option) / 1e9, 2),
            "plan": found.sentence,
        }
    smallest = min(plan.needed(demand, option) for option in plan.options(demand))
    return row | {"plan": f"does not fit: at least {smallest / 1e9:.1f} GB are needed, with the tiny VAE"}


def _seconds(job, times: int) -> float:
    _synchronise()
    started = time.monotonic()
    for _ in range(times):
        job()
    _synchronise()
    return (time.monotonic() - started) / times


def _matrix_rate(device: torch.device) -> float:
    """How many operations a second a large product in bf16 makes."""
    side = MATRIX if device.type == "cuda" else TINY_MATRIX
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    a @ b
    return 2 * side**3 / _seconds(lambda: a @ b, 10)


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
