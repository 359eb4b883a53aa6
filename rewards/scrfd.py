"""SCRFD, the face detector of insightface's packs, run by insightface with the onnxruntime that is installed."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..sentences import reason
from .detection import Detection, Detector

FACE_SCORE = 0.5
SEARCH_SIZE = (640, 640)
PROVIDERS = ("CUDAExecutionProvider", "ROCMExecutionProvider", "CPUExecutionProvider")
INSTALL_RUNTIME = "pip install onnxruntime-gpu"
INSTALL_RUNTIME_CPU = "pip install onnxruntime"
# Without --no-deps pip adds the CPU onnxruntime, which would shadow an installed onnxruntime-gpu.
INSTALL_INSIGHTFACE = "pip install --no-deps insightface"
INSIGHTFACE_NEEDS = {"onnx": "onnx", "cv2": "opencv-python-headless", "skimage": "scikit-image", "scipy": "scipy",
                     "tqdm": "tqdm", "requests": "requests"}  # fmt: skip


class Scrfd(Detector):
    """The detector of an insightface pack's file.

    Raises ImportError with the install line if insightface or onnxruntime is missing, ValueError if
    the file cannot be used.
    """

    def __init__(self, path: str | Path):
        self.name = Path(path).name
        onnxruntime, get_model = _import_insightface()
        providers = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
        try:
            self._model = get_model(str(path), providers=providers)
            self._model.prepare(ctx_id=0, input_size=SEARCH_SIZE, det_thresh=FACE_SCORE)
        except Exception as error:  # onnxruntime's errors have no common class
            raise ValueError(
                f"{self.name}: insightface cannot load this detector ({reason(error)}); unzip the pack again."
            ) from error

    @torch.no_grad()
    def detect(self, frames: Tensor) -> list[list[Detection]]:
        return [self._in_frame(frame) for frame in frames]

    def _in_frame(self, frame: Tensor) -> list[Detection]:
        """A face that fills its frame is only found with room around it, so an empty result is tried again with room."""
        for room in (0, max(frame.shape[-2:]) // 2):
            roomy = F.pad(frame, (room, room, room, room))
            blue_green_red = (roomy.flip(0).movedim(0, -1) * 255).round().clamp(0, 255).to(torch.uint8)
            boxes, landmarks = self._model.detect(blue_green_red.contiguous().cpu().numpy())
            if len(boxes):
                return [
                    Detection(tuple((box[:4] - room).tolist()), torch.from_numpy(points).double() - room, float(box[4]))
                    for box, points in zip(boxes, landmarks)
                ]
        return []


def _import_insightface() -> tuple[ModuleType, Callable[..., Any]]:
    """The module onnxruntime and insightface's ``get_model``, which makes any of its models."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f"Finding faces with an insightface pack needs onnxruntime; run `{INSTALL_RUNTIME}` (without an NVIDIA card "
            f"`{INSTALL_RUNTIME_CPU}`) in ComfyUI's Python and restart, or choose opencv/yunet + sface."
        ) from error
    try:
        from insightface.model_zoo import get_model
    except ImportError as error:
        missing = [package for module, package in INSIGHTFACE_NEEDS.items() if find_spec(module) is None]
        line = " && ".join([INSTALL_INSIGHTFACE] + ([f"pip install {' '.join(missing)}"] if missing else []))
        raise ImportError(
            f"Finding faces with an insightface pack needs insightface; run `{line}` in ComfyUI's Python "
            "and restart, or choose opencv/yunet + sface."
        ) from error
    return onnxruntime, get_model
