"""Faces: finding them, cropping them differentiably, turning them into identity embeddings."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from .alignment import crop_similarity, matrix_scale

# Of the smallest face that a reference photo may have: in a generated frame less is enough, 40 of 64 pixels.
FRAME_SHARE = 0.625


@dataclass(frozen=True)
class Face:
    """One face in one frame.

    matrix: [2, 3], maps crop pixel centres (x, y, 1) to frame pixel centres.
    box: (left, top, right, bottom) in frame pixels, the whole head.
    score: confidence, 0..1.
    """

    matrix: Tensor
    box: tuple[float, float, float, float]
    score: float

    @property
    def scale(self) -> float:
        """Frame pixels per crop pixel; below 1 the crop is an enlargement."""
        return matrix_scale(self.matrix)


class FaceModel(ABC):
    """A face detector and a recognizer that fit together (PV_FACE_MODEL).

    name: as the user chose it. finder: name of what finds the faces. licence: what the weights may be used for.
    network_name: the recognizer's architecture and training data, empty if they are not known.
    knows_only: the only people that it can tell apart, empty if it takes anybody's photographs.
    crop_size: side of the square crops in pixels. networks: every weight it uses.
    minimum_face: side of the smallest square, in pixels of a photo, that a crop may come from.
    same_person: cosine from which two photos show the same person.
    """

    name: str
    finder: str
    licence: str
    network_name: str = ""
    knows_only: str = ""
    crop_size: int
    networks: nn.Module
    minimum_face: int = 64
    same_person: float = 0.3

    @property
    def device(self) -> torch.device:
        """Where the networks are: frames have to be there, too."""
        weights = chain(self.networks.parameters(), self.networks.buffers())
        return next(weights, torch.empty(0)).device

    @abstractmethod
    def find(self, frames: Tensor) -> list[list[Face]]:
        """Faces of each frame, largest first; frames [N, 3, H, W] in 0..1. No gradient.

        Small faces are among them: what is too small is for the caller to say.
        """

    @abstractmethod
    def embed(self, crops: Tensor) -> Tensor:
        """Identity embeddings [N, D], unit length, of crops [N, 3, S, S] in 0..1. Differentiable."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of the recognizer's weights: equal for two models that are the same judge."""

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprint of every recognizer in it."""
        return (self.fingerprint,)

    def crop(self, frames: Tensor, faces: list[Face]) -> Tensor:
        """One crop a frame, [N, 3, S, S]; differentiable in frames [N, 3, H, W]."""
        matrices = torch.stack([face.matrix for face in faces])
        return crop_similarity(frames, matrices, self.crop_size)


@dataclass(frozen=True)
class Identity:
    """A person as a pool of reference faces (PV_IDENTITY).

    embeddings [P, D] unit length, one a kept photo; crops [P, 3, S, S] in 0..1. photos: the head of
    each with room around it, [3, H, W] in 0..1, for who finds and crops faces in another way.
    """

    embeddings: Tensor
    crops: Tensor
    face_model: FaceModel
    photos: tuple[Tensor, ...] = ()

    def similarity(self, embeddings: Tensor) -> Tensor:
        """Mean cosine to the pool, [N], of unit embeddings [N, D]. Differentiable."""
        return (embeddings @ self.embeddings.to(embeddings).T).mean(dim=1)


@torch.no_grad()
def largest_faces(face_model: FaceModel, frames: Tensor) -> list[Face | None]:
    """The largest face of each frame [N, 3, H, W], None where there is none of a size that can be recognized."""
    smallest = FRAME_SHARE * face_model.minimum_face
    largest = [faces[0] if faces else None for faces in face_model.find(frames.detach())]
    return [face if face and face.scale * face_model.crop_size >= smallest else None for face in largest]
