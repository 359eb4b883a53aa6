"""HunyuanVideo and HunyuanVideo 1.5: attention over the whole clip at latent resolution, then causal convolutions.

The part at latent resolution runs with gradient on all latents, so its cost grows with the clip's length.
"""

from collections.abc import Callable

import torch.nn.functional as F
from comfy.ldm.hunyuan_video import vae_refiner
from comfy.ldm.modules.diffusionmodules import model as diffusion
from comfy.ldm.modules.diffusionmodules.model import conv_carry_causal_3d
from torch import Tensor

from .base import HostModule, call
from .chunked import Chunk, ChunkedFrames
from .windows import Stage, WindowedFrames

CHUNK = 2  # latent frames
CONVOLUTION = 2  # how many frames before its own one convolution looks at


class HunyuanFrames(ChunkedFrames):
    """For HunyuanVideo, whose normalisation spans all frames of a chunk, so that nothing smaller than a chunk is exact."""

    @classmethod
    def fits(cls, vae, network) -> bool:
        decoder = getattr(network, "decoder", None)
        return isinstance(decoder, diffusion.Decoder) and decoder.carried and not decoder.tanh_out

    def features(self, latents):
        decoder = self.network.decoder
        return _middle(decoder, conv_carry_causal_3d([self.network.post_quant_conv(latents)], decoder.conv_in))

    def chunks(self, latents):
        length = latents.shape[2]
        bounds = [(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK)]
        return [Chunk(slice(start, end), max(0, 4 * start - 3), 4 * end - 3) for start, end in bounds]

    def run(self, features, part, cache, checkpointing=False):
        hidden, next_cache = features[:, :, part], []
        for number, layer in enumerate(self._layers):
            carried = None if cache is None else cache[number]
            hidden, carry = call(_carrying, layer, hidden, carried, checkpointing=checkpointing)
            next_cache.append(carry)
        return hidden, next_cache

    @property
    def _layers(self) -> list[Callable]:
        """The layers as (hidden, carried, carry) -> hidden; ``carried`` is what ``carry`` became in the chunk before."""
        decoder = self.network.decoder
        layers = []
        for level in reversed(decoder.up):
            layers += [lambda hidden, *lists, block=block: block(hidden, None, *lists) for block in level.block]
            if hasattr(level, "upsample"):
                layers.append(level.upsample)
        return [
            *layers,
            lambda hidden, *lists: conv_carry_causal_3d([F.silu(decoder.norm_out(hidden))], decoder.conv_out, *lists),
        ]


def _carrying(layer: Callable, hidden: Tensor, carried: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
    carry = []
    carried = None if carried is None else list(carried)  # a copy, as the host pops from its front
    return layer(hidden, carried, carry), carry


class Hunyuan15Frames(WindowedFrames):
    """For HunyuanVideo 1.5, which normalises each pixel by itself."""

    @classmethod
    def fits(cls, vae, network) -> bool:
        decoder = getattr(network, "decoder", None)
        return isinstance(decoder, vae_refiner.Decoder) and decoder.refiner_vae

    def features(self, latents):
        decoder = self.network.decoder
        shortcut = latents.repeat_interleave(decoder.block_out_channels[0] // decoder.z_channels, 1)
        return _middle(decoder, conv_carry_causal_3d([latents], decoder.conv_in) + shortcut)

    def stages(self, latents):
        decoder = self.network.decoder
        stages = []
        for level in decoder.up:
            stages += [Stage(block, before=2 * CONVOLUTION) for block in level.block]
            if hasattr(level, "upsample"):
                doubles = {"grow": 2, "trim": 1} if level.upsample.tus else {}
                stages.append(Stage(level.upsample, before=CONVOLUTION, **doubles))

        def head(hidden):
            return conv_carry_causal_3d([F.silu(decoder.norm_out(hidden))], decoder.conv_out)

        return [*stages, Stage(head, before=CONVOLUTION)]


def _middle(decoder: HostModule, hidden: Tensor) -> Tensor:
    return decoder.mid.block_2(decoder.mid.attn_1(decoder.mid.block_1(hidden)))
