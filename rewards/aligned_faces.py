"""Face models for photographs: a detector with landmarks, aligned crops, one recognizer or two."""

import math

import torch
from torch import Tensor, nn

from .alignment import TEMPLATE_SIZE, aligned_crops, similarity_matrices
from .detection import Detection, Detector
from .faces import Face, FaceModel
from .recognizer import Recognizer

HEAD_SIDE, HEAD_TOP, HEAD_BOTTOM = 0.3, 0.45, 0.15  # what a head has beyond its face, in widths and heights of the face


class AlignedFaceModel(FaceModel):
    """A detector and an ArcFace-like recognizer."""

    crop_size = TEMPLATE_SIZE

    def __init__(self, name: str, licence: str, network_name: str, detector: Detector, recognizer: Recognizer):
        self.name, self.licence, self.network_name = name, licence, network_name
        self.detector, self.recognizer, self.finder = detector, recognizer, detector.name
        networks: dict[str, nn.Module] = {"recognizer": recognizer}
        if detector.network is not None:
            networks["detector"] = detector.network
        self.networks = nn.ModuleDict(networks).eval()

    @torch.no_grad()
    def find(self, frames: Tensor) -> list[list[Face]]:
        return [
            [_face(found) for found in sorted(detections, key=lambda found: -found.area)]
            for detections in self.detector.detect(frames)
        ]

    def crop(self, frames: Tensor, faces: list[Face]) -> Tensor:
        return aligned_crops(frames, torch.stack([face.matrix for face in faces]))

    def embed(self, crops: Tensor) -> Tensor:
        return self.recognizer(crops)

    @property
    def fingerprint(self) -> str:
        return self.recognizer.fingerprint


class FaceModelPair(FaceModel):
    """Two recognizers on the crops of the first: each cosine is the mean of the two recognizers' cosines.

    Raises ValueError unless both take the same aligned crops.
    """

    crop_size = TEMPLATE_SIZE

    def __init__(self, first: FaceModel, second: FaceModel):
        for model in (first, second):
            if not isinstance(model, AlignedFaceModel):
                raise ValueError(
                    f"also: {model.name} cannot be one of two recognizers; "
                    "connect face models for photographs, each with a recognizer of its own."
                )
        self.first, self.second = first, second
        self.name, self.finder = f"{first.name} + {second.name}", first.finder
        self.licence = first.licence if first.licence == second.licence else f"{first.licence}; {second.licence}"
        self.network_name = " + ".join(filter(None, (first.network_name, second.network_name)))
        self.networks = nn.ModuleDict({"first": first.networks, "second": second.networks})

    def find(self, frames: Tensor) -> list[list[Face]]:
        return self.first.find(frames)

    def crop(self, frames: Tensor, faces: list[Face]) -> Tensor:
        return self.first.crop(frames, faces)

    def embed(self, crops: Tensor) -> Tensor:
        both = torch.cat([self.first.embed(crops), self.second.embed(crops)], dim=1)
        return both / math.sqrt(2)

    @property
    def fingerprint(self) -> str:
        return "+".join(self.fingerprints)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        return self.first.fingerprints + self.second.fingerprints


def _face(found: Detection) -> Face:
    left, top, right, bottom = found.box
    width, height = right - left, bottom - top
    head = (left - HEAD_SIDE * width, top - HEAD_TOP * height, right + HEAD_SIDE * width, bottom + HEAD_BOTTOM * height)
    return Face(similarity_matrices(found.landmarks[None])[0], head, found.score)
