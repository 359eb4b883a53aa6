"""The peak of memory that one way of training needs, estimated from a few numbers before anything is computed.

The costs that the estimate is made of (``costs.json``) are counted, not guessed: see ``benchmarks/memory/memory.py``.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace


@dataclass(frozen=True)
class Layer:
    """One recomputable block.

    kind: its name in the costs. tokens: how many of them one clip has here. width: the channels of a token. hidden: the
    channels inside its MLP where those are no fixed multiple of the width, else 0.
    """

    kind: str
    tokens: int
    width: int
    hidden: int = 0


@dataclass(frozen=True)
class Decoder:
    """A VAE. kind: its name in the costs. width: the channels before its last layer. element_size: in bytes."""

    kind: str
    width: int
    element_size: int


@dataclass(frozen=True)
class Demand:
    """What a run needs memory for.

    weights: bytes of every network that is loaded while training, with the adapter and its optimizer.
    dequantised_bytes: of the weights that the host converts in every model call (8-bit files).
    family: the model's name in the costs. layers: its blocks. element_size: bytes of one number that it computes with.
    heads: of its attention where that makes a matrix of tokens x tokens, else 0.
    guided: each step computes with and without prompt, as cfg is not 1. gradient_steps: K.
    frames: those that a step decodes; fewest_frames: as many have to be.
    clip: frames of the clip that their gradient reaches. pixels: of one frame.
    decoder: of the user's VAE. tiny: of a smaller one, None if there is none.
    frame_reward: bytes that the reward on every frame keeps. step_reward: those that rewards keep once a step.
    """

    weights: int
    dequantised_bytes: int
    family: str
    layers: tuple[Layer, ...]
    element_size: int
    heads: int
    guided: bool
    gradient_steps: int
    frames: int
    fewest_frames: int
    clip: int
    pixels: int
    decoder: Decoder
    tiny: Decoder | None
    frame_reward: int
    step_reward: int

    @property
    def clips(self) -> int:
        """Clips that a sampling step computes: with prompt, and also without."""
        return 2 if self.guided else 1


@dataclass(frozen=True)
class Option:
    """One way to train. mode: "off", "steps", "blocks" or "offload". frames: decoded a step. tiny: by the tiny VAE."""

    mode: str
    frames: int
    tiny: bool = False


def peak(demand: Demand, option: Option) -> int:
    """Most bytes that are needed at any time, weights included."""
    waiting, working = _sampling(demand, option.mode)
    frames = option.frames if option.mode == "off" else 1
    scoring = _decoding(demand, option) + demand.step_reward + frames * demand.frame_reward
    return round(demand.weights + waiting + max(working, scoring))


def cpu_bytes(demand: Demand, option: Option) -> int:
    """Bytes that wait in CPU memory."""
    return demand.clips * round(_kept(demand)) if option.mode == "offload" else 0


def _sampling(demand: Demand, mode: str) -> tuple[float, float]:
    """Bytes of activations that sampling keeps while frames are decoded, and those on top of them while it is at work."""
    cost = _cost("families", demand.family, str(demand.element_size))
    widest = max(layer.tokens * layer.width for layer in demand.layers)
    rest, in_steps, in_blocks = (rate * widest for rate in (cost.rest, cost.steps, cost.blocks))
    saved = [_layer_bytes(demand, layer, "saved") for layer in demand.layers]
    step = demand.clips * (sum(saved) + rest) + demand.dequantised_bytes
    block = max(saved) + in_blocks
    dequantised_block = demand.dequantised_bytes / len(demand.layers)
    return {
        "off": (demand.gradient_steps * step, demand.clips * in_steps),
        "steps": (0, step + demand.clips * in_steps),
        "blocks": (0, demand.clips * (_kept(demand) + rest + block) + dequantised_block),
        "offload": (0, demand.clips * rest + block + dequantised_block),
    }[mode]


def _kept(demand: Demand) -> float:
    """Bytes of one clip that recomputation starts from, of all blocks."""
    return sum(_layer_bytes(demand, layer, "kept") for layer in demand.layers)


def _layer_bytes(demand: Demand, layer: Layer, what: str) -> float:
    """Of one layer and one clip. what: "saved", all that backward needs, or "kept", what recomputation starts from."""
    cost = _cost("blocks", layer.kind, what, str(demand.element_size))
    attention = 2 * demand.heads * layer.tokens**2 * demand.element_size if what == "saved" else 0
    return layer.tokens * (cost.width * layer.width + cost.hidden * layer.hidden) + attention


def _decoding(demand: Demand, option: Option) -> float:
    """Bytes that decoding with gradient takes."""
    decoder = demand.tiny if option.tiny and demand.tiny is not None else demand.decoder
    cost = _cost("decoders", decoder.kind, "plain" if option.mode == "off" else "recomputed")
    together = 1 if option.mode == "offload" else option.frames
    full_frames = min(cost.fixed + cost.frame * together + cost.clip * demand.clip, cost.most * demand.clip)
    return full_frames * demand.pixels * decoder.width * decoder.element_size


@cache
def _cost(*names: str) -> SimpleNamespace:
    """The rates that the costs have under ``names``. Where they lack one, each rate is the largest of all its siblings."""
    entries = [json.loads(Path(__file__).with_name("costs.json").read_text())]
    for name in names:
        entries = [found for entry in entries for found in ([entry[name]] if name in entry else entry.values())]
    return SimpleNamespace(**{rate: max(entry[rate] for entry in entries) for rate in entries[0]})
