"""What every source of frames offers, and the sources that need to know nothing about the inside of the VAE."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import comfy.model_management
import torch
from comfy.ldm.modules.temporal_ae import VideoDecoder
from torch import Tensor
from torch.utils.checkpoint import checkpoint

HostModule = Any
"""A module of the host. The host declares no attributes, and to PyTorch's declaration each is a tensor or a module."""

Result = TypeVar("Result")


class FrameSource:
    """Gives the raw frames of one VAE: as its network makes them, not yet in 0..1.

    gradient_chunks and checkpointing are explained in ``FrameDecoder``.
    """

    shape = "[1, {channels}, frames, height, width]"

    def __init__(self, vae, network: HostModule):
        self.vae = vae
        self.network = network

    @classmethod
    def fits(cls, vae, network: HostModule) -> bool:
        """Whether this class can take the frames out of ``network``."""
        raise NotImplementedError

    def accepts(self, latents: Tensor) -> bool:
        return latents.ndim == 5 and len(latents) == 1 and latents.shape[1] == self.vae.latent_channels

    def count(self, latents: Tensor) -> int:
        """How many frames ``latents`` decode to."""
        ratio = self.vae.upscale_ratio
        return int(ratio[0](latents.shape[2])) if isinstance(ratio, tuple) else latents.shape[2]

    @property
    def pixels_a_latent(self) -> int:
        """How many times as high and wide as its latents a frame is."""
        return self.vae.spacial_compression_decode()

    def frames(self, latents: Tensor, frames: list[int], gradient_chunks: int | None, checkpointing: bool) -> Tensor:
        """The ``frames`` of the clip, in that order: [len(frames), 3, H, W], differentiable."""
        raise NotImplementedError

    def clip(self, latents: Tensor) -> Tensor:
        """All frames of the clip, [F, 3, H, W]; called without gradient."""
        check_interrupt()
        return self.network.decode(latents)[0].movedim(1, 0)


class WholeClip(FrameSource):
    """For a VAE of an unknown kind, of which every frame costs the whole clip."""

    @classmethod
    def fits(cls, vae, network) -> bool:
        return True

    def frames(self, latents, frames, gradient_chunks, checkpointing):
        check_interrupt()
        return call(self.network.decode, latents, checkpointing=checkpointing)[0].movedim(1, 0)[frames]


class IndependentFrames(FrameSource):
    """For a video VAE whose network declares that it decodes each latent frame by itself."""

    @classmethod
    def fits(cls, vae, network) -> bool:
        return getattr(network, "frame_independent", False)

    def frames(self, latents, frames, gradient_chunks, checkpointing):
        check_interrupt()
        return call(self.network.decode, latents[:, :, frames], checkpointing=checkpointing)[0].movedim(1, 0)


class ImageFrames(FrameSource):
    """For an image VAE, to which the frames are a batch; each is decoded alone."""

    shape = "[frames, {channels}, height, width]"

    @classmethod
    def fits(cls, vae, network) -> bool:
        return vae.latent_dim == 2

    def accepts(self, latents: Tensor) -> bool:
        return latents.ndim == 4 and latents.shape[1] == self.vae.latent_channels

    def count(self, latents: Tensor) -> int:
        return len(latents)

    def frames(self, latents, frames, gradient_chunks, checkpointing):
        if isinstance(getattr(self.network, "decoder", None), VideoDecoder):  # mixes the frames of its batch
            check_interrupt()
            return call(self.network.decode, latents, checkpointing=checkpointing)[frames]
        images = []
        for frame in frames:
            check_interrupt()
            images.append(call(self.network.decode, latents[frame : frame + 1], checkpointing=checkpointing))
        return torch.cat(images)

    def clip(self, latents):
        return self.frames(latents, list(range(len(latents))), None, False)


def call(function: Callable[..., Result], *args, checkpointing: bool) -> Result:
    """``function(*args)``; with checkpointing, its activations are recomputed in backward."""
    if checkpointing and torch.is_grad_enabled():
        return cast(Result, checkpoint(function, *args, use_reentrant=False))
    return function(*args)


def check_interrupt() -> None:
    """Raise the host's exception if the user has cancelled."""
    comfy.model_management.throw_exception_if_processing_interrupted()
