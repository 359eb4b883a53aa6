"""Trains the head locator, which also tells frames with a person from anything else.

python -m demo.train.locator --work DIR --minutes 3
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..scenes import BACKGROUNDS, SIZE
from ..vision import Locator
from .common import arguments, clock, save_atomically, set_lr
from .degrade import blur, degrade, uniform
from .faces import Faces

BATCH = 128
EMPTY = 40  # how many frames of a batch have no person
LR = 3e-3
SEED = 30


def _patches(frames: Tensor, side: int = 16) -> Tensor:
    """The frames, cut into squares and put together in random order."""
    cells = F.unfold(frames, side, stride=side)
    order = torch.rand(len(frames), 1, cells.shape[2]).argsort(-1).expand_as(cells)
    return F.fold(cells.gather(2, order), SIZE, side, stride=side)


def _shapes(frames: Tensor, count: int = 4) -> Tensor:
    """The frames under coloured boxes and ellipses."""
    axis = torch.linspace(-1, 1, SIZE)
    for index in range(count):
        across = (axis.view(1, 1, 1, -1) - uniform(len(frames), -1, 1)) / uniform(len(frames), 0.1, 0.6)
        down = (axis.view(1, 1, -1, 1) - uniform(len(frames), -1, 1)) / uniform(len(frames), 0.1, 0.6)
        radius = torch.hypot(across, down) if index % 2 else torch.maximum(across.abs(), down.abs())
        frames = torch.where(radius < 1, uniform(len(frames), 0, 1, 3), frames)
    return frames


def without_person(frames: Tensor) -> Tensor:
    """As many frames [N, 3, 64, 64] that show nobody, some of them made from pieces of ``frames``."""
    n = len(frames)
    scenes = BACKGROUNDS[torch.randint(0, len(BACKGROUNDS), (n,))]
    mirrored = torch.where(torch.rand(n, 1, 1, 1) < 0.5, scenes, scenes.flip(3))
    flat = uniform(n, 0, 1, 3).expand(n, 3, SIZE, SIZE)
    coarse = F.interpolate(torch.rand(n, 3, 5, 5), SIZE, mode="bilinear", align_corners=False)
    noise = flat + 0.5 * torch.randn(n, 3, SIZE, SIZE)
    kinds = torch.stack([mirrored, flat, coarse, noise, blur(noise), _patches(frames), _shapes(scenes), _shapes(flat)])
    return degrade(kinds[torch.randint(0, len(kinds), (n,)), torch.arange(n)].clamp(0, 1))


def train(locator: Locator, faces: Faces, minutes: float) -> int:
    adam = torch.optim.AdamW(locator.parameters(), weight_decay=5e-4)
    there = (torch.arange(BATCH) >= EMPTY).float()
    for step, progress in enumerate(clock(minutes, "locator")):
        _, frames, box = faces.draw(BATCH)
        frames = torch.cat([without_person(frames[:EMPTY]), frames[EMPTY:]])
        with torch.autocast("cpu", torch.bfloat16):
            found, presence = locator(frames.contiguous(memory_format=torch.channels_last))
        distance = (found[EMPTY:] - box[EMPTY:]).abs().mean()
        loss = distance + 0.05 * F.binary_cross_entropy_with_logits(presence, there)
        adam.zero_grad()
        loss.backward()
        set_lr(adam, LR * min(1, step / 30) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005))
        adam.step()
    return step


@torch.no_grad()
def report(locator: Locator, faces: Faces) -> str:
    _, frames, box = faces.test(5)
    found, presence = locator(frames)
    _, nobody = locator(without_person(frames))
    error = (found - box).abs().mean(0)
    return (
        f"mean error cx {error[0]:.4f}, cy {error[1]:.4f}, s {error[2]:.4f}; "
        f"persons seen {(presence > 0).float().mean():.3f}, empty frames told {(nobody < 0).float().mean():.3f}"
    )


def main(work: Path, minutes: float) -> None:
    torch.manual_seed(SEED)
    faces = Faces.load(work, "reward")
    locator = Locator().to(memory_format=torch.channels_last)
    steps = train(locator, faces, minutes)
    save_atomically(locator.eval().state_dict(), work / "locator.pt")
    print(f"locator: {steps} steps, {report(locator, faces)}")


if __name__ == "__main__":
    args = arguments(__doc__, minutes=3)
    main(args.work, args.minutes)
