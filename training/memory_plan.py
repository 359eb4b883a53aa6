"""Which way of training fits into memory: the peak is estimated from a few numbers, before anything is computed.

The costs that the estimate is made of (``memory_costs.json``) are counted, not guessed: see ``benchmarks/memory.py``.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# Ways to keep activations for backward, from the fastest to the smallest.
MODES = ("off", "steps", "blocks", "offload")
FEWEST_FRAMES = 2  # that the semantic reward can compare
GB = 1e9


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

    weights: bytes of every network that is loaded while training, optimizer state included. cast: bytes of weights that
    the host converts in every model call (8-bit files). family: of the costs. layers: the model's blocks. number: bytes
    of one number that the model computes with. fused_attention: whether attention needs no matrix of tokens x tokens;
    heads: of attention. guided: with and without prompt, cfg is not 1. gradient_steps: K. frames: decoded a step.
    fewest: frames that have to be. clip: frames of the whole clip. pixels: of one. decoder; tiny: a smaller one,
    if there is one. rewards: bytes that a scored frame keeps.
    """

    weights: int
    cast: int
    family: str
    layers: tuple[Layer, ...]
    number: int
    fused_attention: bool
    heads: int
    guided: bool
    gradient_steps: int
    frames: int
    fewest: int
    clip: int
    pixels: int
    decoder: Decoder
    tiny: Decoder | None
    rewards: int


@dataclass(frozen=True)
class Option:
    """One way to train. mode: one of MODES. frames: decoded a step. tiny: with the small decoder."""

    mode: str
    frames: int
    tiny: bool = False


@dataclass(frozen=True)
class Plan:
    """option: what to do; peak: bytes that it takes at most; available: bytes that there are; sentence: for people."""

    option: Option
    peak: int
    available: int
    sentence: str


def peak(demand: Demand, option: Option) -> int:
    """Most bytes that are needed at any time, weights included."""
    cost = _costs()["families"][demand.family]
    batch = 2 if demand.guided else 1
    widest = max(demand.layers, key=lambda layer: layer.tokens * layer.width)
    number = str(demand.number)

    def scaled(rate: float) -> float:
        return rate * widest.tokens * widest.width

    saved = [_layer_bytes(demand, layer, "saved") for layer in demand.layers]
    whole_step = batch * (sum(saved) + scaled(cost["rest"][number])) + demand.cast
    working = batch * scaled(cost["transient"][number])
    together = 1 if option.mode == "offload" else batch
    block = together * (max(saved) + scaled(cost["transient"][number])) + demand.cast / len(demand.layers)
    kept = batch * (sum(_layer_bytes(demand, layer, "kept") for layer in demand.layers) + scaled(cost["rest"][number]))
    step = {
        "off": demand.gradient_steps * whole_step,
        "steps": whole_step + working,
        "blocks": kept + block,
        "offload": batch * scaled(cost["rest"][number]) + block,
    }[option.mode]
    scored = _decoded(demand, option) + option.frames * demand.rewards
    if option.mode == "off":
        return round(demand.weights + step + max(working, scored))
    return round(demand.weights + max(step, scored))


def cpu_bytes(demand: Demand, option: Option) -> int:
    """Bytes that wait in CPU memory."""
    if option.mode != "offload":
        return 0
    return (2 if demand.guided else 1) * round(sum(_layer_bytes(demand, layer, "kept") for layer in demand.layers))


def options(demand: Demand, modes: Sequence[str] = MODES) -> list[Option]:
    """Every way, the one with the smallest loss first: slower ones before those that see less or worse frames."""
    frames = list(dict.fromkeys((demand.frames, max(demand.fewest, min(FEWEST_FRAMES, demand.frames)))))
    decoders = (False, True) if demand.tiny else (False,)
    return [Option(mode, count, tiny) for tiny in decoders for count in frames for mode in modes]


def choose(demand: Demand, available: int, cpu_available: int, mode: str = "auto") -> Plan | None:
    """The first option that fits, None if none does. mode: "auto", or one that the user wants, fitting or not."""
    if mode != "auto":
        option = Option(mode, demand.frames)
        return Plan(option, peak(demand, option), available, sentence(demand, option, available, None))
    refused = None
    for option in options(demand):
        if peak(demand, option) <= available and cpu_bytes(demand, option) <= cpu_available:
            return Plan(option, peak(demand, option), available, sentence(demand, option, available, refused))
        refused = option
    return None


def first_that_fits(candidates: Iterable[tuple[str, Demand]], available: int, cpu_available: int) -> str | None:
    """The name of the first of the smaller runs that fits."""
    return next((name for name, demand in candidates if choose(demand, available, cpu_available)), None)


def sentence(demand: Demand, option: Option, available: int, refused: Option | None) -> str:
    """What is done and why, for people."""
    what = {
        "off": "nothing is computed twice",
        "steps": "each sampling step is computed again for its gradient",
        "blocks": "each sampling step is computed again for its gradient, block by block",
        "offload": "each sampling step is computed again block by block, and what is kept between blocks waits in CPU memory",
    }[option.mode]
    if option.mode == "offload" and demand.guided:
        what += ", with and without prompt one after the other"
    if option.frames < demand.frames:
        what += f"; {option.frames} instead of {demand.frames} frames are compared"
    if option.tiny:
        what += "; frames are decoded by the tiny VAE"
    reason = f", because less of this would take {_gb(peak(demand, refused))}" if refused else ""
    return f"Memory: about {_gb(peak(demand, option))} of {_gb(available)} GB; {what}{reason and reason + ' GB'}."


def _gb(size: float) -> str:
    return f"{size / GB:.1f}"


def _layer_bytes(demand: Demand, layer: Layer, what: str) -> float:
    """Of one layer and one clip. what: "saved", all that backward needs, or "kept", what recomputation starts from."""
    width, hidden = _costs()["blocks"][layer.kind][what][str(demand.number)]
    size = layer.tokens * (width * layer.width + hidden * layer.hidden)
    if what == "saved" and not demand.fused_attention:
        size += 2 * demand.heads * layer.tokens**2 * demand.number
    return size


def _decoded(demand: Demand, option: Option) -> float:
    """Bytes that decoding with gradient takes."""
    decoder = demand.tiny if option.tiny else demand.decoder
    cost = _costs()["decoders"].get(decoder.kind) or _costs()["decoders"]["WholeClip"]
    frame, clip, all_frames = cost["plain" if option.mode == "off" else "recomputed"]
    full_frames = min(frame * option.frames + clip * demand.clip, all_frames * demand.clip)
    return full_frames * demand.pixels * decoder.width * decoder.number


@cache
def _costs() -> dict:
    return json.loads(Path(__file__).with_name("memory_costs.json").read_text())
