"""How exact and how steady the face models are, with the figures of the photos and of the semantic reward.

    make faces          (prints the figures, writes benchmarks/results/faces.json)

The oracles are onnxruntime for the networks and OpenCV for crops and features. The ResNets have random weights in
insightface's layout. photos.py and semantic.py contribute what their measure() returns: the figures, with "passed" and the
lines of "text".
"""

import io
import json
import logging
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from PIL import Image

from benchmarks.faces import photos, semantic
from devkit.comfy_host import ROOT
from devkit.comfy_process import load_pack, open_host
from devkit.face_material import GROUP_PHOTO, PORTRAIT, SFACE, YUNET, read_photo, sample_photo
from devkit.face_networks import RESNET_50, RESNET_100, write_arcface

RESULTS = ROOT / "benchmarks" / "results" / "faces.json"
EXPECTED_FACES = 6
ROOM = 1.3  # half the side of a person's picture, in widths of the face
STEP = 1e-7  # a larger step crosses kinks of the networks' PReLUs


def from_image(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).movedim(-1, 0)[None] / 255


def to_image(picture: torch.Tensor) -> Image.Image:
    return Image.fromarray((picture[0].movedim(0, -1) * 255).round().byte().numpy())


def networks(rewards, folder: Path) -> dict:
    """Each network compared with onnxruntime on 4 random pictures and with itself in bf16, and the time of one gradient."""
    write_arcface(folder / "r50.onnx", RESNET_50)
    write_arcface(folder / "r100.onnx", RESNET_100)
    files = {"SFace": SFACE, "ArcFace ResNet-50": folder / "r50.onnx", "ArcFace ResNet-100": folder / "r100.onnx"}
    figures = {}
    for name, path in files.items():
        recognizer = rewards.recognizer.Recognizer(path)
        crops = torch.rand(4, 3, 112, 112, generator=torch.Generator().manual_seed(0))
        figures[name] = {"difference to onnxruntime": network_difference(recognizer.network, crops)}
        with torch.no_grad():
            half = rewards.recognizer.Recognizer(path, torch.bfloat16)(crops)
            cosine = (half * recognizer(crops)).sum(dim=1).min().item()
        started = time.monotonic()
        crop = crops[:1].clone().requires_grad_(True)
        recognizer(crop).sum().backward()
        figures[name] |= {"bf16 cosine": cosine, "seconds a gradient": round(time.monotonic() - started, 3)}
    yunet, pictures = rewards.yunet.YuNet(YUNET), torch.rand(1, 3, 640, 640, generator=torch.Generator().manual_seed(0))
    figures["YuNet"] = {"difference to onnxruntime": network_difference(yunet.network, pictures)}
    return figures


def network_difference(network, crops: torch.Tensor) -> float:
    """The largest difference between any output and onnxruntime's, for the range of inputs that the file takes."""
    pictures = crops * 255 if network.embeds_normalisation or network.input_size != (112, 112) else crops * 2 - 1
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(network.path), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for picture in pictures.split(1):
        with torch.no_grad():
            own = network(picture)
        there = session.run(network.output_names, {network.input_name: picture.numpy()})
        worst = max(worst, *(np.abs(a.numpy() - b).max().item() for a, b in zip(own, there)))
    return worst


def crops(rewards) -> dict:
    """Crops and embeddings of the group photo compared with OpenCV's, from OpenCV's own landmarks."""
    photo = cv2.imread(str(sample_photo(GROUP_PHOTO)))
    detections = cv2.FaceDetectorYN.create(str(YUNET), "", photo.shape[1::-1], 0.7).detect(photo)[1]
    oracle, recognizer = cv2.FaceRecognizerSF.create(str(SFACE), ""), rewards.recognizer.Recognizer(SFACE)
    frame, differences, cosines = read_photo(GROUP_PHOTO), [], []
    for detection in detections:
        theirs = oracle.alignCrop(photo, detection)
        matrices = rewards.alignment.similarity_matrices(torch.from_numpy(detection[4:14]).view(1, 5, 2))
        own = rewards.alignment.aligned_crops(frame, matrices)
        differences.append((own - from_image(Image.fromarray(theirs[..., ::-1]))).abs().mean().item() * 255)
        feature = F.normalize(torch.from_numpy(oracle.feature(theirs)), dim=-1)
        with torch.no_grad():
            cosines.append((recognizer(own) * feature).sum().item())
    return {"faces": len(detections), "mean difference of 255": max(differences), "embedding cosine": min(cosines)}


def finite_differences(rewards, face_model, frame: torch.Tensor) -> dict:
    """The relative error of the gradient of the identity reward in the frame, along a random direction, in float64."""
    faces = face_model.find(frame)[0][:1]
    with torch.no_grad():
        portrait = read_photo(PORTRAIT)
        reference = face_model.embed(portrait)
    identity = rewards.faces.Identity(reference, portrait, face_model)
    face_model.networks.double()
    errors = {}

    def loss_of(x, augmentation):
        generator = torch.Generator().manual_seed(5)
        return rewards.identity.identity_consistency_loss(x, faces, identity, augmentation, generator).loss

    for augmentation in ("none", "paper", "robust"):
        loss = partial(loss_of, augmentation=augmentation)
        pixels = frame.double().requires_grad_(True)
        direction = torch.rand(frame.shape, generator=torch.Generator().manual_seed(0)).double() - 0.5
        loss(pixels).backward()
        with torch.no_grad():
            measured = (loss(pixels + STEP * direction) - loss(pixels - STEP * direction)).item() / (2 * STEP)
        errors[augmentation] = abs((pixels.grad * direction).sum().item() / measured - 1)
    face_model.networks.float()
    return errors


def distorted(picture: torch.Tensor) -> dict[str, torch.Tensor]:
    compressed = io.BytesIO()
    to_image(picture).save(compressed, "JPEG", quality=30)
    return {
        "mirrored": picture.flip(-1),
        "half size": F.interpolate(picture, scale_factor=0.5, mode="bilinear", antialias=True),
        "JPEG 30": from_image(Image.open(compressed)),
        "darkened to 40 %": picture * 0.4,
        "turned by 20 degrees": from_image(to_image(picture).rotate(20, Image.Resampling.BICUBIC, expand=True)),
    }


def people(face_model, rewards) -> list[torch.Tensor]:
    """One picture of each person on the group photo, and the portrait."""
    photo = read_photo(GROUP_PHOTO)
    pictures = []
    for found in face_model.detector.detect(photo)[0]:
        left, top, right, bottom = found.box
        reach, x, y = ROOM * (right - left), (left + right) / 2, (top + bottom) / 2
        rows, columns = (slice(max(0, int(middle - reach)), int(middle + reach)) for middle in (y, x))
        pictures.append(photo[..., rows, columns])
    return [*pictures, read_photo(PORTRAIT)]


def similarities(face_model, pictures: list[torch.Tensor]) -> dict:
    """The cosines between each person's picture and its distorted versions, and between different people."""

    def embedding(picture):
        faces = face_model.find(picture)[0]
        return face_model.embed(face_model.crop(picture, faces[:1])) if faces else None

    with torch.no_grad():
        originals = torch.cat([embedding(picture) for picture in pictures])
        same, lost = {}, 0
        for picture, original in zip(pictures, originals):
            for kind, changed in distorted(picture).items():
                found = embedding(changed)
                lost += found is None
                same.setdefault(kind, []).append(0.0 if found is None else (found @ original).item())
    others = (originals @ originals.T)[~torch.eye(len(originals), dtype=torch.bool)]
    every = [value for values in same.values() for value in values]
    return {
        "people": len(originals),
        "same person": {kind: {"mean": float(np.mean(values)), "lowest": min(values)} for kind, values in same.items()},
        "same person, mean": float(np.mean(every)),
        "same person, lowest": min(every),
        "different people, mean": others.mean().item(),
        "different people, highest": others.max().item(),
        "distorted pictures without a face": lost,
    }


def measure(rewards, folder: Path) -> dict:
    detector, recognizer = rewards.yunet.YuNet(YUNET), rewards.recognizer.Recognizer(SFACE)
    face_model = rewards.aligned_faces.AlignedFaceModel("YuNet + SFace", "", "", detector, recognizer)
    figures = {"networks": networks(rewards, folder), "crop against OpenCV": crops(rewards)}
    resnet = rewards.recognizer.Recognizer(folder / "r50.onnx")
    second = rewards.aligned_faces.AlignedFaceModel("ResNet-50", "", "", detector, resnet)
    pictures = people(face_model, rewards)
    figures["faces"] = {"expected": EXPECTED_FACES, "found": len(pictures) - 1}
    figures["finite difference of the reward"] = {
        "SFace": finite_differences(rewards, face_model, pictures[0]),
        "mean of two": finite_differences(rewards, rewards.aligned_faces.FaceModelPair(face_model, second), pictures[0]),
    }
    figures["similarity"] = similarities(face_model, pictures)
    return figures


def verdicts(figures: dict) -> dict[str, bool]:
    crop, similarity = figures["crop against OpenCV"], figures["similarity"]
    errors = [error for errors in figures["finite difference of the reward"].values() for error in errors.values()]
    return {
        "networks within 1e-4 of onnxruntime": all(
            row["difference to onnxruntime"] <= 1e-4 for row in figures["networks"].values()
        ),
        "bf16 embeddings at 0.999 or more": all(row.get("bf16 cosine", 1) >= 0.999 for row in figures["networks"].values()),
        "crops within 0.25 of 255 of OpenCV's": crop["mean difference of 255"] <= 0.25,
        "embeddings of crops at 0.999 or more to OpenCV's": crop["embedding cosine"] >= 0.999,
        "gradient of the reward within 1e-3": max(errors) <= 1e-3,
        "all faces of the group photo found": figures["faces"]["found"] == figures["faces"]["expected"],
        "same person at 0.7 or more on average": similarity["same person, mean"] >= 0.7,
        "different people at 0.4 or less": similarity["different people, highest"] <= 0.4,
    }


def print_table(figures: dict, indent: int = 0) -> None:
    for name, value in figures.items():
        if isinstance(value, dict):
            print(f"{'  ' * indent}{name}")
            print_table(value, indent + 1)
        else:
            print(f"{'  ' * indent}{name:<{50 - 2 * indent}} {value:.4g}")


def rounded(figures: dict) -> dict:
    """The same figures with four significant digits."""
    return {
        name: rounded(value) if isinstance(value, dict) else float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in figures.items()
    }


def main() -> None:
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        open_host(Path(folder) / "base")
        pack = load_pack(Path(folder) / "base")
        figures = measure(pack.rewards, Path(folder))
    passed = verdicts(figures)
    print_table(figures)
    for name, subject in (("photos", photos), ("semantic", semantic)):
        part = subject.measure()
        print(*part.pop("text"), sep="\n")
        passed[name] = part.pop("passed")
        figures[name] = part
    for claim, holds in passed.items():
        print(f"{'yes' if holds else 'NO':<4}{claim}")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps({"passed": passed, **rounded(figures)}, indent=1) + "\n")
    if not all(passed.values()):
        sys.exit("make faces: at least one figure is outside its bounds.")


if __name__ == "__main__":
    main()
