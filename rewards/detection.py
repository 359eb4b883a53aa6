"""What face detectors have in common: boxes with five landmarks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

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
