"""Trains the image-text scorer, which tells the scene and the shirt that a frame shows.

    python -m demo.train.scorer --work DIR --minutes 3

Some pictures are mixtures of two and have to lie between both captions, so that scores change gradually.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..captions import MOTIONS, NOUNS, SCENES, SHIRTS, TRIGGER, caption, tokenise
from ..vision import Scorer
from .common import arguments, clock, save_atomically, set_lr
from .degrade import degrade

BATCH = 128
TEST_CLIPS = 400  # the last clips, which are never trained on
MIXED = 40  # how many pictures of a batch are mixtures
MAX_SCALE = 50.0
LR = 3e-3
SEED = 50

SUBJECTS = [f"{trigger}{noun}" for trigger in ("", f"{TRIGGER} ") for noun in NOUNS]


def _one_of(count: int) -> int:
    return int(torch.randint(0, count, ()))


def wordings() -> Tensor:
    """The tokens [30, 20] of a caption for every scene and shirt, each with a random motion and subject."""
    return tokenise(
        [
            caption(scene, shirt, _one_of(len(MOTIONS)), SUBJECTS[_one_of(len(SUBJECTS))])
            for scene in range(len(SCENES))
            for shirt in range(len(SHIRTS))
        ]
    )


def train(scorer: Scorer, frames: Tensor, meaning: Tensor, minutes: float) -> int:
    """Train on ``frames`` [N, 8, 3, 64, 64] of bytes, whose ``meaning`` [N] is scene * 6 + shirt."""
    adam = torch.optim.AdamW(scorer.parameters(), weight_decay=5e-4)
    for step, progress in enumerate(clock(minutes, "scorer")):
        clip = torch.randint(0, len(frames) - TEST_CLIPS, (BATCH,))
        x = degrade(frames[clip, torch.randint(0, frames.shape[1], (BATCH,))].float() / 255)
        target = F.one_hot(meaning[clip], len(SCENES) * len(SHIRTS)).float()
        share = torch.rand(MIXED)
        x[:MIXED] = x[:MIXED].lerp(x[-MIXED:], share.view(-1, 1, 1, 1))
        target[:MIXED] = target[:MIXED].lerp(target[-MIXED:], share.view(-1, 1))
        with torch.autocast("cpu", torch.bfloat16):
            images = scorer.image(x.contiguous(memory_format=torch.channels_last))
        logits = images @ scorer.text(wordings()).T * scorer.log_scale.exp().clamp(max=MAX_SCALE)
        loss = -(F.log_softmax(logits, 1) * target).sum(1).mean()
        adam.zero_grad()
        loss.backward()
        set_lr(adam, LR * min(1, step / 30) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005))
        adam.step()
    with torch.no_grad():
        scorer.log_scale.clamp_(max=math.log(MAX_SCALE))
    return step


@torch.no_grad()
def report(scorer: Scorer, frames: Tensor, meaning: Tensor) -> str:
    truth = meaning[-TEST_CLIPS:]
    images = scorer.image(frames[-TEST_CLIPS:, 4].float() / 255)
    cosines = images @ scorer.text(wordings()).T
    guess = cosines.argmax(1)
    scene = (guess // len(SHIRTS) == truth // len(SHIRTS)).float().mean()
    shirt = (guess % len(SHIRTS) == truth % len(SHIRTS)).float().mean()
    right = cosines.gather(1, truth[:, None]).mean()
    motion = torch.stack([scorer.text(wordings()) for _ in range(8)])
    apart = (motion[:1] * motion).sum(-1).min()
    return (
        f"scene {scene:.3f}, shirt {shirt:.3f}, cosine right {right:.3f}, all {cosines.mean():.3f}, "
        f"scale {scorer.logit_scale:.1f}, least cosine between wordings {apart:.3f}"
    )


def main(work: Path, minutes: float) -> None:
    torch.manual_seed(SEED)
    clips = torch.load(work / "clips.pt", mmap=True)
    meaning = clips["action"][:, 0] * len(SHIRTS) + clips["action"][:, 1]
    scorer = Scorer().to(memory_format=torch.channels_last)
    steps = train(scorer, clips["frames"], meaning, minutes)
    save_atomically(scorer.eval().state_dict(), work / "scorer.pt")
    print(f"scorer: {steps} steps, {report(scorer, clips['frames'], meaning)}")


if __name__ == "__main__":
    args = arguments(__doc__, minutes=3)
    main(args.work, args.minutes)
