"""Decoders that go through the clip in chunks and carry a cache from each to the next."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import FrameSource, call, check_interrupt


@dataclass(frozen=True)
class Chunk:
    """A chunk: frames ``first`` .. ``last - 1`` of the clip are made from ``part`` of the features' time axis."""

    part: slice
    first: int
    last: int


class ChunkedFrames(FrameSource):
    """Replays the host's chunks, up to the last one that has a wanted frame.

    The pixels are those of the whole clip's decode. Chunks without gradient run under ``no_grad``, so the memory for
    the gradient grows with ``gradient_chunks`` alone; the time grows with the number of the last wanted frame.
    """

    def features(self, latents: Tensor):
        """The features that the chunks are cut from: everything that the decoder computes on the whole clip at once."""
        raise NotImplementedError

    def chunks(self, latents: Tensor) -> list[Chunk]:
        """The host's chunks, in order."""
        raise NotImplementedError

    def run(self, features, part: slice, cache, checkpointing: bool = False):
        """The frames [1, 3, F, H, W] of a chunk, and the cache for the next one.

        ``cache`` is None for the first chunk and must not be changed. checkpointing: whether the layers are recomputed
        one by one, within the chunk's own recomputation.
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
