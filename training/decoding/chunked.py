"""Decoders that walk through the clip in chunks and carry a cache from one to the next."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import FrameSource, call, check_interrupt


@dataclass(frozen=True)
class Chunk:
    """Frames ``first`` .. ``last`` - 1 of the clip are made of ``part`` of the features (along time)."""

    part: slice
    first: int
    last: int


class ChunkedFrames(FrameSource):
    """Replays the host's chunks up to the last wanted one.

    Pixels are those of the whole clip. Chunks without gradient run under ``no_grad``, so the memory for
    gradient grows with ``gradient_chunks`` alone; the time grows with the number of the last wanted frame.
    """

    def features(self, latents: Tensor):
        """What the chunks are cut from: everything that the decoder computes on the whole clip at once."""
        raise NotImplementedError

    def chunks(self, latents: Tensor) -> list[Chunk]:
        """The host's chunks, in order."""
        raise NotImplementedError

    def run(self, features, part: slice, cache, checkpointing: bool = False):
        """-> (frames [1, 3, F, H, W], next cache). Must not change ``cache``; it is None in the first chunk.

        checkpointing: its layers are recomputed one by one, inside of the chunk's recomputation.
        """
        raise NotImplementedError

    def frames(self, latents, frames, gradient_chunks, checkpointing):
        chunks = self.chunks(latents)
        home = {frame: next(n for n, chunk in enumerate(chunks) if frame < chunk.last) for frame in frames}
        reach = gradient_chunks or len(chunks)
        differentiable = {n for last in home.values() for n in range(last - reach + 1, last + 1)}
        features = call(self.features, latents, checkpointing=checkpointing)
        images, cache = {}, None
        for number in range(max(home.values()) + 1):
            check_interrupt()
            chunk = chunks[number]
            with torch.set_grad_enabled(torch.is_grad_enabled() and number in differentiable):
                decoded, cache = call(self.run, features, chunk.part, cache, checkpointing, checkpointing=checkpointing)
            images |= {frame: decoded[0, :, frame - chunk.first] for frame in frames if home[frame] == number}
        return torch.stack([images[frame] for frame in frames])
