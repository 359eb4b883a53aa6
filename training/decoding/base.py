"""What every source of frames offers, and the sources that need no knowledge of the VAE's inside."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import comfy.model_management
import torch
from comfy.ldm.modules.temporal_ae import VideoDecoder
from torch import Tensor
from torch.utils.checkpoint import checkpoint

HostModule = Any
"""A module of the host, which declares no attributes; PyTorch's own declaration makes each of them a tensor or a module."""

Result = TypeVar("Result")


class FrameSource:
    """Raw frames (as the network gives them, not yet 0..1) of one VAE.

    gradient_chunks and checkpointing: see ``FrameDecoder``.
    """

    shape = "[1, {channels}, frames, height, width]"

    def __init__(self, vae, network: HostModule):
        self.vae = vae
        self.network = network

    @classmethod
    def fits(cls, vae, network: HostModule) -> bool:
        """Whether the class knows this VAE."""
        raise NotImplementedError

    def accepts(self, latents: Tensor) -> bool:
        return latents.ndim == 5 and len(latents) == 1 and latents.shape[1] == self.vae.latent_channels

    def count(self, latents: Tensor) -> int:
        """Frames that ``latents`` decode to."""
        ratio = self.vae.upscale_ratio
        return int(ratio[0](latents.shape[2])) if isinstance(ratio, tuple) else latents.shape[2]

    @property
    def pixels_a_latent(self) -> int:
        """How many times higher and wider than its latent a frame is."""
        return self.vae.spacial_compression_decode()

    def frames(self, latents: Tensor, frames: list[int], gradient_chunks: int | None, checkpointing: bool) -> Tensor:
        """[len(frames), 3, H, W], differentiable."""
        raise NotImplementedError

    def clip(self, latents: Tensor) -> Tensor:
        """All frames [F, 3, H, W]; called without gradient."""
        check_interrupt()
        return self.network.decode(latents)[0].movedim(1, 0)


class WholeClip(FrameSource):
    """A VAE of unknown inside: every frame costs the whole clip."""

    @classmethod
    def fits(cls, vae, network) -> bool:
        return True

    def frames(self, latents, frames, gradient_chunks, checkpointing):
        check_interrupt()
        return call(self.network.decode, latents, checkpointing=checkpointing)[0].movedim(1, 0)[frames]


class IndependentFrames(FrameSource):
    """A video VAE whose network says that it decodes each latent frame by itself."""

    @classmethod
    def fits(cls, vae, network) -> bool:
        return getattr(network, "frame_independent", False)

    def frames(self, latents, frames, gradient_chunks, checkpointing):
        check_interrupt()
        return call(self.network.decode, latents[:, :, frames], checkpointing=checkpointing)[0].movedim(1, 0)


class ImageFrames(FrameSource):
    """An image VAE: the frames are a batch, each decoded alone."""

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
    """function(*args); with checkpointing, its activations are recomputed in backward."""
    if checkpointing and torch.is_grad_enabled():
        return cast(Result, checkpoint(function, *args, use_reentrant=False))
    return function(*args)


def check_interrupt() -> None:
    """Raises the host's exception when the user has cancelled."""
    comfy.model_management.throw_exception_if_processing_interrupted()
