"""Trains the reward recognizer (two trunks) and the judge recognizer on head crops.

    python -m demo.train.recognizers --work DIR --minutes 5 [reward_0] [reward_1] [judge]

The loss is ArcFace's margin over the training people. From a third of the way on, part of each batch are painted-over
heads, which must resemble nobody, so that a generator cannot please the recognizer with coloured blobs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..vision import Trunk, patch_trunk, pooled_trunk, strided_trunk
from ..world import crop
from .common import arguments, clock, save_atomically, set_lr
from .degrade import hack, shake
from .faces import Faces

BATCH = 128
HACKED = 40  # how many heads of a batch are painted over
HACKED_FROM = 0.33  # from this share of the training on
LR = 3e-3
MARGIN, SCALE = 0.3, 22.0


@dataclass
class Plan:
    build: Callable[[], Trunk]
    people: str
    seed: int


PLANS = {
    "reward_0": Plan(strided_trunk, "reward", seed=20),
    "reward_1": Plan(pooled_trunk, "reward", seed=21),
    "judge": Plan(patch_trunk, "judge", seed=22),
}


def margin_loss(cosines: Tensor, person: Tensor, margin: float) -> Tensor:
    """The cross entropy, with the angle to the right person made wider by ``margin`` radians."""
    cosines = cosines.clamp(-1 + 1e-6, 1 - 1e-6)
    wider = torch.cos(torch.acos(cosines.gather(1, person[:, None])) + margin)
    return F.cross_entropy(cosines.scatter(1, person[:, None], wider) * SCALE, person)


def nobody_loss(cosines: Tensor, person: Tensor) -> Tensor:
    """A loss that is 0 if a painted-over head resembles neither the person it was made from nor anyone else."""
    own = F.relu(cosines.gather(1, person[:, None])).mean()
    return own + F.relu(cosines.topk(5, 1).values - 0.1).mean()


def train(trunk: Trunk, faces: Faces, minutes: float, label: str) -> int:
    centres = nn.Parameter(F.normalize(torch.randn(faces.training_people, trunk.head.out_features), dim=-1))
    adam = torch.optim.AdamW([*trunk.parameters(), centres], weight_decay=5e-4)
    for step, progress in enumerate(clock(minutes, label)):
        person, crops = faces.draw_crops(BATCH)
        hacked = HACKED if progress > HACKED_FROM else 0
        crops[:hacked] = hack(crops[:hacked], faces.people.hair_colour[person[:hacked]])
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = trunk(crops.contiguous(memory_format=torch.channels_last))
        cosines = embeddings @ F.normalize(centres, dim=-1).T
        loss = margin_loss(cosines[hacked:], person[hacked:], MARGIN * min(1, 3 * progress))
        if hacked:
            loss = loss + 3 * nobody_loss(cosines[:hacked], person[:hacked])
        adam.zero_grad()
        loss.backward()
        set_lr(adam, LR * min(1, step / 30) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005))
        adam.step()
    return step


@torch.no_grad()
def report(recognizer: nn.Module, faces: Faces) -> str:
    """The recognizer's figures on people that it never saw, between an original view and another seen through the VAE."""
    first, second = (faces.test(view) for view in (0, 5))
    a, b = recognizer(first[0]), recognizer(crop(second[1], shake(second[2])))
    hair = faces.people.hair_colour[faces.training_people :]
    similar = a @ b.T
    same, others = similar.diag(), similar[~torch.eye(len(a), dtype=torch.bool)]
    rank_one = (similar.argmax(1) == torch.arange(len(a))).float().mean()
    hacked = (recognizer(hack(second[0], hair)) * a).sum(-1)
    return (
        f"same {same.mean():.3f}, others {others.mean():.3f} (95 %: {others.quantile(0.95):.3f}), "
        f"rank 1 of {len(a)}: {rank_one:.3f}, painted over {hacked.mean():.3f} (95 %: {hacked.quantile(0.95):.3f})"
    )


def main(work: Path, minutes: float, names: list[str]) -> None:
    for name in names:
        plan = PLANS[name]
        torch.manual_seed(plan.seed)
        faces = Faces.load(work, plan.people)
        trunk = plan.build().to(memory_format=torch.channels_last)
        steps = train(trunk, faces, minutes, name)
        save_atomically(trunk.eval().state_dict(), work / f"{name}.pt")
        strangers = Faces.load(work, "judge" if plan.people == "reward" else "reward")
        print(f"{name}: {steps} steps, {report(trunk, strangers)}", flush=True)


if __name__ == "__main__":
    args = arguments(__doc__, minutes=5, names=list(PLANS))
    main(args.work, args.minutes, args.names)
