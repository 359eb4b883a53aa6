"""Single frames of a video out of its latents, with gradient."""

import comfy.model_management
import torch
from torch import Tensor

from .host_autograd import frozen, revive_model, static_clone


class FrameDecoder:
    """Decodes chosen frames of one clip through the user's VAE.

    A VAE whose ``first_stage_model.frame_independent`` is true decodes each
    latent frame by itself, so the cost is that of the chosen frames; any other
    one decodes the whole clip. device: where the frames are wanted. ``patcher`` has to be
    loaded while frames are decoded, and ``prepare`` called before and after loading.
    """

    def __init__(self, vae, device: torch.device):
        self.vae = vae
        self.device = device
        self.patcher = static_clone(vae.patcher, "vae")
        self.network = self.patcher.model
        # Most VAEs give -1..1 and the host maps it to 0..1; tiny ones give 0..1 at once.
        self.signed = vae.process_output(torch.zeros(1)).item() == 0.5

    def prepare(self) -> None:
        """Make the VAE differentiable."""
        revive_model(self.network)

    def frozen(self):
        """Context in which the VAE's weights collect no gradient."""
        return frozen(self.network)

    def count(self, latents: Tensor) -> int:
        """Frames of the clip that latents [1, C, T, h, w] decode to."""
        ratio = self.vae.upscale_ratio
        temporal = ratio[0] if isinstance(ratio, tuple) else (lambda length: length)
        return int(temporal(latents.shape[2]))

    def decode(self, latents: Tensor, frames: list[int]) -> Tensor:
        """latents [1, C, T, h, w] as the VAE expects them -> [len(frames), 3, H, W] in 0..1, as the user would see them."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        latents = latents.to(self.vae.device, self.vae.vae_dtype)
        if getattr(self.network, "frame_independent", False):
            video = self.network.decode(latents[:, :, frames])
        else:
            video = self.network.decode(latents)[:, :, frames]
        images = video[0].movedim(1, 0).to(self.device, torch.float32)
        return (images * 0.5 + 0.5 if self.signed else images).clamp(0, 1)

    @torch.no_grad()
    def decode_clip(self, latents: Tensor) -> Tensor:
        """All frames [F, 3, H, W] in 0..1, no gradient."""
        return self.decode(latents, list(range(self.count(latents))))
