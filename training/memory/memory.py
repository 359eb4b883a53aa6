"""How one run keeps its activations: planned before it starts, made more frugal whenever memory runs out all the same."""

import gc
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import TypeVar

import comfy.model_management
from torch import Tensor

from ...host.autograd import release
from ...host.checkpointing import BlockCheckpointing, mutations_allowed
from ...host.tiny_vae import load_tiny_vae
from ..decoding.frame_decoder import FrameDecoder
from .demand import RunParts, budget_of, demand_of, smaller, tiny_decoder
from .plan import Option, choose, first_that_fits, more_frugal, peak, sentence

Result = TypeVar("Result")


class Memory:
    """Decides how one run keeps its activations, and stands around each of its steps in case that is not enough.

    option: how the run trains now; sentence: why. decoder: what teacher and student are decoded by, parts.decoder or
    the tiny VAE's. say: is told a line for the user when this changes. decoder_changed: is told the new decoder when
    the run has to go on with the tiny VAE; frames that the old one has decoded are no longer comparable.
    bank: bytes of clips that are going to be remembered in CPU memory.
    Raises ValueError, naming a size that fits, if the plan is left to us and finds none.
    """

    def __init__(self, parts: RunParts, latent: Tensor, bank: int = 0):
        self.parts = parts
        self.decoder = parts.decoder
        self.demand = demand_of(parts, latent)
        self.budget = budget_of(parts, bank)
        self.say: Callable[[str], None] = lambda line: None
        self.decoder_changed: Callable[[FrameDecoder], None] = lambda decoder: None
        self._tiny = self._load_tiny()
        self._blocks = BlockCheckpointing(parts.architecture)
        self._blocks.attach(parts.model)
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
        """Frames that a step decodes at most."""
        return self.option.frames

    def make_room(self) -> None:
        """Let the host unload what this run does not need, as far as training needs its place."""
        device = self.parts.model.load_device
        if device.type != "cpu":
            comfy.model_management.free_memory(peak(self.demand, self.option), device)

    def retrying(self, step: Callable[[], Result]) -> Result:
        """``step()``, repeated one rung further down the ladder each time memory runs out.

        ``step`` must change nothing that lasts before it has succeeded. Raises what ``step`` raised if that is not
        for want of memory, or if the ladder ends here.
        """
        while True:
            try:
                # Where the model's forward is computed again, it keeps nothing that could be changed before backward.
                with nullcontext() if self.recomputes else self._mutations_allowed():
                    return step()
            except Exception as error:
                option = more_frugal(self.demand, self.option) if comfy.model_management.is_oom(error) else None
                if option is None:
                    raise
            self._empty_caches()  # only now has the error let go of the step's tensors
            self._go_on(option)

    def backward(self, loss: Tensor) -> None:
        """``loss.backward()``, within ``retrying``."""
        with self._mutations_allowed() if self.recomputes else nullcontext():
            loss.backward()

    def _mutations_allowed(self):
        return mutations_allowed(self.parts.architecture)

    def _empty_caches(self) -> None:
        gc.collect()
        comfy.model_management.soft_empty_cache(True)

    def _go_on(self, option: Option) -> None:
        before = self.decoder
        self._use(option)
        self.sentence = f"Memory ran out, so training goes on like this. {sentence(self.demand, option, self.budget)}"
        self.say(self.sentence)
        if self.decoder is not before:
            release(before.patcher)
            self.decoder_changed(self.decoder)

    def _use(self, option: Option) -> None:
        self.option = option
        if option.tiny:
            self.decoder = self._tiny
        self._blocks.mode = option.mode
        self.decoder.checkpointing = self.recomputes
        self.decoder.one_by_one = option.mode == "offload"

    def _load_tiny(self) -> FrameDecoder | None:
        """The tiny VAE's decoder, which the host loads together with the model: it is not when memory has run out that
        something should be loaded. None if there is no such VAE."""
        if self.demand.tiny is None:
            return None
        vae = load_tiny_vae(self.parts.model.get_model_object("latent_format"))
        decoder = FrameDecoder(vae, self.decoder.device, self.decoder.gradient_chunks)
        decoder.network.requires_grad_(False)
        self.parts.model.set_additional_models("personalvideo_tiny_vae", [decoder.patcher])
        return decoder

    def advice(self, latent: Tensor) -> str:
        """What to change after memory has run out for good, as one sentence."""
        shorter, narrower = smaller(self.parts, latent, self.demand)
        shorter = [name for name, _ in shorter]
        names = [*shorter[len(shorter) // 2 :][:1], *[name for name, _ in narrower][:1]]
        return f"Out of memory; lower {', or '.join(names)}, or close other programs that use the same memory."

    def _refusal(self, latent: Tensor) -> str:
        fits = [first_that_fits(sizes, self.budget) for sizes in smaller(self.parts, latent, self.demand)]
        remedies = [f"lower {name}" for name in fits if name]
        tiny = self.demand.tiny or tiny_decoder(self.parts)
        if self.demand.tiny is None and tiny and choose(replace(self.demand, tiny=tiny), self.budget):
            name = self.parts.model.get_model_object("latent_format").taesd_decoder_name
            remedies.insert(0, f"put the tiny VAE {name} into models/vae_approx")
        remedies = remedies or ["lower gradient_steps, or use a smaller model or one in 8 bits"]
        least = min(peak(self.demand, Option("offload", count)) for count in (self.demand.fewest, self.demand.frames))
        return (
            f"length, width, height: training at this size takes about {least / 1e9:.1f} GB and {self.budget.device / 1e9:.1f} "
            f"GB can be had; {', or '.join(remedies)}. To try it all the same, set gradient_checkpointing to offload."
        )
