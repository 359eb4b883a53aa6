"""Small networks that look at frames: the head locator, recognizers, attribute classifier and image-text scorer.

All of them take pictures [N, 3, H, W] in 0..1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .captions import VOCABULARY
from .people import ATTRIBUTES
from .world import CROP_SIZE


def _convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, activation: nn.Module | None = None):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), activation or nn.ReLU()
    )


def _strided(widths: tuple[int, ...]) -> nn.Sequential:
    """Convolutions with these ``widths``, each of which halves the picture."""
    return nn.Sequential(*(_convolution(a, b, stride=2) for a, b in zip((3, *widths), widths)), nn.Flatten())


class _SkipLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.down = _convolution(inputs, outputs, stride=2, activation=nn.PReLU(outputs))
        self.same = _convolution(outputs, outputs, activation=nn.PReLU(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return x + self.same(x)


class _PatchLayer(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.change = nn.Sequential(nn.BatchNorm2d(width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


class Trunk(nn.Module):
    """Turns head crops [N, 3, 40, 40] into embeddings [N, dim] of length 1."""

    def __init__(self, body: nn.Module, features: int, dim: int):
        super().__init__()
        self.body, self.head = body, nn.Linear(features, dim)

    def forward(self, crops: Tensor) -> Tensor:
        return F.normalize(self.head(self.body(crops * 2 - 1).flatten(1)).float(), dim=-1)


def strided_trunk(dim: int = 64) -> Trunk:
    """A trunk of strided convolutions with skips, which ends at 3 x 3 places."""
    widths = (3, 32, 64, 96, 112)
    return Trunk(nn.Sequential(*(_SkipLayer(a, b) for a, b in zip(widths, widths[1:]))), widths[-1] * 9, dim)


def pooled_trunk(dim: int = 64) -> Trunk:
    """A trunk with average pooling, GELU and a wide first kernel, which ends at 3 x 3 places."""
    layers, inputs = [], 3
    for outputs, kernel in ((24, 5), (48, 3), (80, 3), (112, 3)):
        layers += [_convolution(inputs, outputs, kernel, activation=nn.GELU()), nn.AvgPool2d(2, ceil_mode=True)]
        inputs = outputs
    return Trunk(nn.Sequential(*layers), inputs * 9, dim)


def patch_trunk(dim: int = 96, width: int = 80, layers: int = 5) -> Trunk:
    """A trunk that takes patches of 6 x 6 pixels every 4 pixels, with residual layers that keep that size."""
    body = nn.Sequential(
        nn.Conv2d(3, width, 6, stride=4, padding=1),
        *(_PatchLayer(width) for _ in range(layers)),
        nn.BatchNorm2d(width),
        nn.SiLU(),
        nn.AvgPool2d(2),
    )
    return Trunk(body, width * 25, dim)


class RewardRecognizer(nn.Module):
    """Two trunks side by side, so that the cosine of two embeddings is the mean of both trunks' cosines."""

    def __init__(self):
        super().__init__()
        self.trunks = nn.ModuleList([strided_trunk(), pooled_trunk()])

    def forward(self, crops: Tensor) -> Tensor:
        return torch.cat([trunk(crops) for trunk in self.trunks], -1) / math.sqrt(len(self.trunks))


class JudgeRecognizer(nn.Module):
    """The recognizer for figures, never a reward; it shares neither architecture nor training people with the reward's."""

    def __init__(self):
        super().__init__()
        self.trunk = patch_trunk()

    def forward(self, crops: Tensor) -> Tensor:
        return self.trunk(crops)


class Locator(nn.Module):
    """Finds in frames [N, 3, 64, 64] the head's box [N, 3], (cx, cy, s), and a logit [N] that there is a person."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 48, 64)):
        super().__init__()
        self.body = _strided(widths)
        self.hidden = nn.Sequential(nn.Linear(widths[-1] * 16, 96), nn.ReLU())
        self.box, self.presence = nn.Linear(96, 3), nn.Linear(96, 1)
        self.register_buffer("usual", torch.tensor([0.0, -0.13, 0.6]))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        features = self.hidden(self.body(frames * 2 - 1))
        return self.usual + 0.3 * self.box(features).float(), self.presence(features).float()[:, 0]


class AttributeClassifier(nn.Module):
    """Gives head crops [N, 3, 40, 40] logits [N, values] for each attribute, and a skin tone [N] from 0, light, to 1, dark."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 80)):
        super().__init__()
        self.body = _strided(widths)
        side = math.ceil(CROP_SIZE / 2 ** len(widths))
        self.hidden = nn.Sequential(nn.Linear(widths[-1] * side**2, 96), nn.ReLU())
        self.answers = nn.ModuleDict({name: nn.Linear(96, len(values)) for name, values in ATTRIBUTES.items()})
        self.skin = nn.Linear(96, 1)

    def forward(self, crops: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        features = self.hidden(self.body(crops * 2 - 1))
        logits = {name: answer(features).float() for name, answer in self.answers.items()}
        return logits, self.skin(features).float()[:, 0]


class Scorer(nn.Module):
    """The demo world's CLIP, which embeds frames and captions with length 1; it reads the scene and the shirt."""

    def __init__(self, dim: int = 48, widths: tuple[int, ...] = (24, 48, 64, 96)):
        super().__init__()
        self.image_network = nn.Sequential(_strided(widths), nn.Linear(widths[-1] * 16, dim))
        self.words = nn.Embedding(len(VOCABULARY), 64)
        self.text_network = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, dim))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def image(self, frames: Tensor) -> Tensor:
        return F.normalize(self.image_network(frames * 2 - 1).float(), dim=-1)

    def text(self, tokens: Tensor) -> Tensor:
        """The embeddings of captions, given as tokens [N, 20] by ``captions.tokenise``."""
        there = (tokens > 0).float()[..., None]
        return F.normalize(self.text_network((self.words(tokens) * there).sum(1) / 4).float(), dim=-1)

    @property
    def logit_scale(self) -> float:
        """The factor that turns a cosine into a logit."""
        return self.log_scale.exp().item()
