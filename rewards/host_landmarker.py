"""ComfyUI's own MediaPipe face landmarker (FACE_DETECTION_MODEL) as a face detector."""

import numpy as np
import torch
from torch import Tensor

from .detection import Detection, Detector

FACE_SCORE = 0.5
RANGES = ("short", "full")  # near faces; where there is none, far ones too
MOST_FACES = 8
# Vertices of the face mesh, as seen in the picture: both corners of each eye, nose tip, mouth corners.
FIVE_POINTS = ((33, 133), (362, 263), (4,), (61,), (291,))


class HostLandmarker(Detector):
    """landmarker: what the core node Load Face Detection Model (MediaPipe) gives; it manages its memory itself."""

    name = "MediaPipe"

    def __init__(self, landmarker):
        self._landmarker = landmarker

    def detect(self, frames: Tensor) -> list[list[Detection]]:
        pictures = (frames.detach().movedim(1, -1) * 255).round().clamp(0, 255).to(torch.uint8)
        return [self._in_picture(picture) for picture in pictures.contiguous().cpu().numpy()]

    def _in_picture(self, picture: np.ndarray) -> list[Detection]:
        for reach in RANGES:
            with torch.inference_mode():
                [faces] = self._landmarker.detect_batch([picture], num_faces=MOST_FACES, score_thresh=FACE_SCORE, variant=reach)
            if faces:
                return [_detection(face) for face in faces]
        return []


def _detection(face: dict) -> Detection:
    mesh = torch.from_numpy(np.asarray(face["landmarks_xy"], dtype=np.float64))
    landmarks = torch.stack([mesh[list(vertices), :2].mean(dim=0) for vertices in FIVE_POINTS])
    left, top, right, bottom = map(float, face["bbox_xyxy"])
    return Detection((left, top, right, bottom), landmarks, float(face["score"]))
