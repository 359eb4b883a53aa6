"""Aligned face crops: the 5-point similarity transform of face recognizers, sampled differentiably.

Where a crop lies is worked out on the CPU in float64, which not every device has; pixels stay where
they are.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TEMPLATE_SIZE = 112
# Where ArcFace, SFace and their kin expect the left eye, right eye, nose tip and mouth corners (as
# seen in the picture) in a crop of 112 x 112 pixels.
TEMPLATE = torch.tensor(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], dtype=torch.float64
)
MAX_STEP = 1.5  # frame pixels between samples; above it bilinear sampling skips pixels and crops flicker


def similarity_matrices(landmarks: Tensor) -> Tensor:
    """landmarks [N, 5, 2] in frame pixel centres -> [N, 2, 3], crop pixel centres to frame pixel centres.

    The inverse of the rotation, scale and shift that brings the landmarks closest to TEMPLATE, in
    float64. Solved in closed form: with points as complex numbers it is the line d = a s + b.
    """
    source = torch.view_as_complex(landmarks.cpu().double().contiguous())
    target = torch.view_as_complex(TEMPLATE)
    source_mean, target_mean = source.mean(dim=1), target.mean()
    centred = source - source_mean[:, None]
    a = (centred.conj() * (target - target_mean)).sum(dim=1) / centred.abs().square().sum(dim=1)
    inverse = 1 / a
    shift = source_mean - inverse * target_mean
    rows = [inverse.real, -inverse.imag, shift.real, inverse.imag, inverse.real, shift.imag]
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def matrix_scale(matrix: Tensor) -> float:
    """Frame pixels per crop pixel of a [2, 3] matrix."""
    return torch.linalg.det(matrix[:, :2].cpu().double()).abs().sqrt().item()


def map_points(matrices: Tensor, points: Tensor) -> Tensor:
    """Points [N, P, 2] in crop pixels -> frame pixels, by matrices [N, 2, 3]."""
    return points @ matrices[:, :, :2].mT + matrices[:, None, :, 2]


def crop_similarity(frames: Tensor, matrices: Tensor, size: int, padding: str = "border", samples: int = 1) -> Tensor:
    """Resample squares of ``size`` pixels out of frames [N, 3, H, W]; differentiable in the frames.

    matrices [N, 2, 3] map crop pixel centres to frame pixel centres, as OpenCV's ``warpAffine``
    does with WARP_INVERSE_MAP. padding: "border" replicates, "zeros" is black outside the frame.
    Each crop pixel is the mean of ``samples`` x ``samples`` bilinear ones.
    """
    height, width = frames.shape[-2:]
    count = size * samples
    axis = (torch.arange(count, dtype=torch.float64) + 0.5) / samples - 0.5
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([x, y], dim=-1).view(1, -1, 2)
    located = map_points(matrices.cpu().double(), points)
    grid = (located + 0.5) * located.new_tensor([2 / width, 2 / height]) - 1
    grid = grid.view(len(frames), count, count, 2).to(frames)
    crops = F.grid_sample(frames, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return F.avg_pool2d(crops, samples) if samples > 1 else crops


def aligned_crops(frames: Tensor, matrices: Tensor, size: int = TEMPLATE_SIZE, padding: str = "zeros") -> Tensor:
    """One crop a frame as OpenCV's ``alignCrop`` makes it; of large faces pixels are averaged, not skipped."""
    crops = [
        crop_similarity(frame[None], matrix[None], size, padding, max(1, math.ceil(matrix_scale(matrix) / MAX_STEP)))
        for frame, matrix in zip(frames, matrices)
    ]
    return torch.cat(crops)
