"""What the training scripts share: arguments, files, the clock and the Muon optimizer."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm


def arguments(doc: str, minutes: float | None = None, names: list[str] | None = None) -> argparse.Namespace:
    """The arguments of a script: a working folder, threads, and where they apply, minutes and what to train."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for data and checkpoints, not in git")
    parser.add_argument("--threads", type=int, default=1, help="two jobs of one thread beat one of two")
    if minutes is not None:
        parser.add_argument("--minutes", type=float, default=minutes, help=f"time to train (default {minutes:g})")
    if names is not None:
        parser.add_argument("names", nargs="*", default=names, help=f"some of {', '.join(names)} (default: all)")
    args = parser.parse_args()
    if names is not None and (unknown := set(args.names) - set(names)):
        parser.error(f"unknown name: {', '.join(unknown)}")
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    return args


def save_atomically(data, path: Path) -> None:
    """``torch.save`` that never leaves half a file."""
    part = path.with_suffix(".part")
    torch.save(data, part)
    part.replace(path)


def processor_seconds() -> float:
    """How long this process has really computed, so that a busy machine does not shorten a training."""
    return time.process_time() / torch.get_num_threads()


def clock(minutes: float, label: str):
    """Yield the progress in 0..1 until ``minutes`` of processor time have passed, and show it in a bar."""
    began = processor_seconds()
    with tqdm(desc=label, unit="step") as bar:
        while (progress := (processor_seconds() - began) / 60 / minutes) < 1:
            bar.set_postfix_str(f"{progress:.1%}", refresh=False)
            yield progress
            bar.update()


def orthogonalise(matrices: Tensor) -> Tensor:
    """Muon's direction for updating a batch of matrices [N, rows, columns], by five Newton-Schulz iterations."""
    x = matrices.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Momentum with orthogonalised updates (Keller Jordan, 2024) for weights of two or more dimensions."""

    def __init__(self, parameters: list[nn.Parameter], lr: float, momentum: float = 0.95, decay: float = 0.0):
        self.lr, self.momentum, self.decay = lr, momentum, decay
        self.groups: dict[tuple[int, int], list[nn.Parameter]] = {}
        for parameter in parameters:
            self.groups.setdefault((len(parameter), parameter[0].numel()), []).append(parameter)
        self.buffers = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Make one update with the learning rate ``lr * scale``."""
        for shape, group in self.groups.items():
            gradient = torch.stack([parameter.grad.reshape(shape) for parameter in group])
            buffer = self.buffers[shape].mul_(self.momentum).add_(gradient)
            update = orthogonalise(gradient + self.momentum * buffer) * math.sqrt(max(1, shape[0] / shape[1]))
            for parameter, direction in zip(group, update):
                parameter.mul_(1 - self.decay * self.lr * scale)
                parameter.add_(direction.view_as(parameter), alpha=-self.lr * scale)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
