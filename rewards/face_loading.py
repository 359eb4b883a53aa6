"""Face models from their files."""

from pathlib import Path

import torch

from ..sentences import one_line
from .aligned_faces import AlignedFaceModel
from .alignment import TEMPLATE_SIZE
from .detection import Detector
from .face_files import OPENCV_PAIR, FaceFiles, nested_pack, training_data
from .onnx_network import describe
from .recognizer import Recognizer
from .scrfd import Scrfd
from .yunet import YUNET_FILE, YuNet

SFACE_SAME_PERSON = 0.363  # OpenCV's own threshold for this network
OUTPUTS_WITH_LANDMARKS = (9, 15)  # of an SCRFD detector: score, box and landmarks for 3 or 5 strides


def load_face_model(files: FaceFiles, dtype: torch.dtype, detector: Detector | None = None) -> AlignedFaceModel:
    """The face model of ``files``, its recognizer in ``dtype``.

    detector: one that is used instead of what the files have. Raises ValueError or ImportError, in
    one sentence.
    """
    recognizer_file, detector_file = _search(files.source, files.name) if files.source.is_dir() else (files.source, None)
    if detector is None:
        detector = _load_detector(files, detector_file)
    recognizer = Recognizer(recognizer_file, dtype)
    data = training_data(recognizer_file)
    network_name = f"{recognizer.architecture}, {data}" if recognizer.architecture and data else ""
    model = AlignedFaceModel(one_line(files.name), files.licence, network_name, detector, recognizer)
    if files.name == OPENCV_PAIR:
        model.same_person = SFACE_SAME_PERSON
    return model


def _load_detector(files: FaceFiles, scrfd: Path | None) -> Detector:
    if scrfd is not None:
        return Scrfd(scrfd)
    if files.yunet is None:
        raise ValueError(
            f"{files.name}: it has no face detector; put {YUNET_FILE} of the OpenCV zoo into models/face, or connect detector."
        )
    return YuNet(files.yunet)


def _search(pack: Path, name: str) -> tuple[Path, Path | None]:
    """Recognizer and detector of an insightface pack, told apart by what goes in and what comes out."""
    nested = nested_pack(pack)
    if nested:
        raise ValueError(
            f"{name}: its files lie one folder too deep, in {pack.name}/{nested.name}; move them up into {pack.name}."
        )
    recognizers, detectors = [], []
    files = sorted(pack.glob("*.onnx"))
    for file in files:
        size, outputs = describe(file)
        if outputs in OUTPUTS_WITH_LANDMARKS:
            detectors.append(file)
        elif outputs == 1 and size in (None, (TEMPLATE_SIZE, TEMPLATE_SIZE)):
            recognizers.append(file)
    if not recognizers:
        raise ValueError(
            f"{name}: it has no face recognizer, only {', '.join(file.name for file in files)}; "
            f"unzip the whole pack into {pack.name}."
        )
    return recognizers[0], detectors[0] if detectors else None
