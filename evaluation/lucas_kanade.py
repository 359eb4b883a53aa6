"""Dense optical flow after Lucas and Kanade (1981), from coarse to fine, for when no learned flow is available.

It is our own, so that it is the same on every computer and runs where the frames are; ComfyUI brings none of the libraries
that have a classical flow (OpenCV, scikit-image).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST_SIDE = 384  # pixels; larger frames are reduced to it, and their flow is enlarged
COARSEST_SIDE = 16  # pixels of the shorter side at the top of the pyramid
SMOOTHING, WINDOW = 1.0, 2.0  # standard deviations, in pixels, of the noise filter and of the window around a place
ITERATIONS = 4  # on each level; more of them follow single wrong vectors further
LONGEST_STEP = 1.0  # pixels that an iteration may add, within which the linear model holds
FLATNESS = 5e-4  # with a smaller squared gradient (colours in 0..1) a place tells nothing and keeps its coarser flow
UNLIKE = 0.05  # a pixel counts less from this difference of colours on, as it shows something else
NOISE = 0.005  # so small a difference of colours is no evidence of motion
MEDIAN_SIDE = 5  # pixels, of the filter that removes single wrong vectors


@torch.no_grad()
def lucas_kanade(first: Tensor, second: Tensor) -> Tensor:
    """The flow [2, H, W] (x, y), in pixels, from a frame [3, H, W] in 0..1 to the next: what is at p moves to p + flow."""
    height, width = first.shape[-2:]
    shrink = min(1.0, LONGEST_SIDE / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    levels = [tuple(_gaussian(_resized(frame[None].float(), size), SMOOTHING) for frame in (first, second))]
    while min(levels[-1][0].shape[-2:]) >= 2 * COARSEST_SIDE:
        size = tuple(-(-side // 2) for side in levels[-1][0].shape[-2:])
        levels.append(tuple(_resized(frame, size) for frame in levels[-1]))
    flow = levels[-1][0].new_zeros(1, 2, *size)
    for start, end in reversed(levels):
        flow = _refine(start, end, _enlarged(flow, start.shape[-2:]))
    return _enlarged(flow, (height, width))[0]


def _refine(start: Tensor, end: Tensor, flow: Tensor) -> Tensor:
    """One level: refine ``flow`` by iterated least squares in each window, then choose the best flow for each place."""
    before = flow
    dx, dy = _gradient(start)
    products = torch.cat([_sum(dx * dx), _sum(dx * dy), _sum(dy * dy)], 1)
    for _ in range(ITERATIONS):
        seen, inside = _follow(end, flow)
        difference = start - seen
        weight = inside * UNLIKE**2 / (_sum(difference.square()) + UNLIKE**2)
        mismatch = torch.cat([_sum(dx * difference), _sum(dy * difference)], 1)
        xx, xy, yy, x, y = _gaussian(torch.cat([products, mismatch], 1) * weight, WINDOW).unbind(1)
        xx, yy = xx + FLATNESS, yy + FLATNESS
        step = torch.stack([yy * x - xy * y, xx * y - xy * x], 1) / (xx * yy - xy * xy)[:, None]
        length = torch.hypot(*step.unbind(1))[:, None]
        flow = flow + step * (LONGEST_STEP / length.clamp(min=LONGEST_STEP))
    return _best(start, end, [torch.zeros_like(flow), before, _median(flow)])


def _best(start: Tensor, end: Tensor, flows: list[Tensor]) -> Tensor:
    """For each place, the one of ``flows`` whose window differs least; a later one has to be better by NOISE."""
    errors = []
    for flow in flows:
        seen, inside = _follow(end, flow)
        differs, counts = _gaussian(torch.cat([_sum((start - seen).square()) * inside, inside], 1), WINDOW).split(1, 1)
        errors.append(differs / counts.clamp(min=1e-6) + NOISE**2 * len(errors))
    best = torch.cat(errors, 1).argmin(1)[:, None, None]
    return torch.stack(flows, 1).gather(1, best.expand(-1, -1, 2, -1, -1))[:, 0]


def _follow(frame: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """The colours of ``frame`` where the flow leads, and [1, 1, H, W], 1 where that is inside the frame and 0 elsewhere."""
    height, width = frame.shape[-2:]
    x = torch.arange(width, device=frame.device) + flow[:, 0]
    y = torch.arange(height, device=frame.device)[:, None] + flow[:, 1]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return F.grid_sample(frame, grid, padding_mode="border", align_corners=False), inside[:, None].to(frame)


def _gradient(frame: Tensor) -> tuple[Tensor, Tensor]:
    """The central differences along x and along y."""
    padded = F.pad(frame, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return dx, dy


def _sum(values: Tensor) -> Tensor:
    return values.sum(1, keepdim=True)


def _resized(frame: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(frame.shape[-2:]) == size:
        return frame
    return F.interpolate(frame, size=size, mode="bilinear", antialias=True, align_corners=False)


def _enlarged(flow: Tensor, size: tuple[int, int]) -> Tensor:
    scale = flow.new_tensor([size[1] / flow.shape[-1], size[0] / flow.shape[-2]]).view(1, 2, 1, 1)
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * scale


def _gaussian(values: Tensor, deviation: float) -> Tensor:
    reach = round(3 * deviation)
    places = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    weights = torch.softmax(-places.square() / (2 * deviation**2), 0)
    channels = values.shape[1]
    across, down = (weights.view(shape).repeat(channels, 1, 1, 1) for shape in ((1, 1, 1, -1), (1, 1, -1, 1)))
    values = F.pad(values, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(values, across, groups=channels), down, groups=channels)


def _median(flow: Tensor) -> Tensor:
    padded = F.pad(flow, (MEDIAN_SIDE // 2,) * 4, mode="replicate")
    around = padded.unfold(2, MEDIAN_SIDE, 1).unfold(3, MEDIAN_SIDE, 1)
    return around.flatten(-2).median(-1).values
