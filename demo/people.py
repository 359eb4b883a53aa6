"""Who a cartoon person is: eleven parameters of identity, each of them plainly visible."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

ATTRIBUTES = {
    "hair_colour": ("black", "brown", "blond", "ginger", "grey", "blue"),
    "hair_style": ("short", "long", "afro", "spiky"),
    "glasses": ("none", "round", "square"),
    "beard": ("none", "moustache", "full"),
    "eye_colour": ("brown", "green", "blue", "grey"),
}
SHARES = {
    "hair_colour": (1 / 6,) * 6,
    "hair_style": (1 / 4,) * 4,
    "glasses": (0.50, 0.25, 0.25),
    "beard": (0.50, 0.22, 0.28),
    "eye_colour": (1 / 4,) * 4,
}
SHAPES = ("skin", "face_width", "brow_angle", "eye_size", "mouth_width", "nose_size")

SHOWN_PEOPLE = 12
SHOWN_PEOPLE_SEED = 20251122  # chosen before anything was trained


@dataclass
class People:
    """N people: a tensor of integers [N] for each attribute, and ``shape`` [N, 6] in 0..1, see SHAPES."""

    hair_colour: Tensor
    hair_style: Tensor
    glasses: Tensor
    beard: Tensor
    eye_colour: Tensor
    shape: Tensor

    def __len__(self) -> int:
        return len(self.shape)

    def __getitem__(self, index) -> People:
        return People(*(getattr(self, field.name)[index] for field in fields(self)))

    def repeat(self, times: int) -> People:
        """Each person ``times`` times in a row."""
        return People(*(getattr(self, field.name).repeat_interleave(times, 0) for field in fields(self)))

    def look(self) -> Tensor:
        """The number [N] of each person's combination of the five attributes, of which there are 864."""
        code = torch.zeros(len(self), dtype=torch.long)
        for name, values in ATTRIBUTES.items():
            code = code * len(values) + getattr(self, name)
        return code

    def skin(self) -> Tensor:
        """The skin tone [N] from 0, light, to 1, dark."""
        return self.shape[:, 0]

    def describe(self, index: int) -> dict[str, str | float]:
        words = {name: values[int(getattr(self, name)[index])] for name, values in ATTRIBUTES.items()}
        shape = {name: round(float(value), 3) for name, value in zip(SHAPES, self.shape[index])}
        return words | shape


def _draw(count: int, generator: torch.Generator) -> People:
    def pick(shares):
        edges = torch.tensor(shares).cumsum(0)[:-1]
        return torch.bucketize(torch.rand(count, generator=generator), edges)

    shape = torch.rand(count, len(SHAPES), generator=generator)
    return People(*(pick(SHARES[name]) for name in ATTRIBUTES), shape=shape)


def shown_people() -> People:
    """The people of ``demo/identities``; their looks are left out of all training data."""
    return _draw(SHOWN_PEOPLE, torch.Generator().manual_seed(SHOWN_PEOPLE_SEED))


def sample_people(count: int, generator: torch.Generator) -> People:
    """Random people for training and tests, none of whom has the five attributes of one of the shown people."""
    reserved = shown_people().look()
    people = _draw(count, generator)
    while (clash := torch.isin(people.look(), reserved)).any():
        fresh = _draw(int(clash.sum()), generator)
        for field in fields(people):
            getattr(people, field.name)[clash] = getattr(fresh, field.name)
    return people
