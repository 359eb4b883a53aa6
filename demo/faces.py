"""The demo's head locator and recognizers as a face model."""

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..rewards.faces import Face, FaceModel
from .scenes import SIZE
from .world import CROP_SCALE, CROP_SIZE

PRESENCE_THRESHOLD = 0.5


class DemoFaceModel(FaceModel):
    """The locator and one recognizer of the demo world, for frames of any size with one person in each."""

    finder = "locator"
    licence = "Apache-2.0 (made by this project from drawn people)"
    crop_size = CROP_SIZE
    minimum_face = CROP_SIZE // 2
    same_person = 0.6  # pictures of one drawn person have at least 0.67, pictures of two at most 0.53

    def __init__(self, name: str, locator: nn.Module, recognizer: nn.Module):
        self.name = name
        self.networks = nn.ModuleDict({"locator": locator, "recognizer": recognizer}).eval().requires_grad_(False)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for tensor in self.networks["recognizer"].state_dict().values():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def find(self, frames: Tensor) -> list[list[Face]]:
        height, width = frames.shape[-2:]
        heads, presence = self.networks["locator"](_to_world_size(frames))
        scores = presence.sigmoid().flatten().tolist()
        return [
            [head_face(head, height, width, score)] if score >= PRESENCE_THRESHOLD else []
            for head, score in zip(heads.cpu(), scores)
        ]

    def embed(self, crops: Tensor) -> Tensor:
        return F.normalize(self.networks["recognizer"](crops).float(), dim=-1)


def _to_world_size(frames: Tensor) -> Tensor:
    if tuple(frames.shape[-2:]) == (SIZE, SIZE):
        return frames
    return F.interpolate(frames, size=(SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)


def head_face(head: Tensor, height: int, width: int, score: float) -> Face:
    """The crop transform and the box, in pixels, of a head (cx, cy, s) in coordinates of -1..1."""
    cx, cy, s = head.tolist()
    cy = cy - 0.05 * s
    scale_x, scale_y = width / 2, height / 2
    step = 2 * CROP_SCALE * s / CROP_SIZE
    left, top = cx - CROP_SCALE * s + step / 2, cy - CROP_SCALE * s + step / 2
    matrix = torch.tensor([[step * scale_x, 0, (left + 1) * scale_x - 0.5], [0, step * scale_y, (top + 1) * scale_y - 0.5]])
    reach = CROP_SCALE * s
    box = tuple(
        (edge + 1) * scale
        for edge, scale in ((cx - reach, scale_x), (cy - reach, scale_y), (cx + reach, scale_x), (cy + reach, scale_y))
    )
    return Face(matrix, box, score)
