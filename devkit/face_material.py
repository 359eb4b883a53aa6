"""Faces for tests and benchmarks: the models that the setup fetches, and the sample photos of insightface."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from devkit.comfy_host import WORK

FACE_MODELS = WORK / "models" / "face"
YUNET = FACE_MODELS / "face_detection_yunet_2023mar.onnx"
SFACE = FACE_MODELS / "face_recognition_sface_2021dec.onnx"
GROUP_PHOTO = "t1.jpg"  # 6 people
ONE_PERSON = (400, 190, 640, 470)  # the part of the group photo with one face, 102 x 145 pixels
PORTRAIT = "Tom_Hanks_54745.png"  # 112 x 112


def sample_photo(name: str) -> Path:
    """The path of a photo in the insightface package, which need not be imported."""
    return Path(find_spec("insightface").submodule_search_locations[0]) / "data" / "images" / name


def read_photo(name: str, box: tuple[int, int, int, int] | None = None) -> torch.Tensor:
    """A photo, or the part of it inside ``box`` (left, top, right, bottom), as [1, 3, H, W] in 0..1."""
    image = Image.open(sample_photo(name)).convert("RGB").crop(box)
    return torch.from_numpy(np.array(image)).movedim(-1, 0)[None] / 255
