"""Renders the training data: clips for the video networks, and faces of known people for the face networks.

python -m demo.train.data --work DIR
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from tqdm import trange

from ..people import People, sample_people
from ..world import FRAMES, make_clips, poses, random_actions, render
from .common import arguments, save_atomically

CLIPS = 12000
CLIPS_SEED = 1000
FACE_SETS = {"reward": 5000, "judge": 6000, "attributes": 7000}  # seeds, which give each set people of its own
FACES = 2400  # people in a face set
VIEWS = 10  # pictures of each person


def bytes_of(frames: Tensor) -> Tensor:
    return (frames * 255).round().to(torch.uint8)


def render_clips(count: int, seed: int, chunk: int = 50) -> dict[str, Tensor]:
    """``frames`` [count, 8, 3, 64, 64] as bytes, ``action`` [count, 3] and ``box`` [count, 8, 3]; each clip has a new person."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.empty(count, FRAMES, 3, 64, 64, dtype=torch.uint8)
    action, box = torch.empty(count, 3, dtype=torch.long), torch.empty(count, FRAMES, 3)
    for start in trange(0, count, chunk, desc="clips", unit_scale=chunk):
        part = slice(start, start + chunk)
        clips = make_clips(sample_people(chunk, generator), random_actions(chunk, generator), generator)
        frames[part], action[part], box[part] = bytes_of(clips.frames), clips.action, clips.box
    return {"frames": frames, "action": action, "box": box}


def render_faces(count: int, views: int, seed: int) -> dict[str, Tensor | dict[str, Tensor]]:
    """``people`` in random situations, as ``frames`` [count, views, 3, 64, 64] of bytes and ``box`` [count, views, 3]."""
    generator = torch.Generator().manual_seed(seed)
    people: People = sample_people(count, generator)
    frames = torch.empty(count, views, 3, 64, 64, dtype=torch.uint8)
    box = torch.empty(count, views, 3)
    for view in trange(views, desc="faces", unit_scale=count):
        scene, shirt, motion = random_actions(count, generator).unbind(-1)
        where = poses(motion, torch.rand(count, 1, generator=generator), generator)
        frames[:, view] = bytes_of(render(people, where, scene, shirt))
        box[:, view] = where.box
    return {"frames": frames, "box": box, "people": asdict(people)}


def make_data(work: Path) -> None:
    wanted = {"clips": lambda: render_clips(CLIPS, CLIPS_SEED)}
    for name, seed in FACE_SETS.items():
        wanted[f"faces_{name}"] = lambda seed=seed: render_faces(FACES, VIEWS, seed)
    for name, make in wanted.items():
        path = work / f"{name}.pt"
        if not path.exists():
            save_atomically(make(), path)


if __name__ == "__main__":
    make_data(arguments(__doc__).work)
