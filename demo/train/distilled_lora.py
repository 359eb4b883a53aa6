"""Trains the demo's few-step LoRA: with it 4 steps without guidance give about what 16 steps with guidance give.

    python -m demo.train.distilled_lora --work DIR --minutes 20

The exported network is its own teacher. On the way from a noise to a clip its 16 guided steps pass the 4 noise levels
at which a sampler of 4 steps asks the network; the student, the same network with a LoRA, first learns each of the
4 jumps between these points of the teacher's, then to arrive with 4 jumps of its own where the teacher arrived.
No caption of `held_out.txt` is used. It can be stopped at any time and goes on.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import trange

from ..captions import caption, every_caption, parse, tokenise
from ..contact_sheet import save_sheet
from ..networks import LATENT_CHANNELS
from ..world import FRAMES
from .common import arguments, clock, save_atomically, set_lr
from .lora import attach, save
from .measure import SEEDS, Ruler, print_table
from .sample import Sampler, held_out_captions
from .wan import sigmas, trajectory

STEPS = 4
TEACHER_STEPS, TEACHER_CFG = 16, 2.0
PATHS = 3072
PATHS_BATCH = 24
PATHS_SEED = 99
SUBJECTS = ("person", "sks person", "person", "sks person", "sks man", "sks woman")  # of captions, equally often
RANK = 16
LR = 1.5e-3
JUMPS = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, *[3] * 12])  # of a batch: the last one is the hardest
ARRIVING_BATCH = 16  # clips
ARRIVING_FROM = 0.6  # of the time; before that the jumps are learnt one by one
CONSTANT_UNTIL = 0.3  # of the time; then the learning rate falls linearly
SMALL = 0.03  # distance below which the loss becomes quadratic
SAVE_EVERY = 50  # steps
SEED = 71
DESCRIPTION = "Few-step LoRA of the demo model: 4 steps, cfg 1, strength 1."


def teacher_paths(sampler: Sampler, path: Path) -> tuple[Tensor, Tensor]:
    """Tokens [N, 20] and, for each, the points [N, 5, 8, 8, 8, 8] of the teacher's way from noise to clip; kept in ``path``."""
    if path.exists():
        return torch.load(path)
    generator = torch.Generator().manual_seed(PATHS_SEED)
    held_out = {parse(text) for text in held_out_captions()}
    actions = [action for action in every_caption() if action not in held_out]
    empty = sampler.text(tokenise([""]))
    tokens, points = [], []
    for _ in trange(0, PATHS, PATHS_BATCH, desc="teacher's paths"):
        action = torch.randint(0, len(actions), (PATHS_BATCH,), generator=generator).tolist()
        subject = torch.randint(0, len(SUBJECTS), (PATHS_BATCH,), generator=generator).tolist()
        tokens.append(tokenise([caption(*actions[a], subject=SUBJECTS[s]) for a, s in zip(action, subject)]))
        noise = torch.randn(PATHS_BATCH, LATENT_CHANNELS, FRAMES, 8, 8, generator=generator)
        way = trajectory(sampler.wan, noise, sampler.text(tokens[-1]), empty, TEACHER_STEPS, TEACHER_CFG)
        points.append(torch.stack(way[:: TEACHER_STEPS // STEPS], dim=1))
    paths = torch.cat(tokens), torch.cat(points)
    save_atomically(paths, path)
    return paths


class Student:
    """The network as a sampler of 4 steps uses it, with losses that say how far it is from the teacher's points."""

    def __init__(self, sampler: Sampler):
        self.sampler = sampler
        self.levels = torch.tensor(sigmas(STEPS))

    def velocity(self, points: Tensor, level: Tensor, text: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.sampler.wan(points, level * 1000, text).float()

    def jump_loss(self, tokens: Tensor, points: Tensor) -> Tensor:
        """Of single jumps, from a point of the teacher's to its next one: the distance between the clips that both head for."""
        rows = torch.arange(len(points))
        here, there = points[rows, JUMPS], points[rows, JUMPS + 1]
        level, after = self.levels[JUMPS], self.levels[JUMPS + 1]
        wanted = (there - here) / (after - level).view(-1, 1, 1, 1, 1)
        difference = self.velocity(here, level, self.sampler.text(tokens)) - wanted
        return distance(difference * level.view(-1, 1, 1, 1, 1)).mean()

    def arrival_loss(self, tokens: Tensor, points: Tensor) -> Tensor:
        """Of the student's own way from the noise: the distance between the clips at both ends."""
        text, x = self.sampler.text(tokens), points[:, 0]
        for level, after in zip(self.levels, self.levels[1:]):
            x = x + (after - level) * self.velocity(x, level.expand(len(x)), text)
        return distance(x - points[:, -1]).mean()


def distance(difference: Tensor) -> Tensor:
    """Pseudo-Huber distance [B] of clips: the root mean square, smooth at zero; large ones do not drown the others."""
    return (difference.square().flatten(1).mean(1) + SMALL**2).sqrt() - SMALL


def train(student: Student, parameters: list[nn.Parameter], paths: tuple[Tensor, Tensor], minutes: float, path: Path) -> int:
    """Trains for ``minutes`` of processor time, what ``path`` holds included; the number of steps."""
    tokens, points = paths
    adam = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.01)
    step, done = 0, 0.0
    if path.exists():
        state = torch.load(path)
        step, done = state["step"], state["progress"]
        with torch.no_grad():
            torch._foreach_copy_(parameters, state["parameters"])
        adam.load_state_dict(state["adam"])
    torch.manual_seed(SEED + step)
    for progress in clock(minutes, "few-step LoRA", done):
        if step % SAVE_EVERY == 0:
            state = {"step": step, "progress": progress, "parameters": parameters, "adam": adam.state_dict()}
            save_atomically(state, path)
        arriving = progress >= ARRIVING_FROM
        rows = torch.randint(0, len(tokens), (ARRIVING_BATCH if arriving else len(JUMPS),))
        loss = (student.arrival_loss if arriving else student.jump_loss)(tokens[rows], points[rows])
        adam.zero_grad()
        loss.backward()
        set_lr(adam, LR * min(1, (step + 1) / 20) * min(1, 0.02 + (1 - progress) / (1 - CONSTANT_UNTIL)))
        adam.step()
        step += 1
    return step


def held_out_clips(sampler: Sampler, steps: int, cfg: float) -> Tensor:
    """Clips of the held-out captions, for two seeds."""
    return torch.cat([sampler(held_out_captions(), seed, cfg, steps) for seed in SEEDS[:2]])


def main(work: Path, minutes: float) -> None:
    torch.manual_seed(SEED)
    sampler = Sampler()
    paths = teacher_paths(sampler, work / "distilled_paths.pt")
    ways = [(TEACHER_STEPS, TEACHER_CFG), (TEACHER_STEPS, 1.0), (STEPS, TEACHER_CFG), (STEPS, 1.0)]
    columns = {f"{steps} steps, cfg {cfg:g}": held_out_clips(sampler, steps, cfg) for steps, cfg in ways}
    loras = attach(sampler.wan, RANK)
    parameters = [parameter for lora in loras.values() for parameter in lora.parameters()]
    steps = train(Student(sampler), parameters, paths, minutes, work / "distilled_lora.pt")
    path = save(loras, "distilled 4 steps", DESCRIPTION)
    columns["4 steps, cfg 1, with the LoRA"] = held_out_clips(sampler, STEPS, 1.0)
    print(f"few-step LoRA: {steps} steps, {path.stat().st_size / 1e3:.0f} kB")
    teacher, plain, distilled = (list(columns.values())[index] for index in (0, 3, 4))
    save_sheet(torch.stack([clips[:8, 3] for clips in (teacher, plain, distilled)]), "distilled")
    actions = [parse(text) for text in held_out_captions()] * 2
    ruler = Ruler()
    print_table(
        {
            name: ruler.figures(clips, actions) | {"colour difference to the first": (clips - teacher).abs().mean().item()}
            for name, clips in columns.items()
        }
    )


if __name__ == "__main__":
    args = arguments(__doc__, minutes=20)
    main(args.work, args.minutes)
