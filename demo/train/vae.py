"""Trains the per-frame VAE, measures its latents and encodes all clips.

    python -m demo.train.vae --work DIR --minutes 14
    python -m demo.train.vae --work DIR --minutes 7 --decoder     (trains the decoder further, and nothing else)

If there is a VAE already, the first form trains it further.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import trange

from ..networks import FrameVAE
from ..scenes import X, Y
from ..world import noir
from .common import Muon, arguments, clock, save_atomically, set_lr
from .contact_sheet import save_sheet

BATCH = 32  # frames
TEST_CLIPS = 64  # the last clips, which are never trained on
LATENT_NOISE = 0.07
SEED = 1


@dataclass
class Clips:
    frames: Tensor  # [N, 8, 3, 64, 64], bytes
    box: Tensor  # [N, 8, 3], the place of the head

    @classmethod
    def load(cls, work: Path) -> Clips:
        data = torch.load(work / "clips.pt", mmap=True)
        return cls(data["frames"], data["box"])


def as_input(frames: Tensor) -> Tensor:
    """Frames of bytes in -1..1."""
    return frames.float() / 127.5 - 1


def face_weight(box: Tensor) -> Tensor:
    """Weights [B, 1, 64, 64] with a mean of about 1, by which the inside of the face (eyes, mouth) counts five times."""
    cx, cy, s = (value.view(-1, 1, 1, 1) for value in box.unbind(-1))
    inside = torch.sigmoid((0.75 - torch.hypot((X - cx) / s, (Y - cy) / s)) * 12)
    return (1 + 4 * inside) / 1.6


def batch_of(clips: Clips) -> tuple[Tensor, Tensor]:
    """Random single frames in -1..1, with their weights.

    One in ten is noir and one in ten has other colours, so that the VAE can decode styles.
    """
    clip = torch.randint(0, len(clips.frames) - TEST_CLIPS, (BATCH,))
    moment = torch.randint(0, clips.frames.shape[1], (BATCH,))
    x = clips.frames[clip, moment].float() / 255
    kind = torch.rand(BATCH, 1, 1, 1)
    jittered = (x * (0.6 + 0.6 * torch.rand(BATCH, 3, 1, 1)) + 0.2 * torch.rand(BATCH, 1, 1, 1)).clamp(0, 1)
    x = torch.where(kind < 0.1, noir(x), torch.where(kind < 0.2, jittered, x))
    return (x * 2 - 1).contiguous(memory_format=torch.channels_last), face_weight(clips.box[clip, moment])


def picture_loss(output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The absolute and squared error of the colours, with the absolute error of their gradients."""
    error = output.float() - target
    across, down = error.diff(dim=-1).abs() * weight[..., 1:], error.diff(dim=-2).abs() * weight[..., 1:, :]
    colours = weight * (error.abs() + 0.5 * error.square())
    return colours.mean() + 0.5 * (across.mean() + down.mean())


def split_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The inner convolutions, which Muon trains, and the first and last layers and biases, which AdamW trains."""
    inner = [p for p in module.parameters() if p.ndim == 4 and min(p.shape[:2]) > 12]
    chosen = {id(p) for p in inner}
    return inner, [p for p in module.parameters() if id(p) not in chosen]


def train(vae: FrameVAE, clips: Clips, minutes: float) -> int:
    inner, outer = split_parameters(vae)
    muon, adam = Muon(inner, lr=0.015), torch.optim.AdamW(outer, betas=(0.9, 0.98))
    for step, progress in enumerate(clock(minutes, "VAE")):
        scale = min(1, step / 50) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.01)
        x, weight = batch_of(clips)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encoder(x).float()
            y = vae.decoder(latents + LATENT_NOISE * torch.randn_like(latents))
        loss = picture_loss(y, x, weight) + 1e-3 * latents.square().mean()
        vae.zero_grad()
        loss.backward()
        set_lr(adam, 2e-3 * scale)
        adam.step()
        muon.step(scale)
    return step


def train_decoder(vae: FrameVAE, clips: Clips, minutes: float) -> int:
    """Train the decoder alone. The encoder and its latents stay, and with them the video networks trained on these."""
    vae.encoder.requires_grad_(False)
    inner, outer = split_parameters(vae.decoder)
    muon, adam = Muon(inner, lr=0.01), torch.optim.AdamW(outer, betas=(0.9, 0.98))
    for step, progress in enumerate(clock(minutes, "decoder")):
        scale = min(1, step / 30) * (1.01 - progress)
        x, weight = batch_of(clips)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                latents = vae.encoder(x).float()
            y = vae.decoder(latents + LATENT_NOISE * torch.randn_like(latents))
        loss = picture_loss(y, x, weight)
        vae.zero_grad()
        loss.backward()
        set_lr(adam, 1e-3 * scale)
        adam.step()
        muon.step(scale)
    return step


@torch.no_grad()
def measure_latents(vae: FrameVAE, frames: Tensor) -> None:
    latents = vae.encode(as_input(frames[:1000]).transpose(1, 2))
    vae.mean.copy_(latents.mean((0, 2, 3, 4)))
    vae.deviation.copy_(latents.std((0, 2, 3, 4)))


@torch.no_grad()
def psnr(vae: FrameVAE, frames: Tensor) -> float:
    """The peak signal-to-noise ratio in dB on test clips; a sheet is saved that has originals over reconstructions."""
    x = as_input(frames[-TEST_CLIPS:]).transpose(1, 2)
    y = vae.decode(vae.encode(x)).clamp(-1, 1)
    pairs = torch.stack([x[:3], y[:3]], 1).flatten(0, 1).transpose(1, 2)
    save_sheet(pairs / 2 + 0.5, "vae")
    return -10 * math.log10(((x - y) / 2).square().mean().item())


@torch.no_grad()
def encode_clips(vae: FrameVAE, frames: Tensor, chunk: int = 25) -> Tensor:
    """The latents [N, 8, 8, 8, 8] of clips, in half precision."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [
            vae.encode(as_input(frames[start : start + chunk]).transpose(1, 2)).half()
            for start in trange(0, len(frames), chunk, desc="encode")
        ]
    return torch.cat(parts)


def main(work: Path, minutes: float, decoder_only: bool = False) -> None:
    torch.manual_seed(SEED + decoder_only)
    clips = Clips.load(work)
    vae = FrameVAE().to(memory_format=torch.channels_last)
    if (work / "vae.pt").exists():
        vae.load_state_dict(torch.load(work / "vae.pt"))
    if decoder_only:
        name, steps = "vae_decoder", train_decoder(vae, clips, minutes)
    else:
        name, steps = "vae", train(vae, clips, minutes)
        measure_latents(vae, clips.frames)
    save_atomically(vae.state_dict(), work / f"{name}.pt")
    print(f"{name}: {steps} steps, {psnr(vae, clips.frames):.2f} dB")
    if not decoder_only:
        save_atomically(encode_clips(vae, clips.frames), work / "latents.pt")


if __name__ == "__main__":
    decoder_only = "--decoder" in sys.argv
    if decoder_only:
        sys.argv.remove("--decoder")
    args = arguments(__doc__, minutes=7 if decoder_only else 14)
    main(args.work, args.minutes, decoder_only)
