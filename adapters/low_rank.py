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

    @property
    def trained(self) -> bool:
        """Whether its weights collect gradients."""
        return self.down.requires_grad

    def weights(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """down and scale * up as ``add_to`` takes them, differentiable where they are trained."""
        return self.down.to(device, dtype), (self.up * self.scale).to(device, dtype)

    def add_to(self, output: Tensor, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """``output`` [..., out_features] of the linear for ``x`` [..., in_features], with the residual of ``weights`` added.

        In place where no gradient is wanted.
        """
        hidden = F.linear(x, down).flatten(0, -2)
        rows, features = len(up), output.shape[-1]
        if _may_write(output, x):
            output.view(-1, features)[:, :rows].addmm_(hidden, up.t())
            return output
        up = F.pad(up, (0, 0, 0, features - rows)).to(output.dtype)
        return torch.addmm(output.flatten(0, -2), hidden.to(output.dtype), up.t()).view_as(output)


class LowRankConv2d(LowRank):
    """The same for the 2-D convolution ``layer``: down [rank, in, k, k], up [out, rank, 1, 1]."""

    def __init__(self, down: Tensor, up: Tensor, scale: float, layer: nn.Conv2d):
        super().__init__(down, up, scale)
        self._stride, self._padding, self._dilation = layer.stride, layer.padding, layer.dilation

    def add_to(self, output: Tensor, x: Tensor, down: Tensor, up: Tensor) -> Tensor:
        residual = F.conv2d(F.conv2d(x, down, None, self._stride, self._padding, self._dilation), up)
        return torch.add(output, residual, out=output if _may_write(output, x) else None)


def _may_write(output: Tensor, x: Tensor) -> bool:
    return not torch.is_grad_enabled() and output.is_contiguous() and output.dtype == x.dtype


class LowRankAdapter(nn.Module):
    """The residuals of a whole model, addressed by the name of the linear they belong to."""

    def __init__(self, residuals: dict[str, LowRank], rank: int, alpha: float):
        super().__init__()
        self._residuals = dict(residuals)
        self.layers = nn.ModuleList(residuals.values())
        self.rank = rank
        self.alpha = alpha

    @classmethod
    def create(cls, targets: list[Target], rank: int, alpha: float, seed: int) -> "LowRankAdapter":
        """A fresh adapter; down is drawn as peft does (uniform, variance 1 / (3 in_features))."""
        generator = torch.Generator().manual_seed(seed)
        residuals = {}
        for target in targets:
            bound = target.in_features**-0.5
            down = torch.empty(rank, target.in_features).uniform_(-bound, bound, generator=generator)
            up = torch.zeros(target.rows, rank)
            residuals[target.name] = LowRank(down, up, alpha / rank)
        return cls(residuals, rank, alpha)

    def residuals(self) -> dict[str, LowRank]:
        """Residuals by the name of their linear."""
        return dict(self._residuals)

    def named_weights(self) -> dict[str, nn.Parameter]:
        """Parameters as ``<linear>.down`` and ``<linear>.up``, in the order of ``parameters()``."""
        return {
            f"{name}.{part}": parameter
            for name, residual in self.residuals().items()
            for part, parameter in residual.named_parameters()
        }
