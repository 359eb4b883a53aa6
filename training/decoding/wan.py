"""Wan 2.1 and 2.2, in which only causal convolutions mix frames; each looks two frames back.

Each layer computes only the frames that the wanted ones are made of, and the gradient is exact. Low resolutions need up
to 40 latent frames and high ones up to 15 frames, beyond which the cost does not grow with the clip's length.
"""

from dataclasses import replace
from functools import partial

import comfy.ldm.wan.vae
import comfy.ldm.wan.vae2_2
import torch
from comfy.ldm.wan.vae import CausalConv3d
from torch import Tensor, nn

from .base import HostModule
from .windows import Stage, WindowedFrames

# How many frames before its own a doubling layer looks at: two, and one more because a clip's first is not doubled.
DOUBLING = 3


class Wan21Frames(WindowedFrames):
    network_class = comfy.ldm.wan.vae.WanVAE

    @classmethod
    def fits(cls, vae, network) -> bool:
        return isinstance(network, cls.network_class)

    def features(self, latents):
        return self.network.conv2(latents)

    def stages(self, latents):
        decoder = self.network.decoder
        layers = [decoder.conv1, *decoder.middle, *decoder.upsamples, decoder.head]
        return [_doubling(layer) if _doubles(layer) else _causal(layer) for layer in layers]


class Wan22Frames(Wan21Frames):
    network_class = comfy.ldm.wan.vae2_2.WanVAE

    def stages(self, latents):
        decoder = self.network.decoder
        stages = [_causal(layer) for layer in (decoder.conv1, *decoder.middle)]
        for block in decoder.upsamples:
            stages += [_causal(layer) for layer in block.upsamples] if block.avg_shortcut is None else _with_shortcut(block)
        return [*stages, _causal(decoder.head)]

    def finish(self, images):
        return comfy.ldm.wan.vae2_2.unpatchify(images, patch_size=2)


def _causal(layer: nn.Module) -> Stage:
    convolutions = [module for module in layer.modules() if isinstance(module, CausalConv3d)]
    return Stage(layer, before=sum(convolution.kernel_size[0] - 1 for convolution in convolutions))


def _doubles(layer: nn.Module) -> bool:
    return getattr(layer, "mode", None) == "upsample3d"


def _doubling(layer: nn.Module) -> Stage:
    def run(hidden: Tensor) -> Tensor:
        cache = [None]
        parts = (hidden[:, :, :1], hidden[:, :, 1:]) if hidden.shape[2] > 1 else (hidden,)
        return torch.cat([layer(part, cache, [0]) for part in parts], 2)

    return Stage(run, before=DOUBLING, grow=2, trim=1)


def _with_shortcut(block: HostModule) -> list[Stage]:
    """The stages of a block with a shortcut from its input to its end; the input travels along as additional channels."""
    first, *layers, last = block.upsamples
    width = block.avg_shortcut.in_channels

    def along(layer: nn.Module) -> Stage:
        run = lambda joint: torch.cat([layer(joint[:, :-width]), joint[:, -width:]], 1)  # noqa: E731
        return replace(_causal(layer), run=run)

    start = replace(_causal(first), run=lambda hidden: torch.cat([first(hidden), hidden], 1))
    end = _doubling(last) if _doubles(last) else _causal(last)
    shortcut = partial(block.avg_shortcut, first_chunk=True)
    return [start, *map(along, layers), replace(end, run=lambda joint: end.run(joint[:, :-width]) + shortcut(joint[:, -width:]))]
