"""Isolated Identity Adapter: the low-rank residuals of Eq. 6."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architectures import Target


class LowRank(nn.Module):
    """One residual ``x -> scale * up(down(x))`` of Eq. 6, without the frozen weight W.

    down [rank, in_features] and up [rows, rank]; scale = alpha / rank. A residual with
    fewer rows than its linear has outputs acts on the first ones, as q, k, v need it
    where one linear also feeds the MLP. A fresh adapter starts as the identity: up is zero.
    """

    def __init__(self, down: Tensor, up: Tensor, scale: float):
        super().__init__()
        self.down = nn.Parameter(down)
        self.up = nn.Parameter(up)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in_features] of any device and float type -> [..., rows] of the same."""
        hidden = F.linear(x, self.down.to(x))
        return F.linear(hidden, self.up.to(x)) * self.scale

    def add_to(self, output: Tensor, x: Tensor, module: nn.Module) -> Tensor:
        """``output`` [..., out_features] of the linear ``module`` for ``x``, with the residual added."""
        rows = len(self.up)
        if rows == output.shape[-1]:
            return output + self(x)
        return torch.cat([output[..., :rows] + self(x), output[..., rows:]], dim=-1)


class LowRankConv2d(LowRank):
    """The same for a 2-D convolution: down [rank, in, k, k], up [out, rank, 1, 1]."""

    def add_to(self, output: Tensor, x: Tensor, module: nn.Conv2d) -> Tensor:
        hidden = F.conv2d(x, self.down.to(x), None, module.stride, module.padding, module.dilation)
        return output + F.conv2d(hidden, self.up.to(x)) * self.scale


class LowRankAdapter(nn.Module):
    """The residuals of a whole model, addressed by the name of the linear they belong to."""

    def __init__(self, residuals: dict[str, LowRank], rank: int, alpha: float):
        super().__init__()
        self.names = list(residuals)
        self.layers = nn.ModuleList(residuals.values())
        self.rank = rank
        self.alpha = alpha

    @classmethod
    def create(cls, targets: list[Target], rank: int, alpha: float, seed: int) -> "LowRankAdapter":
        """A fresh adapter; down is drawn as peft does (uniform, variance 1 / (3 in_features))."""
        generator = torch.Generator().manual_seed(seed)
        residuals = {}
        for target in targets:
            bound = target.in_features ** -0.5
            down = torch.empty(rank, target.in_features).uniform_(-bound, bound, generator=generator)
            up = torch.zeros(target.rows, rank)
            residuals[target.name] = LowRank(down, up, alpha / rank)
        return cls(residuals, rank, alpha)

    def residuals(self) -> dict[str, LowRank]:
        """Residuals by the name of their linear."""
        return dict(zip(self.names, self.layers))

    def named_weights(self) -> dict[str, nn.Parameter]:
        """Parameters as ``<linear>.down`` and ``<linear>.up``, in the order of ``parameters()``."""
        return {
            f"{name}.{part}": parameter
            for name, residual in self.residuals().items()
            for part, parameter in residual.named_parameters()
        }
