"""Trains the classifier of hair colour, hair style, glasses, beard, eye colour and skin tone, for the reports.

python -m demo.train.attributes --work DIR --minutes 4
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F

from ..people import ATTRIBUTES
from ..vision import AttributeClassifier
from .common import arguments, clock, save_atomically, set_lr
from .faces import Faces

BATCH = 128
LR = 3e-3
SEED = 40


def train(classifier: AttributeClassifier, faces: Faces, minutes: float) -> int:
    adam = torch.optim.AdamW(classifier.parameters(), weight_decay=2e-3)
    for step, progress in enumerate(clock(minutes, "attributes")):
        person, crops = faces.draw_crops(BATCH)
        with torch.autocast("cpu", torch.bfloat16):
            logits, skin = classifier(crops.contiguous(memory_format=torch.channels_last))
        loss = 10 * (skin - faces.people.skin()[person]).square().mean()
        for name in ATTRIBUTES:
            loss = loss + F.cross_entropy(logits[name], getattr(faces.people, name)[person])
        adam.zero_grad()
        loss.backward()
        set_lr(adam, LR * min(1, step / 30) * (0.5 * (1 + math.cos(math.pi * progress)) + 0.005))
        adam.step()
    return step


@torch.no_grad()
def report(classifier: AttributeClassifier, faces: Faces) -> str:
    """The share of right answers on people that it never saw, in an original view and in one seen through the VAE."""
    lines = []
    for view, kind in ((0, "originals"), (5, "through the VAE")):
        logits, skin = classifier(faces.test(view)[0])
        right = {
            name: (logits[name].argmax(1) == getattr(faces.people, name)[faces.training_people :]).float().mean()
            for name in ATTRIBUTES
        }
        error = (skin - faces.people.skin()[faces.training_people :]).abs().mean()
        shares = ", ".join(f"{name} {share:.3f}" for name, share in right.items())
        lines.append(f"{kind}: {shares}, skin off by {error:.3f}")
    return "; ".join(lines)


def main(work: Path, minutes: float) -> None:
    torch.manual_seed(SEED)
    faces = Faces.load(work, "attributes")
    classifier = AttributeClassifier().to(memory_format=torch.channels_last)
    steps = train(classifier, faces, minutes)
    save_atomically(classifier.eval().state_dict(), work / "attributes.pt")
    print(f"attributes: {steps} steps, {report(classifier, faces)}")


if __name__ == "__main__":
    args = arguments(__doc__, minutes=4)
    main(args.work, args.minutes)
