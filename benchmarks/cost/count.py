"""The operations of a run of the pack, counted with its own code on a model of full size that has no weights."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import comfy.model_management
import comfy.sampler_helpers
import comfy.samplers
import torch
import torch.nn.functional as F
from comfy.model_patcher import ModelPatcher
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.cost.operations import Operations

LATE = 0.5
"""The noise level of the counted calls, inside a window that is always open: there are no numbers to compare."""
ATTENTION = "optimized_attention_override"  # the host's name for whatever attends in its place
CARD = 24 * 10**9
"""Bytes of the card that the host is told about, which lets its VAEs choose how much they decode at once."""


@dataclass(frozen=True)
class Counted:
    """Operations of diffusion model and VAE. call: of one sampling step of one clip, guidance included. gradient: of the
    sampling steps with gradient, the decoding of their frames, and backward. clip: of decoding a whole clip."""

    call: int
    gradient: int
    clip: int


def counted(pack, model: ModelPatcher, conditioning: list, decoder, latent: Tensor, settings, gradient_steps: int, option):
    """Counts on the device of ``latent``; decoder: the FrameDecoder of the plan's ``option``; gradient_steps: K."""
    architectures = pack.adapters.architectures
    architecture = architectures.architecture_of(model.model)
    targets = architectures.find_targets(model.model)
    adapter = pack.adapters.low_rank.LowRankAdapter.create(targets, settings.rank, settings.alpha, 0)
    injection = pack.adapters.late_step.LateStepInjection(adapter.residuals(), settings.start_percent, 1.0)
    injection._window = pack.adapters.late_step.SigmaWindow(1.0, 0.0)
    injection.attach(model)
    pack.host.checkpointing.BlockCheckpointing(architecture, option.mode).attach(model)
    recomputes = option.mode != "off"
    decoder.checkpointing, decoder.one_by_one = recomputes, option.mode == "offload"
    frames = list(range(option.frames))

    with on_a_card(), StaysOnMeta(), ready(pack, model, conditioning, settings.cfg) as guider, decoder.frozen():
        sigmas = torch.full((gradient_steps + 1,), LATE, device=latent.device)
        rollout = pack.training.rollout.Rollout(guider, sigmas, {}, latent, [1])
        with torch.no_grad(), pack.host.autograd.differentiable_kernels(), Operations() as call:
            rollout.run(latent, 0, 1)
        with pack.host.checkpointing.mutations_allowed(architecture), Operations() as gradient:
            x = rollout.run(latent, 0, gradient_steps, recomputes)
            decoder.decode(rollout.guider.inner_model.process_latent_out(x), frames).sum().backward()
        with Operations() as clip:
            decoder.decode_clip(latent)
    return Counted(call.count, gradient.count, clip.count)


@contextmanager
def ready(pack, model: ModelPatcher, conditioning: list, cfg: float) -> Iterator[Callable]:
    """A MODEL that can be trained, as the host's guider hands it to a rollout; its guidance costs what the host's costs."""
    base, clips = model.model, 1 if cfg == 1 else 2

    def fused(*args, **kwargs) -> Tensor:
        with FusedAttention():  # also when a block is computed again, where no mode of the first time lasts
            return model.model_options["transformer_options"][ATTENTION](*args, **kwargs)

    def guider(x: Tensor, sigma: Tensor) -> Tensor:
        conds = comfy.sampler_helpers.convert_cond(conditioning)
        (cond,) = comfy.samplers.encode_model_conds(base.extra_conds, conds, x, x.device, "positive")
        given = {
            name: value.process_cond(batch_size=clips * len(x), area=None).cond for name, value in cond["model_conds"].items()
        }
        options = model.model_options["transformer_options"] | {"cond_or_uncond": list(range(clips)), ATTENTION: fused}
        both = torch.cat([x] * clips)
        with pack.adapters.late_step.at_sigma(LATE):
            out = base._apply_model(both, sigma[:1].expand(len(both)), transformer_options=options, **given)
        return sum(out.chunk(clips))

    guider.inner_model, guider.conds = base, {"positive": [], "negative": []}
    with pack.host.autograd.training_mode(), pack.host.autograd.attention_for_training(model):
        model.inject_model()
        try:
            with pack.host.autograd.frozen(base):
                yield guider
        finally:
            model.eject_model()


class FusedAttention(TorchFunctionMode):
    """Attention on the meta device is one operation, as it is where it has numbers: PyTorch would take it to pieces there,
    and leave out of backward what a fused kernel computes for nothing."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is not F.scaled_dot_product_attention or not args[0].is_meta:
            return function(*args, **kwargs or {})
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args[:3], attn_mask=(kwargs or {}).get("attn_mask"))[0]


class StaysOnMeta(TorchDispatchMode):
    """What would be copied from the meta device to another one, as the host does to save memory, stays there."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.ops.aten._to_copy.default and args[0].is_meta:
            kwargs["device"] = args[0].device
        if function is torch.ops.aten.copy_.default and args[1].is_meta and not args[0].is_meta:
            return args[0]
        return function(*args, **kwargs)


@contextmanager
def on_a_card():
    """The host believes in a card of 24 GB: it knows of no memory on the meta device."""
    management, before = comfy.model_management, (comfy.model_management.get_total_memory, comfy.model_management.get_free_memory)

    def memory(dev=None, torch_total_too=False, torch_free_too=False):
        return (CARD, CARD) if torch_total_too or torch_free_too else CARD

    management.get_total_memory = management.get_free_memory = memory
    try:
        yield
    finally:
        management.get_total_memory, management.get_free_memory = before
