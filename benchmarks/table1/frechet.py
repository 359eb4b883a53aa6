"""The Frechet distance between two sets of videos, whose features are taken for Gaussians.

It comes from Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (2017), for pictures, and from Unterthiner et
al., "Towards Accurate Generative Models of Video" (FVD, 2018), for videos. It compares sets, so it says nothing about a
single video, and it shrinks as they grow: compare only distances between sets of the same sizes.
"""

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)) for features [N, D] and [M, D], with covariances over N - 1.

    With centred features A and B, scaled so that C1 = A'A and C2 = B'B, the trace of the root is the sum of the singular
    values of A B'. That is exact even with fewer videos than features, where C1 C2 has no stable root. Raises ValueError
    if a set has fewer than two videos or the features come from different networks.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"a Frechet distance needs 2 or more videos a set, got {len(first)} and {len(second)}.")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"features of {first.shape[1]} and {second.shape[1]} numbers are of different networks.")
    first, second = first.double(), second.double()
    a, b = (_centred(features) for features in (first, second))
    means = (first.mean(0) - second.mean(0)).square().sum()
    root = torch.linalg.svdvals(a @ b.T).sum()
    return (means + a.square().sum() + b.square().sum() - 2 * root).clamp(min=0).item()


def _centred(features: Tensor) -> Tensor:
    return (features - features.mean(0)) / (len(features) - 1) ** 0.5
