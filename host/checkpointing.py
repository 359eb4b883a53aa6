"""Exact recomputation of activations in the backward pass, through blocks that the host owns.

The reentrant form of ``torch.utils.checkpoint`` is used throughout: where blocks add
in place to tensors that autograd has saved, the other form gives wrong gradients
without an error (the recomputed tensors are mutated before they are used).
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import PatcherInjection, WrappersMP
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..adapters.acting import acting_now
from ..adapters.architectures import Architecture
from .autograd import differentiable_kernels
from .saved_tensors import kept_on_cpu, saved_tensors_survive


def recomputed(function: Callable, *tensors: Tensor) -> Any:
    """Return ``function(*tensors)``, a tensor or a tuple of tensors, without keeping its activations.

    Gradients also reach what the function closes over, such as the adapter's weights.
    """
    # The reentrant form needs an input and an output that ask for a gradient.
    anchor = torch.empty(0, requires_grad=True)

    def anchored(anchor, *inputs):
        outputs = function(*inputs)
        return *(outputs if isinstance(outputs, tuple) else (outputs,)), anchor.clone()

    # PyTorch declares no type of what this returns.
    *outputs, _ = cast(tuple, checkpoint(anchored, anchor, *tensors, use_reentrant=True, preserve_rng_state=False))
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


def mutations_allowed(architecture: Architecture):
    """Context for forward and backward together, in which saved tensors survive in-place changes."""
    if architecture.mutates_saved_tensors:
        return saved_tensors_survive()
    return nullcontext()


class BlockCheckpointing:
    """Recomputes each transformer or UNet block by itself while the host holds the patcher's injections.

    mode: "off", "steps", "blocks" or "offload"; it may change between two training steps. Only the last two act: with
    "offload", what is kept between blocks also waits in CPU memory, and the predictions with and without prompt are
    computed one after the other.
    """

    def __init__(self, architecture: Architecture, mode: str = "blocks"):
        self.architecture = architecture
        self.mode = mode
        self._wrapped: dict[int, list[nn.Module]] = {}

    def attach(self, patcher: ModelPatcher) -> None:
        """Hang the injection on ``patcher`` (a clone that the caller owns), after all others."""
        patcher.set_injections("personalvideo_blocks", [PatcherInjection(self._inject, self._eject)])
        patcher.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "personalvideo_blocks", self._guide)

    def _inject(self, patcher: ModelPatcher) -> None:
        self._eject(patcher)
        wrapped = self._wrapped[id(patcher.model)] = []
        for name, module in patcher.model.diffusion_model.named_modules():
            if self.architecture.blocks.fullmatch(name) and "forward" not in vars(module):
                module.forward = self._recomputing(module.forward)
                wrapped.append(module)

    def _eject(self, patcher: ModelPatcher) -> None:
        for module in self._wrapped.pop(id(patcher.model), ()):
            del module.forward

    def _guide(self, executor: Callable, model, conds: list, *args):
        """The prompt's and the negative prompt's predictions, one after the other: half the memory of a block."""
        if self.mode != "offload" or not comfy.model_management.in_training:
            return executor(model, conds, *args)
        if sum(cond is not None for cond in conds) < 2:
            return executor(model, conds, *args)
        alone = [executor(model, [cond if other is cond else None for other in conds], *args) for cond in conds]
        return [results[index] for index, results in enumerate(alone)]

    def _recomputing(self, forward: Callable) -> Callable:
        def run(*args, **kwargs):
            if self.mode not in ("blocks", "offload") or not torch.is_grad_enabled():
                return forward(*args, **kwargs)
            adapters_as_now = acting_now()  # what acts now has to act in backward
            values = [*args, *kwargs.values()]
            tensors = {place: value for place, value in enumerate(values) if isinstance(value, Tensor)}
            # The host rewrites its option dictionaries from block to block. What is kept for backward must not
            # hold the tensors themselves, or nothing of them could wait elsewhere.
            constants = [
                None if isinstance(value, Tensor) else dict(value) if isinstance(value, dict) else value for value in values
            ]
            places, positional, names = list(tensors), len(args), list(kwargs)

            def again(*inputs):
                given = list(constants)
                for place, tensor in zip(places, inputs):
                    given[place] = tensor.clone() if self.architecture.mutates_saved_tensors else tensor
                with adapters_as_now(), differentiable_kernels():
                    return forward(*given[:positional], **dict(zip(names, given[positional:])))

            # What needs no gradient is the same tensor in every block: copies would only add to it.
            stream = [tensor for tensor in tensors.values() if tensor.requires_grad]
            with kept_on_cpu(stream) if self.mode == "offload" else nullcontext():
                return recomputed(again, *tensors.values())

        return run
