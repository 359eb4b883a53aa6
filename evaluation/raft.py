"""torchvision's RAFT (Teed and Deng, 2020) with weights from a file; with the C_T weights it is VBench's flow."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

VBENCH_WEIGHTS = "raft_large_C_T_V1-22a6c225.pth"
ITERATIONS = 20
MULTIPLE = 8
SMALLEST_SIDE = 128  # pixels; the correlation pyramid takes no smaller frames


class Raft:
    """The flow network; the caller may move ``network`` to another device.

    weights: the state dict of torchvision's ``raft_large``. Raises ValueError, whose message is the end of a sentence,
    if the weights belong to another network.
    """

    def __init__(self, weights: Mapping[str, Tensor]):
        from torchvision.models.optical_flow import raft_large

        self.network = raft_large(weights=None, progress=False)
        try:
            self.network.load_state_dict(weights)
        except (RuntimeError, TypeError):
            raise ValueError("it holds other weights than those of torchvision's raft_large") from None
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """The flow [2, H, W], in pixels, from a frame [3, H, W] in 0..1 to the next, both on the network's device.

        Frames are padded to multiples of 8 by repeating their edges, and small ones are enlarged by a whole number first.
        """
        height, width = first.shape[-2:]
        enlarge = -(-SMALLEST_SIDE // min(height, width)) if min(height, width) < SMALLEST_SIDE else 1
        frames = torch.stack([first, second]).to(next(self.network.parameters())) * 2 - 1
        if enlarge > 1:
            frames = F.interpolate(frames, scale_factor=enlarge, mode="bilinear", align_corners=False)
        down, across = (-side * enlarge % MULTIPLE for side in (height, width))
        top, left = down // 2, across // 2
        frames = F.pad(frames, (left, across - left, top, down - top), mode="replicate")
        flow = self.network(frames[:1], frames[1:], num_flow_updates=ITERATIONS)[-1]
        flow = flow[..., top : top + height * enlarge, left : left + width * enlarge]
        return F.avg_pool2d(flow, enlarge)[0] / enlarge
