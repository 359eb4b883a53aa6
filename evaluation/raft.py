"""RAFT (Teed and Deng, 2020), torchvision's, from a weights file; VBench's flow is its C_T weights with 20 iterations."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

VBENCH_WEIGHTS = "raft_large_C_T_V1-22a6c225.pth"
ITERATIONS = 20
MULTIPLE = 8
SMALLEST_SIDE = 128  # pixels; its correlation pyramid takes no less


class Raft:
    """weights: the state dict of torchvision's ``raft_large``. network: for the caller to move.

    ValueError, the end of a sentence: weights of another network.
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
        """Flow [2, H, W] in pixels from one frame [3, H, W] in 0..1 to the next, on the network's device.

        Frames are padded by their edges to a multiple of 8; small ones are enlarged by a whole number.
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
