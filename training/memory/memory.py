"""How one run keeps its activations: planned before it starts, more frugal each time memory runs out all the same."""

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice
from typing import TypeVar

import comfy.model_management
from torch import Tensor

from ...host.autograd import release
from ...host.checkpointing import BlockCheckpointing, mutations_allowed
from ...host.tiny_vae import load_tiny_vae
from ..decoding.frame_decoder import FrameDecoder
from .demand import RunParts, budget_of, demand_of, smaller, tiny_decoder
from .estimate import Demand, Option, peak
from .plan import choose, needed, next_rung, options, sentence

Result = TypeVar("Result")


class Memory:
    """Decides how one run keeps its activations, and stands around each of its steps in case that does not suffice.

    option: how the run trains now. sentence: what that is and why. decoder: the one that decodes for teacher and
    student alike, parts.decoder or the tiny VAE's.
    say: gets a line for the user when memory has run out. decoder_changed: gets the tiny VAE's decoder when the run
    has to go on with it, before the step is repeated; frames that the other one has decoded do not compare to its own.
    bank: bytes of clips that are going to be remembered in CPU memory.
    Raises ValueError, naming a size that fits, if the plan is left to us and finds none.
    """

    def __init__(self, parts: RunParts, latent: Tensor, bank: int = 0):
        self.parts = parts
        self.decoder = parts.decoder
        self.say: Callable[[str], None] = lambda line: None
        self.decoder_changed: Callable[[FrameDecoder], None] = lambda decoder: None
        self._tiny = _load_tiny(parts)
        self._blocks = BlockCheckpointing(parts.architecture)
        self._blocks.attach(parts.model)
        self.demand = demand_of(parts, latent)
        self.budget = budget_of(parts, bank)
        wanted = parts.settings.gradient_checkpointing
        if wanted == "auto":
            plan = choose(self.demand, self.budget)
            if plan is None:
                raise ValueError(self._refusal(latent))
            self.sentence = plan.sentence
            self._use(plan.option)
        else:
            option = Option(wanted, self.demand.frames)
            self.sentence = sentence(self.demand, option, self.budget)
            self._use(option)

    @property
    def recomputes(self) -> bool:
        """Whether activations are computed again in backward."""
        return self.option.mode != "off"

    @property
    def frames(self) -> int:
        """Most frames that a step decodes."""
        return self.option.frames

    @property
    def needed(self) -> int:
        """Bytes of the training device that the run takes, with a margin."""
        return needed(self.demand, self.option)

    def make_room(self) -> None:
        """Let the host unload what this run does not need, as far as training needs its place."""
        device = self.parts.model.load_device
        if device.type != "cpu":
            comfy.model_management.free_memory(self.needed, device)

    def retrying(self, step: Callable[[], Result]) -> Result:
        """``step()``, repeated one rung further down the ladder each time memory runs out.

        ``step`` must change nothing that lasts before it has succeeded. Raises its error if that is not for want of
        memory, or if the ladder ends here.
        """
        while True:
            try:
                # Where the model is computed again in backward, its forward keeps nothing that could be changed.
                with nullcontext() if self.recomputes else self._mutations_allowed():
                    return step()
            except Exception as error:
                option = next_rung(self.demand, self.option) if comfy.model_management.is_oom(error) else None
                if option is None:
                    raise
            # Only here has the error let go of the tensors of the step.
            gc.collect()
            comfy.model_management.soft_empty_cache(True)
            self._step_down(option)

    def backward(self, loss: Tensor) -> None:
        """``loss.backward()``, inside of a step that is ``retrying``."""
        with self._mutations_allowed() if self.recomputes else nullcontext():
            loss.backward()

    def advice(self, latent: Tensor) -> str:
        """One sentence that says what to change after memory has run out for good."""
        shorter, narrower = ([name for name, _ in sizes] for sizes in smaller(self.parts, latent, self.demand))
        sizes = [*shorter[len(shorter) // 2 :][:1], *narrower[:1]]
        frugal = replace(self.option, tiny=True)
        tiny = [name for name, demand in self._missing_tiny() if peak(demand, frugal) < peak(demand, self.option)]
        remedies = [*tiny, f"lower {', or '.join(sizes)}", "close other programs that use the same memory"]
        return f"Out of memory; {', or '.join(remedies)}."

    def _mutations_allowed(self) -> AbstractContextManager:
        return mutations_allowed(self.parts.architecture)

    def _step_down(self, option: Option) -> None:
        before = self.decoder
        self._use(option)
        self.sentence = f"Memory ran out, so training went on like this. {sentence(self.demand, option, self.budget)}"
        self.say(self.sentence)
        if self.decoder is not before:
            release(before.patcher)
            self.decoder.prepare()
            self.decoder_changed(self.decoder)

    def _use(self, option: Option) -> None:
        self.option = option
        self._blocks.mode = option.mode
        self.decoder = self._tiny if option.tiny else self.parts.decoder
        self.decoder.checkpointing = self.recomputes
        self.decoder.one_by_one = option.mode == "offload"

    def _refusal(self, latent: Tensor) -> str:
        sizes = smaller(self.parts, latent, self.demand)
        remedies = [*self._first_that_fits(self._missing_tiny())]
        remedies += [f"lower {name}" for each in sizes for name in self._first_that_fits(each)]
        remedies = remedies or ["lower gradient_steps, or use a smaller model or one in 8 bits"]
        least = min(needed(self.demand, option) for option in options(self.demand))
        return (
            f"length, width, height: training at this size takes about {least / 1e9:.1f} GB and {self.budget.device / 1e9:.1f} "
            f"GB can be had; {', or '.join(remedies)}. To try it all the same, set gradient_checkpointing to offload."
        )

    def _missing_tiny(self) -> Iterator[tuple[str, Demand]]:
        """What to do about a tiny VAE that the user has not got, with what the run needs memory for then."""
        tiny = None if self.demand.tiny else tiny_decoder(self.parts)
        if tiny:
            name = self.parts.model.get_model_object("latent_format").taesd_decoder_name
            yield f"put the tiny VAE {name} into models/vae_approx", replace(self.demand, tiny=tiny)

    def _first_that_fits(self, candidates: Iterable[tuple[str, Demand]]) -> Iterable[str]:
        """The name of the first that fits, alone or not at all."""
        return islice((name for name, demand in candidates if choose(demand, self.budget)), 1)


def _load_tiny(parts: RunParts) -> FrameDecoder | None:
    """The decoder of the model's tiny VAE, if the user has it and does not decode with it anyway.

    The host loads it together with the model, as nothing new should have to be loaded at the moment in which memory runs out.
    """
    vae = load_tiny_vae(parts.model.get_model_object("latent_format")) if tiny_decoder(parts) else None
    if vae is None:
        return None
    decoder = FrameDecoder(vae, parts.decoder.device, parts.decoder.gradient_chunks)
    decoder.network.requires_grad_(False)
    parts.model.set_additional_models("personalvideo_tiny_vae", [decoder.patcher])
    return decoder
