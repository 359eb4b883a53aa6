"""LTX-Video: convolutions that look both ways in time, no state between frames, and in some versions random noise.

The host draws that noise anew for each decode. Here the same latents always give the same frames: those that the host
gives after ``torch.manual_seed(NOISE_SEED)``.
"""

import threading
from contextlib import contextmanager

import torch
from comfy.ldm.lightricks.vae.causal_conv3d import CausalConv3d
from comfy.ldm.lightricks.vae.causal_video_autoencoder import (
    DepthToSpaceUpsample,
    ResnetBlock3D,
    UNetMidBlock3D,
    VideoVAE,
    mark_conv3d_ended,
    unpatchify,
)
from torch import Tensor, nn

from .base import HostModule
from .windows import Stage, WindowedFrames

NOISE_SEED = 0


class LtxFrames(WindowedFrames):
    """For LTX-Video: low resolutions need most of a usual clip, high ones only a few frames around the wanted one."""

    def __init__(self, vae, network):
        super().__init__(vae, network)
        self.decoder = self.network.decoder
        # Noise is drawn layer by layer, so each layer gets a single window and draws as often as the host does.
        self.together = any(module.inject_noise for module in self.decoder.modules() if isinstance(module, ResnetBlock3D))

    @classmethod
    def fits(cls, vae, network) -> bool:
        return (
            isinstance(network, VideoVAE)
            and isinstance(network.decoder.conv_in, CausalConv3d)
            and not isinstance(network.decoder.conv_norm_out, nn.GroupNorm)  # would mix all frames
        )

    def frames(self, latents, frames, gradient_chunks, checkpointing):
        with _fixed_noise():
            return super().frames(latents, frames, gradient_chunks, checkpointing)

    def clip(self, latents):
        with _fixed_noise():
            return super().clip(latents)

    def features(self, latents):
        network = self.network
        if network.timestep_conditioning:
            scale = network.decode_noise_scale
            latents = torch.randn_like(latents) * scale + (1 - scale) * latents
        return network.per_channel_statistics.un_normalize(latents)

    def stages(self, latents):
        decoder, causal = self.decoder, self.decoder.causal
        options, modulation = {}, None
        if decoder.timestep_conditioning:
            options = {"timestep": self.network.decode_timestep * decoder.timestep_scale_multiplier.to(latents)}
            modulation = self._modulation(latents, **options)

        def head(hidden: Tensor) -> Tensor:
            hidden = decoder.conv_norm_out(hidden)
            if modulation is not None:
                shift, scale = modulation
                hidden = hidden * (1 + scale) + shift
            return unpatchify(decoder.conv_out(decoder.conv_act(hidden), causal=causal), patch_size_hw=decoder.patch_size)

        return [
            _stage(decoder.conv_in, causal),
            *(_stage(block, causal, **(options if isinstance(block, UNetMidBlock3D) else {})) for block in decoder.up_blocks),
            Stage(_stateless(decoder.conv_out, head), *_view(decoder.conv_out, causal)),
        ]

    def _modulation(self, latents: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """The shift and scale that are applied before the last convolution."""
        decoder = self.decoder
        embedded = decoder.last_time_embedder(
            timestep=timestep.flatten(), resolution=None, aspect_ratio=None, batch_size=1, hidden_dtype=latents.dtype
        )
        table = decoder.last_scale_shift_table.to(latents) + embedded.reshape(decoder.last_scale_shift_table.shape)
        shift, scale = table[:, None, :, None, None, None]
        return shift, scale


def _stage(block: nn.Module, causal: bool, **options) -> Stage:
    before, after = _view(block, causal)
    doubles = isinstance(block, DepthToSpaceUpsample) and block.stride[0] == 2
    run = _stateless(block, lambda hidden: block(hidden, causal=causal, **options))
    return Stage(run, before, after, grow=2, trim=1) if doubles else Stage(run, before, after)


def _view(block: nn.Module, causal: bool) -> tuple[int, int]:
    """How many frames before and after its own a block looks at."""
    reach = sum(module.time_kernel_size - 1 for module in block.modules() if isinstance(module, CausalConv3d))
    return (reach, 0) if causal else (reach // 2, reach // 2)


def _stateless(block: HostModule, run):
    """``run``, taking a window for a whole clip and leaving none of the streaming state that the host keeps on modules."""

    def complete(hidden: Tensor) -> Tensor:
        mark_conv3d_ended(block)
        try:
            return run(hidden)
        finally:
            for module in block.modules():
                if hasattr(module, "temporal_cache_state"):
                    module.temporal_cache_state.pop(threading.get_ident(), None)

    return complete


@contextmanager
def _fixed_noise():
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(NOISE_SEED)
        yield
