"""How one run keeps its activations: planned before it starts, made more frugal once when memory runs out all the same."""

import gc
from collections.abc import Callable
from dataclasses import replace

import comfy.model_management
from torch import Tensor

from ...host.checkpointing import BlockCheckpointing
from ...host.tiny_vae import load_tiny_vae
from ..decoding.frame_decoder import FrameDecoder
from .demand import RunParts, budget_of, demand_of, smaller, tiny_decoder
from .plan import Option, choose, first_that_fits, more_frugal, peak, sentence


class Memory:
    """``option`` says how the run trains, ``sentence`` why. say: gets a line for the user when that changes.

    parts.decoder is exchanged for the tiny VAE's where the plan says so, for teacher and student alike.
    bank: bytes of clips that are going to be remembered in CPU memory.
    Raises ValueError, naming a size that fits, if the plan is left to us and finds none.
    """

    def __init__(self, parts: RunParts, latent: Tensor, bank: int = 0):
        self.parts = parts
        self.decoder = parts.decoder
        self.demand = demand_of(parts, latent)
        self.budget = budget_of(parts, bank)
        self.say: Callable[[str], None] = lambda line: None
        self._stepped_down = False
        self._step_failed = False
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
    def one_by_one(self) -> bool:
        """Whether frames are decoded one after the other."""
        return self.option.mode == "offload"

    @property
    def frames(self) -> int:
        """Frames that a step decodes at most."""
        return self.option.frames

    def make_room(self) -> None:
        """Let the host unload what this run does not need, as far as training needs its place."""
        device = self.parts.model.load_device
        if device.type != "cpu":
            comfy.model_management.free_memory(peak(self.demand, self.option), device)

    def step_down(self, error: Exception) -> bool:
        """After ``error``: whether the step can be tried again, in the next more frugal way. Once in a run."""
        if not comfy.model_management.is_oom(error):
            return False
        self._step_failed = True
        if self._stepped_down:
            return False
        option = more_frugal(self.demand, self.option)
        if option is None:
            return False
        self._stepped_down = True
        self._use(option)
        self.sentence = f"Memory ran out, so training went on like this. {sentence(self.demand, option, self.budget)}"
        self.say(self.sentence)
        return True

    def empty_caches(self) -> None:
        """Give back what the failed step held."""
        gc.collect()
        comfy.model_management.soft_empty_cache(True)

    def _use(self, option: Option) -> None:
        if option.tiny and self.decoder is self.parts.decoder:
            vae = load_tiny_vae(self.parts.model.get_model_object("latent_format"))
            self.decoder = FrameDecoder(vae, self.decoder.device, self.decoder.gradient_chunks)
        self.option = option
        self._blocks.mode = option.mode
        self.decoder.checkpointing = self.recomputes

    def advice(self, latent: Tensor) -> str:
        """What to change after memory has run out for good, as one sentence."""
        if self._step_failed and self.option.mode != "offload" and not self.option.tiny:
            return "Out of memory; set gradient_checkpointing to offload."
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
