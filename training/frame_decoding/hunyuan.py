"""HunyuanVideo and HunyuanVideo 1.5: attention over the whole clip at latent resolution, then causal convolutions.

The part at latent resolution runs with gradient on all latents: that cost grows with the clip's length.
"""

import torch.nn.functional as F
from comfy.ldm.hunyuan_video import vae_refiner
from comfy.ldm.modules.diffusionmodules import model as diffusion
from comfy.ldm.modules.diffusionmodules.model import conv_carry_causal_3d
from torch import nn

from .chunked import Chunk, ChunkedFrames
from .windows import Stage, WindowedFrames

CHUNK = 2  # latent frames
CONVOLUTION = 2  # frames before its own that one convolution looks at


class HunyuanFrames(ChunkedFrames):
    """HunyuanVideo. Its normalisation takes in all frames of a chunk: no smaller piece than a chunk is exact."""

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

    def run(self, features, part, cache):
        decoder = self.network.decoder
        carried = None if cache is None else list(cache)  # the host takes from its front
        carry = []
        hidden = features[:, :, part]
        for level in reversed(decoder.up):
            for block in level.block:
                hidden = block(hidden, None, carried, carry)
            if hasattr(level, "upsample"):
                hidden = level.upsample(hidden, carried, carry)
        hidden = F.silu(decoder.norm_out(hidden))
        return conv_carry_causal_3d([hidden], decoder.conv_out, carried, carry), carry


class Hunyuan15Frames(WindowedFrames):
    """HunyuanVideo 1.5, which normalises each pixel alone."""

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


def _middle(decoder: nn.Module, hidden):
    return decoder.mid.block_2(decoder.mid.attn_1(decoder.mid.block_1(hidden)))
