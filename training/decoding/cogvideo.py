"""CogVideoX, which computes low resolutions on the whole clip and high ones in chunks of four frames.

Its normalisation spans all frames that it is given, so nothing smaller than the host's own pieces is exact. The low
resolutions run with gradient on the whole clip, so that part of the cost grows with the clip's length.
"""

import math

import torch
import torch.nn.functional as F
from comfy.ldm.cogvideo.vae import AutoencoderKLCogVideoX
from torch import Tensor

from .base import call
from .chunked import Chunk, ChunkedFrames

CHUNK = 4


class CogVideoFrames(ChunkedFrames):
    @classmethod
    def fits(cls, vae, network) -> bool:
        return isinstance(network, AutoencoderKLCogVideoX)

    def count(self, latents):
        length = latents.shape[2]
        if length % 2:
            return super().count(latents)
        return length * self.network.temporal_compression_ratio  # the host doubles every frame of an even clip

    def features(self, latents):
        """(hidden, latents), both with as many frames as the clip."""
        decoder = self.network.decoder
        hidden, _ = decoder.conv_in(latents)
        hidden, _ = decoder.mid_block(hidden, None, latents)
        for block in decoder.up_blocks[: self._low]:
            hidden, _ = block(hidden, None, latents)
        return hidden, _repeat_frames(latents, hidden.shape[2])

    def chunks(self, latents):
        frames = self.count(latents)
        starts = range(0, frames, CHUNK)
        return [Chunk(slice(a, a + CHUNK), a, min(a + CHUNK, frames)) for a in starts]

    def run(self, features, part, cache, checkpointing=False):
        decoder = self.network.decoder
        hidden, latents = (value[:, :, part] for value in features)
        cache, next_cache = cache or {}, {}
        for number, block in enumerate(decoder.up_blocks[self._low :]):
            resized, carried = _resize(latents, hidden), cache.get(number)
            hidden, next_cache[number] = call(block, hidden, None, resized, carried, checkpointing=checkpointing)
        hidden, next_cache["norm"] = decoder.norm_out(hidden, _resize(latents, hidden), conv_cache=cache.get("norm"))
        frames, next_cache["out"] = decoder.conv_out(decoder.conv_act(hidden), conv_cache=cache.get("out"))
        return frames, next_cache

    @property
    def _low(self) -> int:
        """How many up blocks change the number of frames; the host runs these on the whole clip."""
        return int(math.log2(self.network.temporal_compression_ratio))


def _repeat_frames(latents: Tensor, frames: int) -> Tensor:
    """``latents`` with each frame repeated as often as it makes ``frames``; the first one of an odd clip makes one."""
    length = latents.shape[2]
    alone = length % 2
    repeats = torch.full((length,), (frames - alone) // max(1, length - alone), device=latents.device)
    if alone:
        repeats[0] = 1
    return latents.repeat_interleave(repeats, 2, output_size=frames)


def _resize(latents: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(latents, size=like.shape[2:])
