"""Keeping the rest of the picture: an L1 to the teacher's frames outside the head.

Not in the paper. The late window can still repaint shirts and backgrounds; this
term asks it not to, without touching the face that the identity reward shapes.
"""

import torch
from torch import Tensor

from ..rewards.faces import Face


def outside_heads(faces: list[Face | None], height: int, width: int) -> Tensor:
    """Mask [N, 1, H, W]: 1 outside the head box, all 0 where no face is known."""
    mask = torch.zeros(len(faces), 1, height, width)
    for index, face in enumerate(faces):
        if face is None:
            continue
        left, top, right, bottom = (max(0, round(edge)) for edge in face.box)
        mask[index] = 1
        mask[index, :, top:bottom, left:right] = 0
    return mask


def preservation_loss(student: Tensor, teacher: Tensor, faces: list[Face | None]) -> Tensor:
    """Mean absolute RGB difference (0..1) outside the heads; student and teacher [N, 3, H, W].

    faces: the teacher's, so that a head which wanders off its place costs, too.
    """
    mask = outside_heads(faces, *student.shape[-2:]).to(student)
    difference = (student - teacher.to(student)).abs() * mask
    return difference.sum() / (3 * mask.sum()).clamp(min=1)
