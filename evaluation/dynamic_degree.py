"""Dynamic Degree as VBench measures it (Huang et al., "VBench", 2024; its ``dynamic_degree.py``), and the plain flow.

About 8 frames a second are looked at: every n-th one, with n = round(fps / 8). The strength of a pair of neighbours is
the mean of the top 5 percent of the flow's magnitudes, in pixels. A pair moves if its strength is above
6 x min(H, W) / 256 pixels, times 8 / fps if fps is below 8; the video moves if round(4 x N / 16) of its pairs do, where N
is the number of frames looked at. VBench's score is the share of videos that move.

Two things may differ. Here at least one pair has to move; for clips of 2 frames VBench's rule asks for none. And VBench's
flow is RAFT with 20 iterations, trained on FlyingChairs and FlyingThings3D (torchvision's C_T weights); another flow gives
other strengths, and so perhaps another verdict.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .frames import every_nth, tidy

FRAMES_A_SECOND = 8.0
STRONGEST = 0.05  # the share of the pixels whose flow counts
THRESHOLD, THRESHOLD_SIDE = 6.0, 256.0
PAIRS, PAIRS_FRAMES = 4, 16


@dataclass(frozen=True)
class Dynamics:
    """The motion in a video.

    frames: the numbers of the frames that were looked at. strengths, means: for each pair of neighbours among them, the
    mean magnitude of the flow, in pixels, over the strongest 5 percent of the pixels and over all. threshold: the strength
    in pixels above which a pair moves. needed: how many pairs have to move.
    """

    frames: list[int]
    strengths: list[float]
    means: list[float]
    threshold: float
    needed: int

    @property
    def strength(self) -> float:
        """The mean strength of the pairs, in pixels; 0 for a single frame."""
        return _mean(self.strengths)

    @property
    def mean(self) -> float:
        """The mean magnitude of the flow over all pixels and pairs, in pixels; 0 for a single frame."""
        return _mean(self.means)

    @property
    def moving_pairs(self) -> int:
        return sum(strength > self.threshold for strength in self.strengths)

    @property
    def moves(self) -> bool:
        """Whether the video moves, by VBench's rule."""
        return self.moving_pairs >= self.needed


@torch.no_grad()
def dynamic_degree(
    frames: Tensor,
    fps: float,
    flow: Callable[[Tensor, Tensor], Tensor],
    device: torch.device | str = "cpu",
    after_pair: Callable[[], None] = lambda: None,
) -> Dynamics:
    """The motion in ``frames`` [F, 3, H, W], ``fps`` a second.

    flow(first, second): the flow [2, H, W] in pixels between two frames [3, H, W] in 0..1, all on ``device``.
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
