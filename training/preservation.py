"""The preservation loss, which keeps the picture around the head: the L1 distance to the teacher's frames there.

It is not in the paper. An adapter that acts only in the late steps can still repaint shirts and backgrounds; this term
asks it not to, and leaves the face to the identity reward.
"""

import torch
from torch import Tensor

from ..rewards.faces import Face


def outside_heads(faces: list[Face | None], height: int, width: int) -> Tensor:
    """Mask [N, 1, H, W] that is 1 outside the head's box; it is 0 everywhere in frames without a known face."""
    mask = torch.zeros(len(faces), 1, height, width)
    for index, face in enumerate(faces):
        if face is None:
            continue
        left, top, right, bottom = (max(0, round(edge)) for edge in face.box)
        mask[index] = 1
        mask[index, :, top:bottom, left:right] = 0
    return mask


def preservation_loss(student: Tensor, teacher: Tensor, faces: list[Face | None]) -> Tensor:
    """The mean absolute difference of ``student`` and ``teacher`` [N, 3, H, W], both in 0..1, outside the heads.

    The ``faces`` are the teacher's, so that a head that leaves its place costs something too.
    """
    mask = outside_heads(faces, *student.shape[-2:]).to(student)
    difference = (student - teacher.to(student)).abs() * mask
    return difference.sum() / (3 * mask.sum()).clamp(min=1)
