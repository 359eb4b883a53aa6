"""Decoders without state, whose layers compute only the frames that the wanted ones are made of."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import FrameSource, call, check_interrupt

Span = tuple[int, int]  # first and last frame


@dataclass(frozen=True)
class Stage:
    """One layer, which runs on [1, C, T, h, w].

    Output frame t is made from input frames t - ``before`` .. t + ``after``, or those of them that the clip has.
    If ``grow`` is 2, the frames are doubled first, and the first ``trim`` of the result are left out.
    """

    run: Callable[[Tensor], Tensor]
    before: int = 0
    after: int = 0
    grow: int = 1
    trim: int = 0

    def length(self, frames: int) -> int:
        return frames * self.grow - self.trim

    def needs(self, span: Span, frames: int) -> Span:
        """The input frames, of which there are ``frames``, that the output frames of ``span`` are made from."""
        first, last = ((frame + self.trim) // self.grow for frame in span)
        return max(0, first - self.before), min(frames - 1, last + self.after)


class WindowedFrames(FrameSource):
    """For a decoder that is a chain of stages; the gradient is exact, whatever ``gradient_chunks`` says."""

    together = False  # whether one window spans all wanted frames, including those between them that nobody needs

    def features(self, latents: Tensor) -> Tensor:
        """The input of the first stage, which is computed for the whole clip."""
        return latents

    def stages(self, latents: Tensor) -> list[Stage]:
        raise NotImplementedError

    def finish(self, images: Tensor) -> Tensor:
        """The frames [F, 3, H, W] from the last stage's output [F, C, h, w]."""
        return images

    def frames(self, latents, frames, gradient_chunks, checkpointing):
        features = call(self.features, latents, checkpointing=checkpointing)
        images = _decode(self.stages(latents), features, frames, checkpointing, self.together)
        return self.finish(torch.stack([images[frame] for frame in frames]))


def _decode(stages: list[Stage], features: Tensor, frames: list[int], checkpointing: bool, together: bool) -> dict[int, Tensor]:
    """The last stage's output [C, h, w] for each of ``frames``, by their numbers."""
    lengths = [features.shape[2]]
    for stage in stages:
        lengths.append(stage.length(lengths[-1]))
    plan = [[(min(frames), max(frames))] if together else _merge([(frame, frame) for frame in frames])]
    for stage, length in zip(reversed(stages), reversed(lengths[:-1])):
        plan.append(_merge([stage.needs(span, length) for span in plan[-1]]))
    plan.reverse()
    windows = {span: features[:, :, span[0] : span[1] + 1] for span in plan[0]}
    for stage, length, spans in zip(stages, lengths, plan[1:]):
        check_interrupt()
        windows = {span: _compute(stage, windows, span, length, checkpointing) for span in spans}
    return {
        frame: window[0, :, frame - first]
        for (first, last), window in windows.items()
        for frame in frames
        if first <= frame <= last
    }


def _compute(stage: Stage, windows: dict[Span, Tensor], span: Span, length: int, checkpointing: bool) -> Tensor:
    """The stage's output frames of ``span``, computed from the window that holds what they need."""
    first, last = stage.needs(span, length)
    start, window = next((start, window) for (start, end), window in windows.items() if start <= first and last <= end)
    output = call(stage.run, window[:, :, first - start : last - start + 1], checkpointing=checkpointing)
    offset = span[0] - first * stage.grow  # a layer leaves out its ``trim`` at the start of any window
    return output[:, :, offset : offset + span[1] - span[0] + 1]


def _merge(spans: list[Span]) -> list[Span]:
    """``spans`` in order, with those joined that overlap or touch."""
    merged = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return merged
