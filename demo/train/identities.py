"""Draws the pictures of the people that come with the demo: ``demo/identities/<name>/1.png`` to ``5.png``.

    python -m demo.train.identities

Their seed was fixed before anything was trained, and no network has ever seen their combinations of hair colour, hair
style, glasses, beard and eye colour, which ``people.sample_people`` leaves out.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..captions import MOTIONS, SCENES, SHIRTS
from ..people import shown_people
from ..world import poses, render
from .contact_sheet import save_sheet

FOLDER = Path(__file__).parents[1] / "identities"
NAMES = ("Aro", "Bina", "Cleo", "Dovi", "Elka", "Fenn", "Gilo", "Hani", "Ilva", "Jori", "Kesh", "Lumi")
PICTURES = 5
SIZE = 128  # pixels; the pictures are drawn at 64 and enlarged
SEED = 60


def save_picture(frame: Tensor, path: Path) -> None:
    pixels = (frame.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(pixels).resize((SIZE, SIZE), Image.BICUBIC).save(path, optimize=True)


def main() -> None:
    people = shown_people()
    first = []
    generator = torch.Generator().manual_seed(SEED)
    for index, name in enumerate(NAMES):
        scene, shirt, motion = (
            torch.randperm(count, generator=generator)[:PICTURES] for count in (len(SCENES), len(SHIRTS), len(MOTIONS))
        )
        where = poses(motion, torch.rand(PICTURES, 1, generator=generator), generator)
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        frames = render(people[index : index + 1].repeat(PICTURES), where, scene, shirt)
        first.append(frames[0])
        for number, frame in enumerate(frames, 1):
            save_picture(frame, folder / f"{number}.png")
    save_sheet(torch.stack(first).unflatten(0, (2, -1)), "people")
    truth = {name: people.describe(index) for index, name in enumerate(NAMES)}
    (FOLDER / "identities.json").write_text(json.dumps(truth, indent=2) + "\n")


if __name__ == "__main__":
    main()
