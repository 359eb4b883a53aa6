"""Dynamic Degree as VBench measures it (Huang et al., "VBench", 2024; its ``dynamic_degree.py``), and the plain flow.

About 8 frames a second are looked at: each n-th, n = round(fps / 8). Of each pair of neighbours the
strength is the mean of the top 5 percent of the flow's magnitudes, in pixels. A pair moves above
6 x min(H, W) / 256 pixels, times 8 / fps where fps is below 8; the video moves if round(4 x N / 16)
of its pairs do, N the frames that are looked at. VBench's score is the share of videos that move.

What differs: at least one pair has to move, also in clips of 2 frames, for which VBench's rule asks for
none. VBench's flow is RAFT with 20 iterations, trained on FlyingChairs and FlyingThings3D
(torchvision's C_T weights); with another one the strengths, and so the verdict, are that one's.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .frames import every_nth, tidy

FRAMES_A_SECOND = 8.0
STRONGEST = 0.05  # share of the pixels
THRESHOLD, THRESHOLD_SIDE = 6.0, 256.0
PAIRS, PAIRS_FRAMES = 4, 16


@dataclass(frozen=True)
class Dynamics:
    """frames: numbers of those that were looked at. strengths and means: of each pair of neighbours, mean magnitude
    in pixels of the top 5 percent and of all pixels. threshold in pixels. needed: pairs that have to be above it."""

    frames: list[int]
    strengths: list[float]
    means: list[float]
    threshold: float
    needed: int

    @property
    def strength(self) -> float:
        """Mean strength of the pairs, in pixels; 0 for a single frame."""
        return _mean(self.strengths)

    @property
    def mean(self) -> float:
        """Mean magnitude of the flow over all pixels and pairs, in pixels; 0 for a single frame."""
        return _mean(self.means)

    @property
    def moving_pairs(self) -> int:
        return sum(strength > self.threshold for strength in self.strengths)

    @property
    def moves(self) -> bool:
        """VBench's verdict."""
        return self.moving_pairs >= self.needed


@torch.no_grad()
def dynamic_degree(
    frames: Tensor,
    fps: float,
    flow: Callable[[Tensor, Tensor], Tensor],
    device: torch.device | str = "cpu",
    after_pair: Callable[[], None] = lambda: None,
) -> Dynamics:
    """Of frames [F, 3, H, W], ``fps`` a second.

    flow: two frames [3, H, W] in 0..1 on ``device`` -> [2, H, W] in pixels.
    """
    places = every_nth(len(frames), fps, FRAMES_A_SECOND)
    strengths, means = [], []
    for first, second in zip(places, places[1:]):
        magnitudes = flow(tidy(frames[first], device), tidy(frames[second], device)).norm(dim=0).flatten()
        strengths.append(magnitudes.topk(max(1, int(STRONGEST * len(magnitudes)))).values.mean().item())
        means.append(magnitudes.mean().item())
        after_pair()
    threshold = THRESHOLD * min(frames.shape[-2:]) / THRESHOLD_SIDE * max(1.0, FRAMES_A_SECOND / fps)
    return Dynamics(places, strengths, means, threshold, max(1, round(PAIRS * len(places) / PAIRS_FRAMES)))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
