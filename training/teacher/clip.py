"""One clip of the original model, whose frames are in memory or in a file that is read when they are looked at."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ...rewards.faces import Face

FRAMES = "frames"
ClipKey = tuple[int, int]
"""The number of the prompt and the seed of the initial noise."""


class StoredFrames:
    """Frames [F, 3, H, W] in a safetensors file. Only those asked for are read, even after the file has been removed."""

    dtype = torch.half

    def __init__(self, path: Path):
        self._frames = safe_open(path, framework="pt").get_slice(FRAMES)
        self.shape = torch.Size(self._frames.get_shape())

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: list[int]) -> Tensor:
        return torch.cat([self._frames[frame : frame + 1] for frame in frames])


@dataclass(frozen=True)
class TeacherClip:
    """The original model's video for one prompt and one initial noise.

    switch_latents: z at the first step of the window. frames: [F, 3, H, W] in 0..1, in half precision, on the CPU.
    faces: the largest face of each frame, None where there is none. scores: [F], R_sem(G_S(z_T, c, i)) of Eq. 3 for each
    frame i, or None without a semantic reward.
    """

    prompt: int
    switch_latents: Tensor
    frames: Tensor | StoredFrames
    faces: list[Face | None]
    scores: Tensor | None

    @property
    def size(self) -> int:
        """The bytes that latents, frames and scores take."""
        parts = [self.switch_latents, self.frames, *([] if self.scores is None else [self.scores])]
        return sum(part.shape.numel() * part.dtype.itemsize for part in parts)

    def to(self, device: torch.device) -> "TeacherClip":
        """The same clip with latents and scores on ``device``; the frames stay where they are."""
        scores = None if self.scores is None else self.scores.to(device)
        return replace(self, switch_latents=self.switch_latents.to(device), scores=scores)

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the prompt as named tensors, from which ``clip_of`` makes the clip again."""
        known = {index: face for index, face in enumerate(self.faces) if face is not None}
        found, faces = list(known), list(known.values())
        tensors = {
            "switch_latents": self.switch_latents,
            FRAMES: self.frames[list(range(len(self.frames)))],
            "face_frames": torch.tensor(found, dtype=torch.int64),
            "face_boxes": torch.tensor([face.box for face in faces], dtype=torch.float64).view(-1, 4),
            "face_scores": torch.tensor([face.score for face in faces], dtype=torch.float64),
        }
        if faces:
            tensors["face_matrices"] = torch.stack([face.matrix.cpu() for face in faces])
        if self.scores is not None:
            tensors["scores"] = self.scores
        return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def clip_of(prompt: int, tensors: dict[str, Tensor], frames: Tensor | StoredFrames) -> TeacherClip:
    """The clip of which ``TeacherClip.tensors`` made ``tensors``; the frames may be missing there, others raise KeyError."""
    faces: list[Face | None] = [None] * len(frames)
    boxes, scores = tensors["face_boxes"].tolist(), tensors["face_scores"].tolist()
    for index, frame in enumerate(tensors["face_frames"].tolist()):
        faces[frame] = Face(tensors["face_matrices"][index], tuple(boxes[index]), scores[index])
    return TeacherClip(prompt, tensors["switch_latents"], frames, faces, tensors.get("scores"))


def clip_difference(one: TeacherClip, other: TeacherClip) -> float:
    """The largest of the relative differences between the latents, frames and scores of two clips.

    It is infinite if their shapes differ. Faces do not count, as those that are barely found come and go with rounding.
    """
    first, second = (
        {name: value for name, value in clip.tensors().items() if not name.startswith("face")} for clip in (one, other)
    )
    if {name: value.shape for name, value in first.items()} != {name: value.shape for name, value in second.items()}:
        return float("inf")
    return max(relative_difference(first[name], second[name]) for name in first)


def relative_difference(one: Tensor, other: Tensor) -> float:
    """The root mean square of ``one - other`` divided by that of ``other``; both have the same shape."""
    one, other = one.float(), other.float()
    difference, size = (one - other).norm().item(), other.norm().item()
    return difference / size if size else difference


def noise_tolerance(dtype: torch.dtype) -> float:
    """The largest relative difference that rounding alone is taken to make between two clips of one model in ``dtype``.

    On the demo model, clips sampled together and alone differ by 1.2e-5 in 32 bits, and clips in half precision differ
    from those in 32 bits by 0.9 of the rounding unit.
    """
    return 1e-4 + 2 * torch.finfo(dtype).eps
