"""Identity Consistency Reward (Eq. 2)."""

from typing import NamedTuple

import torch
from torch import Tensor

from .augmentation import augment
from .faces import Face, Identity


class IdentityScore(NamedTuple):
    """loss: scalar with gradient. similarity: mean cosine to the references, not augmented, for the log."""

    loss: Tensor
    similarity: float


def identity_consistency_loss(
    frames: Tensor, faces: list[Face], identity: Identity, augmentation: str, generator: torch.Generator, cap: float = 0.0
) -> IdentityScore:
    """L_ICR of Eq. 2: 1 - COSSim(R_id(I_ref), R_id(G_T(z_T, c, i))), mean over frames and references.

    The paper's text says that the cosine is minimised; its sign is a slip, the
    loss is one minus the cosine.

    frames: [N, 3, H, W] in 0..1, differentiable. faces: where the face is in each of them.
    cap: a frame whose similarity is above it earns nothing more, so that a recognizer is not
    flattered past what one photo of a person has to another; 0 is no cap. Not in the paper.
    """
    face_model = identity.face_model
    crops = face_model.crop(frames, faces)
    with torch.no_grad():
        similarity = identity.similarity(face_model.embed(crops)).mean().item()
    rewards = identity.similarity(face_model.embed(augment(crops, augmentation, generator)))
    if cap:
        rewards = rewards.clamp(max=cap)
    return IdentityScore(1 - rewards.mean(), similarity)
