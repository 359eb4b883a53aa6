"""Decoding single frames of a video from its latents, with gradient."""

from functools import partial

import torch
from torch import Tensor

from ...host.autograd import frozen, make_tensors_normal, static_clone
from ...host.checkpointing import recomputed
from . import frame_source


class FrameDecoder:
    """Decodes chosen frames of one clip through the user's VAE.

    The pixels are those of the VAE's own decode of the whole clip, and the gradient is exact. What a single frame costs
    depends on the VAE and is told in its file.

    device: where the frames are wanted. checkpointing: whether activations are recomputed in backward. one_by_one:
    whether frames are decoded one after the other and again in backward, so that only one frame's activations exist at
    a time. gradient_chunks: HunyuanVideo and CogVideoX decode in chunks, and the gradient reaches this many of them back,
    None for all. A number saves memory and makes the gradient inexact: on random weights its cosine to the exact one is
    0.14, 0.43, 0.68 and 0.84 for 1 to 4 chunks of HunyuanVideo, 0.82 and 0.98 for 1 and 2 of CogVideoX. Other VAEs
    ignore it.

    ``patcher`` has to be loaded before ``prepare`` is called, and as long as frames are decoded.
    """

    def __init__(self, vae, device: torch.device, gradient_chunks: int | None = None, checkpointing: bool = False):
        self.vae = vae
        self.device = device
        self.gradient_chunks = gradient_chunks
        self.checkpointing = checkpointing
        self.one_by_one = False
        self.patcher = static_clone(vae.patcher, "vae", vae.vae_dtype)
        self.network = self.patcher.model
        self.source = frame_source(vae, self.network)

    def prepare(self) -> None:
        """Make the VAE differentiable."""
        make_tensors_normal(self.network)

    def frozen(self):
        """A context in which the VAE's weights collect no gradient."""
        return frozen(self.network)

    def count(self, latents: Tensor) -> int:
        """How many frames ``latents`` decode to."""
        return self.source.count(latents)

    def frame_size(self, latents: Tensor) -> tuple[int, int]:
        """The (height, width) in pixels of the frames that ``latents`` decode to."""
        ratio = self.source.pixels_a_latent
        return latents.shape[-2] * ratio, latents.shape[-1] * ratio

    def decode(self, latents: Tensor, frames: list[int]) -> Tensor:
        """The ``frames`` of the clip as the user would see them: [len(frames), 3, H, W] in 0..1.

        latents: in the form that the VAE expects, [1, C, T, h, w], or [F, C, h, w] for an image VAE. Raises ValueError
        for any other shape and for frames that the clip does not have.
        """
        count = self._check(latents)
        if outside := [frame for frame in frames if not 0 <= frame < count]:
            raise ValueError(f"frames: {outside[0]} is not one of the {count} frames (0 to {count - 1}) of this clip.")
        if not self.one_by_one:
            return self._frames(latents, frames)
        return torch.cat([recomputed(partial(self._frames, frames=[frame]), latents) for frame in frames])

    @torch.no_grad()
    def decode_clip(self, latents: Tensor) -> Tensor:
        """All frames of the clip, [F, 3, H, W] in 0..1, without gradient."""
        self._check(latents)
        return self._to_image(self.source.clip(latents.to(self.vae.device, self.vae.vae_dtype)))

    def _frames(self, latents: Tensor, frames: list[int]) -> Tensor:
        latents = latents.to(self.vae.device, self.vae.vae_dtype)
        return self._to_image(self.source.frames(latents, frames, self.gradient_chunks, self.checkpointing))

    def _check(self, latents: Tensor) -> int:
        if not self.source.accepts(latents):
            expected = self.source.shape.format(channels=self.vae.latent_channels)
            raise ValueError(
                f"latents: shape {list(latents.shape)} does not fit the VAE, which decodes {expected}; "
                "use the VAE of the model that made them."
            )
        return self.count(latents)

    def _to_image(self, raw: Tensor) -> Tensor:
        # The host's functions work in place, so they get a copy.
        return self.vae.process_output(raw.to(self.device, torch.float32, copy=True)).clamp(0, 1)
