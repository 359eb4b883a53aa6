"""What face detectors have in common: boxes with five landmarks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Detection:
    """A face: box (left, top, right, bottom) from brow to chin, landmarks [5, 2] (left eye, right
    eye, nose, mouth corners, as seen in the picture), both in frame pixels, on the CPU; score 0..1."""

    box: tuple[float, float, float, float]
    landmarks: Tensor
    score: float

    @property
    def area(self) -> float:
        left, top, right, bottom = self.box
        return max(0.0, right - left) * max(0.0, bottom - top)


class Detector(ABC):
    """Finds faces. name: of its file, or of what it is."""

    name: str

    @property
    def network(self) -> nn.Module | None:
        """The detector's weights, None if PyTorch does not hold them."""
        return None

    @abstractmethod
    def detect(self, frames: Tensor) -> list[list[Detection]]:
        """The faces of each frame [N, 3, H, W] in 0..1, in any order. No gradient."""


def suppress(boxes: Tensor, scores: Tensor, overlap: float) -> list[int]:
    """Indices of boxes [N, 4] that no better-scored kept box overlaps by more than ``overlap`` (IoU), best first."""
    order = scores.argsort(descending=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        corner = torch.maximum(boxes[best, :2], boxes[order, :2])
        extent = (torch.minimum(boxes[best, 2:], boxes[order, 2:]) - corner).clamp(min=0)
        common = extent[:, 0] * extent[:, 1]
        order = order[common / (areas[best] + areas[order] - common) <= overlap]
    return kept
