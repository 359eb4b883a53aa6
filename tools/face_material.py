"""Faces for tests and benchmarks: the models that the set-up fetches, and insightface's sample photos."""

from importlib.util import find_spec
from pathlib import Path

from comfy_host import WORK

FACE_MODELS = WORK / "models" / "face"
YUNET = FACE_MODELS / "face_detection_yunet_2023mar.onnx"
SFACE = FACE_MODELS / "face_recognition_sface_2021dec.onnx"
GROUP_PHOTO = "t1.jpg"  # 6 people
PORTRAIT = "Tom_Hanks_54745.png"  # 112 x 112


def sample_photo(name: str) -> Path:
    """A photo of the insightface package, which is not imported for it."""
    return Path(find_spec("insightface").submodule_search_locations[0]) / "data" / "images" / name
