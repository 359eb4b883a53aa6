"""What the Apply node costs: a model call with the adapter, compared with the same call without its gate."""

from collections.abc import Callable
from functools import partial

import comfy.samplers
import comfy.sd
import torch

from benchmarks.speed.clock import in_turns, medians, ratio, rounded
from devkit.demo_world import PROMPTS

LATE, EARLY = 0.9, 0.4  # places in the schedule, inside the window and before it
RANK = 16


def apply_costs(world, another, rounds: int) -> dict:
    """The late-step adapter over the core's merged LoRA inside the window, and over the plain model before it.

    another: the same models once more, as merging a LoRA changes the weights. Two copies of a model differ in speed by
    their places in memory, so for the small difference before the window each copy takes each part once.
    """
    lora = world.random_lora(rank=RANK)
    with torch.inference_mode():
        merged = comfy.sd.load_lora_for_models(another.model, None, lora, 1.0, 0.0)[0]
    late = world.apply(world.model, lora)
    inside = _compared(world, late, merged, LATE, rounds)
    before = _compared(world, late, another.model, EARLY, rounds)
    swapped = _compared(another, another.apply(another.model, lora), world.model, EARLY, rounds)
    early = (ratio(before, "ours", "other") * ratio(swapped, "ours", "other")) ** 0.5
    return {
        "rank": RANK,
        "seconds": {
            "late": medians(inside)["ours"], "merged": medians(inside)["other"],
            "early": medians(before)["ours"], "plain": medians(before)["other"],
        },
        "apply_late_over_merged": rounded(ratio(inside, "ours", "other")),
        "apply_early_over_plain": rounded(early),
    }  # fmt: skip


def _compared(world, ours, other, percent: float, rounds: int) -> dict[str, list[float]]:
    """The seconds of a guided model call of each, at one place of the schedule."""
    x = torch.randn(world.latent.shape, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([float(ours.get_model_object("model_sampling").percent_to_sigma(percent))]).expand(len(x))
    seconds = {}

    def measure(call_ours: Callable, call_other: Callable) -> None:
        jobs = {"ours": lambda: call_ours(x, sigma), "other": lambda: call_other(x, sigma)}
        seconds.update(in_turns(jobs, rounds, warm_up=2))

    _inside(world, ours, lambda first: _inside(world, other, lambda second: measure(first, second)))
    return seconds


def _inside(world, model, body: Callable[[Callable], None]) -> None:
    """Call ``body(call)`` while the host holds ``model`` ready to sample; ``call(x, sigma)`` is what a sampler calls."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(world.encode(PROMPTS[0]), world.encode(""))
    guider.set_cfg(world.cfg)
    with torch.inference_mode():
        nothing = torch.zeros_like(world.latent)
        guider.sample(nothing, nothing, _Holding(body), torch.tensor([1.0, 0.0]), disable_pbar=True, seed=0)


class _Holding(comfy.samplers.Sampler):
    def __init__(self, body: Callable[[Callable], None]):
        self.body = body

    def sample(self, guider, sigmas, extra_args, callback, noise, *args):
        self.body(partial(guider, **extra_args))
        return torch.zeros_like(noise)
