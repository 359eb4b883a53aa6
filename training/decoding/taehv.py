"""Tiny video VAEs (TAEHV), whose layers look at most one frame back.

The gradient is exact; the host's own sequential decode would cut it at every frame.
"""

import torch
import torch.nn.functional as F
from comfy.taesd.taehv import TAEHV, MemBlock, TGrow
from torch import Tensor, nn

from .windows import Stage, WindowedFrames


class TinyVideoFrames(WindowedFrames):
    @classmethod
    def fits(cls, vae, network) -> bool:
        return isinstance(network, TAEHV)

    def count(self, latents):
        return latents.shape[2] * self.network.t_upscale - self.network.frames_to_trim

    @property
    def pixels_a_latent(self):
        return 8 * self.network.patch_size  # the host says 16 for LTX-2's, which decodes to 32

    def features(self, latents):
        return self.network.process_in(latents)

    def stages(self, latents):
        return _stages(self.network.decoder)

    def frames(self, latents, frames, gradient_chunks, checkpointing):
        trim = self.network.frames_to_trim
        return super().frames(latents, [frame + trim for frame in frames], gradient_chunks, checkpointing)

    def finish(self, images):
        return F.pixel_shuffle(images, self.network.patch_size)


def _stages(decoder: nn.Sequential) -> list[Stage]:
    stages, alone = [], []
    for layer in decoder:
        if not isinstance(layer, (MemBlock, TGrow)):
            alone.append(layer)
            continue
        if alone:
            stages.append(Stage(_on_each_frame(nn.Sequential(*alone))))
            alone = []
        if isinstance(layer, MemBlock):
            stages.append(Stage(_with_past(layer), before=1))
        else:
            stages.append(Stage(_on_each_frame(layer), grow=layer.stride))
    return [*stages, Stage(_on_each_frame(nn.Sequential(*alone)))]


def _on_each_frame(layer: nn.Module):
    return lambda clip: layer(clip[0].movedim(1, 0)).movedim(0, 1)[None]


def _with_past(layer: MemBlock):
    def run(clip: Tensor) -> Tensor:
        frames = clip[0].movedim(1, 0)
        past = torch.cat([torch.zeros_like(frames[:1]), frames[:-1]])
        return layer(frames, past).movedim(0, 1)[None]

    return run
