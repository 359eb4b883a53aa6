"""Single frames of a video out of its latents, with gradient."""

import comfy.model_management
import torch
from torch import Tensor

from .host_autograd import frozen, revive_model


class FrameDecoder:
    """Decodes chosen frames of one clip through the user's VAE.

    A VAE whose ``first_stage_model.frame_independent`` is true decodes each
    latent frame by itself, so the cost is that of the chosen frames; any other
    one decodes the whole clip.
    """

    def __init__(self, vae):
        self.vae = vae
        self.network = vae.first_stage_model
        # Most VAEs give -1..1 and the host maps it to 0..1; tiny ones give 0..1 at once.
        self.signed = vae.process_output(torch.zeros(1)).item() == 0.5

    def prepare(self) -> None:
        """Load the VAE through the host and make it differentiable."""
        comfy.model_management.load_models_gpu([self.vae.patcher])
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
        """latents [1, C, T, h, w] as the VAE expects them -> [len(frames), 3, H, W], about 0..1, not clamped."""
        latents = latents.to(self.vae.device, self.vae.vae_dtype)
        if getattr(self.network, "frame_independent", False):
            video = self.network.decode(latents[:, :, frames])
        else:
            video = self.network.decode(latents)[:, :, frames]
        images = video[0].movedim(1, 0).float()
        return images * 0.5 + 0.5 if self.signed else images

    @torch.no_grad()
    def decode_clip(self, latents: Tensor) -> Tensor:
        """All frames [F, 3, H, W], clamped to 0..1, no gradient."""
        return self.decode(latents, list(range(self.count(latents)))).clamp(0, 1)
