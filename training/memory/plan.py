"""Which way of training fits into memory, and which is the next when it did not."""

from dataclasses import dataclass

from ..settings import CHECKPOINTING
from .estimate import Demand, Option, cpu_bytes, peak

MODES = CHECKPOINTING[1:]
# On top of the estimated peak. On GPUs the memory in use was as estimated, but what the allocator had reserved for it was
# 5 to 31 percent more (benchmarks/results/gpu.json). It gives some of that back before it fails, and a failure costs one
# step: a larger margin would slow down more runs than it would spare.
MARGIN = 0.15
GB = 1e9


@dataclass(frozen=True)
class Budget:
    """Bytes that can be had. device: on the training device. cpu: for what waits in CPU memory; None where both are the
    same memory."""

    device: int
    cpu: int | None


@dataclass(frozen=True)
class Plan:
    """option: what to do. sentence: what that is and why, for people."""

    option: Option
    sentence: str


def options(demand: Demand) -> list[Option]:
    """Every way, the one that loses least first: slower ones before those that see fewer or worse frames."""
    frames = dict.fromkeys((demand.frames, demand.fewest_frames))
    decoders = (False, True) if demand.tiny else (False,)
    return [Option(mode, count, tiny) for tiny in decoders for count in frames for mode in MODES]


def next_rung(demand: Demand, option: Option) -> Option | None:
    """What a run goes on with when memory has run out under ``option``; None at the end of the ladder.

    No step down undoes an earlier one: the mode gets no faster, the frames no more, and the VAE not large again.
    """

    def goes_on(other: Option) -> bool:
        slower = MODES.index(other.mode) >= MODES.index(option.mode)
        return slower and other.frames <= option.frames and other.tiny >= option.tiny

    ways = options(demand)
    return next(filter(goes_on, ways[ways.index(option) + 1 :]), None)


def needed(demand: Demand, option: Option) -> int:
    """Bytes that the training device should have for ``option``: the estimated peak and the margin."""
    return round((1 + MARGIN) * peak(demand, option))


def choose(demand: Demand, budget: Budget) -> Plan | None:
    """The first option that fits, None if none does."""
    refused = None
    for option in options(demand):
        if _fits(demand, option, budget):
            return Plan(option, sentence(demand, option, budget, refused))
        refused = option
    return None


def _fits(demand: Demand, option: Option, budget: Budget) -> bool:
    device, cpu = needed(demand, option), cpu_bytes(demand, option)
    if budget.cpu is None:
        return device + cpu <= budget.device
    return device <= budget.device and cpu <= budget.cpu


def sentence(demand: Demand, option: Option, budget: Budget, refused: Option | None = None) -> str:
    """What is done and, if a faster way was refused, why."""
    what = {
        "off": "nothing is computed twice",
        "steps": "sampling steps are computed again for the gradient",
        "blocks": "sampling steps are computed again for the gradient, block by block",
        "offload": "sampling steps are computed again for the gradient, block by block, what is kept between blocks waits "
        "in CPU memory, and frames are decoded one by one",
    }[option.mode]
    if option.frames < demand.frames:
        what += f"; {option.frames} instead of {demand.frames} frames a step"
    if option.tiny:
        what += "; the tiny VAE decodes them"
    reason = f", because less would take {_gb(needed(demand, refused))} GB" if refused else ""
    return f"Memory: about {_gb(needed(demand, option))} of {_gb(budget.device)} GB; {what}{reason}."


def _gb(size: float) -> str:
    return f"{size / GB:.1f}"
