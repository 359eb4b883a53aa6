"""Metrics for reports, computed from embeddings, head boxes and frames."""

import torch
import torch.nn.functional as F
from torch import Tensor

SHORTEST_CLIP = 4  # frames; head_motion drops one at each end and needs a step between the rest


def pool_similarity(embeddings: Tensor, references: Tensor) -> float:
    """The mean cosine between the embeddings of frames, [F, D], and of the reference pool, [P, D], in -1..1.

    Raises ValueError without a frame or without a reference.
    """
    if not len(embeddings) or not len(references):
        raise ValueError(f"similarity needs a frame and a reference, got {len(embeddings)} and {len(references)}.")
    return (F.normalize(embeddings.float(), dim=-1) @ F.normalize(references.float(), dim=-1).T).mean().item()


def head_motion(boxes: Tensor) -> float:
    """The mean speed of the head in pixels a frame, from its boxes [F, 4] (x0, y0, x1, y1) in pixels.

    A step is the length of the change of (centre x, centre y, half side): coming closer moves the outline of the head, so
    it counts as much as going sideways. Before that, the track is smoothed over time by [1, 2, 1] / 4: a steady motion
    keeps its speed exactly, the locator's flicker from frame to frame vanishes, and its random jitter weighs a third.
    Raises ValueError for fewer than SHORTEST_CLIP frames.
    """
    if len(boxes) < SHORTEST_CLIP:
        raise ValueError(f"head motion needs {SHORTEST_CLIP} frames or more, got {len(boxes)}.")
    low, high = boxes.double().split(2, dim=-1)
    track = torch.cat([(low + high) / 2, (high - low).mean(-1, keepdim=True) / 2], -1)
    smooth = (track[:-2] + 2 * track[1:-1] + track[2:]) / 4
    return smooth.diff(dim=0).norm(dim=-1).mean().item()


def drift_outside(before: Tensor, after: Tensor, boxes: Tensor) -> float:
    """The mean absolute change of the colours, in 0..1, of the pixels that are in no head box of either clip.

    before, after: [F, 3, H, W] in 0..1, of the same seed. boxes: [F, B, 4] in pixels, the heads of both clips together;
    a pixel is in a box if its centre is. Raises ValueError if the boxes cover every pixel.
    """
    height, width = before.shape[-2:]
    x0, y0, x1, y1 = boxes.to(before.device).unbind(-1)
    x = torch.arange(width, device=before.device) + 0.5
    y = torch.arange(height, device=before.device) + 0.5
    columns = (x >= x0[..., None]) & (x <= x1[..., None])
    rows = (y >= y0[..., None]) & (y <= y1[..., None])
    outside = ~(rows[..., :, None] & columns[..., None, :]).any(1)
    if not outside.any():
        raise ValueError("drift outside the head cannot be measured: the head boxes cover every pixel.")
    return (after.float() - before.float()).abs().mean(1)[outside].mean().item()


def agreement(predicted: Tensor, references: Tensor) -> float:
    """The share, in 0..1, of attributes that agree with what most references show.

    predicted [N, A] and references [P, A] hold a class number for each attribute.
    """
    return (predicted == references.mode(0).values).float().mean().item()
