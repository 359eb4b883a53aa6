"""The low-rank matrices of a linear and of its parts: q, k and v are one linear here and three modules in diffusers.

Splitting shares A and cuts B; joining does the reverse. Both keep the residual ``alpha / rank * B @ A`` exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .families import Family, Linear, numbers_in


@dataclass(frozen=True)
class Matrices:
    """A residual ``x -> alpha / rank * up(down(x))``, where down is [rank, in] and up is [out, rank]."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return len(self.down)


def split(family: Family, ours: Mapping[str, Matrices]) -> dict[str, Matrices]:
    """The residuals by the names of their diffusers modules, from ``ours`` by the names in our files.

    Raises ValueError, naming the linear, if one is not the family's or has another shape.
    """
    modules = {}
    for name, matrices in ours.items():
        linear, numbers = _find(family, name, lambda linear: (linear.ours,))
        ups = _cut(linear, name, matrices)
        for part, up in zip(linear.parts, ups):
            modules[part.format(*numbers)] = Matrices(matrices.down, up, matrices.alpha)
    return modules


def join(family: Family, modules: Mapping[str, Matrices]) -> dict[str, Matrices]:
    """The reverse of ``split``, in which missing parts of a fused linear count as zero.

    Raises ValueError, naming the module, if one is not the family's.
    """
    parts_of = {}
    for name, matrices in modules.items():
        linear, numbers = _find(family, name, lambda linear: linear.parts)
        parts = parts_of.setdefault(linear.ours.format(*numbers), (linear, {}))[1]
        parts[next(i for i, part in enumerate(linear.parts) if part.format(*numbers) == name)] = matrices
    return {name: _glue(linear, name, parts) for name, (linear, parts) in parts_of.items()}


def _find(family: Family, name: str, names_of) -> tuple[Linear, tuple[str, ...]]:
    for linear in family.linears:
        for template in names_of(linear):
            numbers = numbers_in(template, name)
            if numbers is not None:
                return linear, numbers
    raise ValueError(f"{name} is no query, key or value of {family.title}")


def _cut(linear: Linear, name: str, matrices: Matrices) -> tuple[Tensor, ...]:
    if len(linear.parts) == 1:
        return (matrices.up,)
    rows, inputs = len(matrices.up), matrices.down.shape[1]
    expected = (3 + linear.mlp_rows) * inputs
    if rows != expected:
        raise ValueError(f"{name} has {rows} rows where {inputs} inputs need {expected}")
    if matrices.up[3 * inputs :].any():
        raise ValueError(f"{name} also changes the MLP, which an identity adapter leaves alone")
    return tuple(part.contiguous() for part in matrices.up[: 3 * inputs].chunk(3))


def _glue(linear: Linear, name: str, parts: dict[int, Matrices]) -> Matrices:
    if len(linear.parts) == 1:
        return parts[0]
    first = next(iter(parts.values()))
    inputs = first.down.shape[1]
    for part in parts.values():
        if part.down.shape[1] != inputs or len(part.up) != inputs:
            raise ValueError(f"{name} would be joined from parts of different sizes")
    if all(torch.equal(part.down, first.down) and part.alpha == first.alpha for part in parts.values()):
        down, alpha, ups = first.down, first.alpha, {i: part.up for i, part in parts.items()}
    else:
        down, alpha, ups = _block_diagonal(parts)
    up = first.up.new_zeros((3 + linear.mlp_rows) * inputs, len(down))
    for index, rows in ups.items():
        up[index * inputs : (index + 1) * inputs] = rows
    return Matrices(down, up, alpha)


def _block_diagonal(parts: dict[int, Matrices]) -> tuple[Tensor, float, dict[int, Tensor]]:
    """(A, alpha, B by part), where A stacks the A of all parts and each B is zero but for the columns of its own part."""
    down = torch.cat([part.down for part in parts.values()])
    scales = {part.alpha / part.rank for part in parts.values()}
    common = scales.pop() if len(scales) == 1 else None
    ups, column = {}, 0
    for index, part in parts.items():
        rows = part.up.new_zeros(len(part.up), len(down))
        factor = 1.0 if common is not None else part.alpha / part.rank
        rows[:, column : column + part.rank] = part.up * factor
        ups[index], column = rows, column + part.rank
    return down, len(down) * (1.0 if common is None else common), ups
