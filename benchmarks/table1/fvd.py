"""The FVD column of Table 1: how far the videos of each method are, as a set, from a folder of real ones.

Features are those of torchvision's S3D, as no maintained library has FVD's I3D (see video_features.py), and figures by the
two cannot be compared. They also shrink as the number of videos grows: compare methods that have equally many.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.table1.frechet import frechet_distance
from benchmarks.table1.video_features import CLIP_FRAMES, WEIGHTS_FILE, video_features, video_network
from devkit import hostless_pack  # noqa: F401
from personalvideo_pack.evaluation.frames import evenly_spaced

FEWEST = 2  # fewer videos have no covariance
KEPT_EVERY = 25  # videos


def read_frames(path: Path) -> Tensor:
    """The evenly spaced frames [16, 3, H, W] in 0..1 of a video file that its features need.

    They are as ComfyUI's Load Video gives them: upright, and converted with more than 8 bits, as FFmpeg would otherwise
    take the nearest colour sample instead of interpolating. Raises ValueError if there is no video in the file.
    """
    try:
        total = sum(1 for _ in _decoded(path))  # what files say about their length is not always true
        places = evenly_spaced(total, CLIP_FRAMES) if total else []
        frames = {
            index: np.rot90(frame.to_ndarray(format="gbrp16le"), round(frame.rotation / 90))
            for index, frame in enumerate(_decoded(path))
            if index in places
        }
    except (av.FFmpegError, IndexError):
        places = []
    if not places:
        raise ValueError(f"fvd: {path} cannot be read as a video; take it out of the folder.")
    pixels = np.stack([frames[place] for place in places]).astype(np.float32) / 65535
    return torch.from_numpy(pixels).movedim(-1, 1)


def _decoded(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises almost anything
        raise ValueError(f"fvd: weights: {path} cannot be read; take torchvision's {WEIGHTS_FILE}.") from error


class Features:
    """Computes S3D features of video files and remembers them in ``store``; the weights are read once a file is new."""

    def __init__(self, weights: Path, store: Path, say: Callable[[str], None] = print):
        self.weights, self.store, self.say = weights, store, say
        self._known = load_file(store) if store.exists() else {}
        self._network = None

    def of(self, paths: Sequence[Path]) -> Tensor:
        """The features [N, 1024] of N video files."""
        keys = [f"{_stamp(path)} by {_stamp(self.weights)}" for path in paths]
        new = [(key, path) for key, path in zip(keys, paths) if key not in self._known]
        if new and self._network is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self._network = video_network(_weights(self.weights)).to(device)
        for number, (key, path) in enumerate(new, 1):
            self.say(f"FVD: {number} of {len(new)} new videos: {path.name}")
            self._known[key] = video_features(self._network, [read_frames(path)])[0]
            if number % KEPT_EVERY == 0 or number == len(new):
                self._keep()
        return torch.stack([self._known[key] for key in keys])

    def _keep(self) -> None:
        part = self.store.with_suffix(".part")
        save_file(self._known, part)
        part.replace(self.store)


def _stamp(path: Path) -> str:
    """A stamp of the file as it is now."""
    return f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"


def distances(features: Features, real: Sequence[Path], methods: Mapping[str, Sequence[Path]]) -> dict[str, float]:
    """The distance to the real videos of each method that has at least FEWEST; ValueError if fewer real ones are there."""
    if len(real) < FEWEST:
        raise ValueError(f"fvd: real has {len(real)} videos, and {FEWEST} or more are needed; better some hundred.")
    target = features.of(real)
    return {name: frechet_distance(features.of(paths), target) for name, paths in methods.items() if len(paths) >= FEWEST}
