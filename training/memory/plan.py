"""Which way of training fits into memory: the peak is estimated from a few numbers, before anything is computed.

The costs that the estimate is made of (``costs.json``) are counted, not guessed: see ``benchmarks/memory/memory.py``.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..settings import CHECKPOINTING

MODES = CHECKPOINTING[1:]
FEWEST_FRAMES = 2  # that the semantic reward can compare
GB = 1e9
UNKNOWN_DECODER = "HunyuanFrames"  # the most expensive one


@dataclass(frozen=True)
class Layer:
    """One recomputable block. kind: its name in the costs. tokens: of one clip. width: channels of a token.
    hidden: channels inside its MLP where those are no fixed multiple of the width."""

    kind: str
    tokens: int
    width: int
    hidden: int = 0


@dataclass(frozen=True)
class Decoder:
    """A VAE. kind: its name in the costs. width: channels before its last layer. number: bytes of one number."""

    kind: str
    width: int
    number: int


@dataclass(frozen=True)
class Demand:
    """What a run needs memory for.

    weights: bytes of every network that is loaded while training, with the adapter and its optimizer. cast: bytes of
    weights that the host converts in every model call (8-bit files). family: of the costs. layers: the model's blocks.
    number: bytes of one number that the model computes with. heads: of its attention where that makes a matrix of
    tokens x tokens, else 0. guided: with and without prompt, cfg is not 1. gradient_steps: K. frames: decoded a step;
    fewest: as many have to be. clip: frames of the clip that their gradient reaches. pixels: of one. decoder; tiny: a smaller one, if there
    is one. frame_reward: bytes that a reward on every frame keeps. step_reward: those of the rewards once a step.
    """

    weights: int
    cast: int
    family: str
    layers: tuple[Layer, ...]
    number: int
    heads: int
    guided: bool
    gradient_steps: int
    frames: int
    fewest: int
    clip: int
    pixels: int
    decoder: Decoder
    tiny: Decoder | None
    frame_reward: int
    step_reward: int


@dataclass(frozen=True)
class Option:
    """One way to train. mode: one of MODES. frames: decoded a step. tiny: with the small decoder."""

    mode: str
    frames: int
    tiny: bool = False


@dataclass(frozen=True)
class Budget:
    """device, cpu: bytes that there are on the training device and for it to wait in CPU memory; cpu is None where
    both are the same memory."""

    device: int
    cpu: int | None

    def allows(self, device: int, cpu: int) -> bool:
        if self.cpu is None:
            return device + cpu <= self.device
        return device <= self.device and cpu <= self.cpu


@dataclass(frozen=True)
class Plan:
    """option: what to do. sentence: what that is and why, for people."""

    option: Option
    sentence: str


def peak(demand: Demand, option: Option) -> int:
    """Most bytes that are needed at any time, weights included."""
    rates = _costs()["families"][demand.family][str(demand.number)]
    widest = max(layer.tokens * layer.width for layer in demand.layers)
    rest, in_steps, in_blocks = (rates[name] * widest for name in ("rest", "steps", "blocks"))
    saved = [_layer_bytes(demand, layer, "saved") for layer in demand.layers]
    kept = sum(_layer_bytes(demand, layer, "kept") for layer in demand.layers)
    clips = 2 if demand.guided else 1
    whole = clips * (sum(saved) + rest) + demand.cast
    block = max(saved) + in_blocks
    cast = demand.cast / len(demand.layers)
    scored = _decoded(demand, option) + demand.step_reward
    if option.mode == "off":
        scored += option.frames * demand.frame_reward
        return round(demand.weights + demand.gradient_steps * whole + max(clips * in_steps, scored))
    step = {
        "steps": whole + clips * in_steps,
        "blocks": clips * (kept + rest + block) + cast,
        "offload": clips * rest + block + cast,
    }[option.mode]
    return round(demand.weights + max(step, scored + demand.frame_reward))


def cpu_bytes(demand: Demand, option: Option) -> int:
    """Bytes that wait in CPU memory."""
    if option.mode != "offload":
        return 0
    return (2 if demand.guided else 1) * round(sum(_layer_bytes(demand, layer, "kept") for layer in demand.layers))


def options(demand: Demand) -> list[Option]:
    """Every way, the one that loses least first: slower ones before those that see fewer or worse frames."""
    frames = list(dict.fromkeys((demand.frames, max(demand.fewest, min(FEWEST_FRAMES, demand.frames)))))
    decoders = (False, True) if demand.tiny else (False,)
    return [Option(mode, count, tiny) for tiny in decoders for count in frames for mode in MODES]


def more_frugal(demand: Demand, option: Option) -> Option | None:
    """The next rung down for a run that is under way, None at the end of the ladder: never a faster mode, more frames
    or the larger decoder again."""
    ways = options(demand)
    later = ways[ways.index(option) + 1 :]
    return next((other for other in later if _no_larger(other, option)), None)


def _no_larger(other: Option, option: Option) -> bool:
    slower = MODES.index(other.mode) >= MODES.index(option.mode)
    return slower and other.frames <= option.frames and other.tiny >= option.tiny


def choose(demand: Demand, budget: Budget) -> Plan | None:
    """The first option that fits, None if none does."""
    refused = None
    for option in options(demand):
        if budget.allows(peak(demand, option), cpu_bytes(demand, option)):
            return Plan(option, sentence(demand, option, budget, refused))
        refused = option
    return None


def first_that_fits(candidates: Iterable[tuple[str, Demand]], budget: Budget) -> str | None:
    """The name of the first of the smaller runs that fits."""
    return next((name for name, demand in candidates if choose(demand, budget)), None)


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
    reason = f", because less would take {_gb(peak(demand, refused))} GB" if refused else ""
    return f"Memory: about {_gb(peak(demand, option))} of {_gb(budget.device)} GB; {what}{reason}."


def _gb(size: float) -> str:
    return f"{size / GB:.1f}"


def _layer_bytes(demand: Demand, layer: Layer, what: str) -> float:
    """Of one layer and one clip. what: "saved", all that backward needs, or "kept", what recomputation starts from."""
    width, hidden = _costs()["blocks"][layer.kind][what][str(demand.number)]
    size = layer.tokens * (width * layer.width + hidden * layer.hidden)
    if what == "saved":
        size += 2 * demand.heads * layer.tokens**2 * demand.number
    return size


def _decoded(demand: Demand, option: Option) -> float:
    """Bytes that decoding with gradient takes."""
    decoder = demand.tiny if option.tiny else demand.decoder
    costs = _costs()["decoders"]
    fixed, frame, clip, most = costs.get(decoder.kind, costs[UNKNOWN_DECODER])["plain" if option.mode == "off" else "recomputed"]
    together = 1 if option.mode == "offload" else option.frames
    full_frames = min(fixed + frame * together + clip * demand.clip, most * demand.clip)
    return full_frames * demand.pixels * decoder.width * decoder.number


@cache
def _costs() -> dict:
    return json.loads(Path(__file__).with_name("costs.json").read_text())
