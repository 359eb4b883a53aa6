"""Pictures of known people for the vision networks, half of them seen through the video network's VAE."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import trange

from ..networks import FrameVAE
from ..people import People
from ..world import crop
from .common import save_atomically
from .degrade import degrade, shake

TEST_PEOPLE = 200  # the last people of a set, who are never trained on


@dataclass
class Faces:
    """P people in V pictures each, as ``frames`` [P, V, 3, 64, 64] of bytes and ``box`` [P, V, 3]."""

    frames: Tensor
    box: Tensor
    people: People

    @classmethod
    def load(cls, work: Path, name: str) -> Faces:
        """The set ``name``, of which every second picture is the VAE's reconstruction with some noise on its latents."""
        path = work / f"faces_{name}_decoded.pt"
        if not path.exists():
            data = torch.load(work / f"faces_{name}.pt")
            vae = FrameVAE().to(memory_format=torch.channels_last)
            vae.load_state_dict(torch.load(work / "vae.pt"))
            data["frames"][:, 1::2] = _through_vae(vae.eval(), data["frames"][:, 1::2])
            save_atomically(data, path)
        data = torch.load(path)
        return cls(data["frames"], data["box"], People(**data["people"]))

    @property
    def training_people(self) -> int:
        return len(self.frames) - TEST_PEOPLE

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The numbers [count] of random training people, a degraded frame of each in 0..1, and its box."""
        person = torch.randint(0, self.training_people, (count,))
        view = torch.randint(0, self.frames.shape[1], (count,))
        return person, degrade(self.frames[person, view].float() / 255), self.box[person, view]

    def draw_crops(self, count: int) -> tuple[Tensor, Tensor]:
        person, frames, box = self.draw(count)
        return person, crop(frames, shake(box))

    def test(self, view: int) -> tuple[Tensor, Tensor, Tensor]:
        """The head crops, whole frames and boxes of the held-out people in one view."""
        frames = self.frames[-TEST_PEOPLE:, view].float() / 255
        box = self.box[-TEST_PEOPLE:, view]
        return crop(frames, box), frames, box


@torch.no_grad()
def _through_vae(vae: FrameVAE, frames: Tensor, noise: float = 0.2) -> Tensor:
    out = torch.empty_like(frames)
    for start in trange(0, len(frames), 20, desc="faces through the VAE"):
        part = slice(start, start + 20)
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(frames[part].float().transpose(1, 2) / 127.5 - 1)
            strength = noise * torch.rand(len(latents), 1, latents.shape[2], 1, 1)
            video = vae.decode(latents + strength * torch.randn_like(latents))
        pixels = (video.float().clamp(-1, 1) + 1) * 127.5
        out[part] = pixels.transpose(1, 2).round().to(torch.uint8)
    return out
