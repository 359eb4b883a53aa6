"""HPSv2, HPSv2.1, PickScore and plain CLIP as a semantic reward."""

import html
import weakref
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..sentences import one_line
from .clip_files import inspect, load_tower
from .semantic import SemanticReward

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
PROMPTS_TOGETHER = 8
_STRAIGHT_QUOTES = str.maketrans("‘’“”", "''\"\"")


class ClipScorer(SemanticReward):
    """A CLIP model from a file; only its vision tower stays in memory.

    path: the checkpoint, see ``clip_files``. tokenizer: folder with the vocabulary of CLIP.
    logit_scale: 0 takes the file's own. ValueError: the file cannot be used.

    Frames are prepared as the model's authors do: HPSv2 sees the whole frame in a black square
    (recognised by "hps" in the file's name), every other model the square in its middle.
    """

    def __init__(self, path: Path, tokenizer: Path, logit_scale: float = 0.0):
        self.name = one_line(path.name)
        self._file = inspect(path)
        self._tokenizer = tokenizer
        self.logit_scale = logit_scale or self._file.logit_scale
        self.prepare = letterbox if "hps" in path.name.lower() else centre_crop
        self.networks = towers = self._load("vision")
        self._vision = towers["vision"]
        self._text: weakref.ref[nn.ModuleDict] | None = None

    @property
    def text_networks(self) -> nn.ModuleDict:
        """The text tower: read from disk for who asks, and out of memory when nobody holds it any more."""
        tower = self._text() if self._text else None
        if tower is None:
            tower = self._load("text")
            self._text = weakref.ref(tower)
        return tower

    @torch.inference_mode(False)
    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> Tensor:
        tower = self.text_networks["text"]
        device = next(tower.parameters()).device
        tokens = tokenise(prompts, self._tokenizer, self._file.context_length).to(device)
        features = [tower(input_ids=part).text_embeds for part in tokens.split(PROMPTS_TOGETHER)]
        return F.normalize(torch.cat(features).float(), dim=-1)

    def encode_image(self, frames: Tensor) -> Tensor:
        pixels = self.prepare(frames.float(), self._file.image_size)
        weight = next(self._vision.parameters())
        features = self._vision(pixel_values=normalise(pixels).to(weight)).image_embeds
        return F.normalize(features.float(), dim=-1)

    @torch.inference_mode(False)
    def _load(self, tower: str) -> nn.ModuleDict:
        return nn.ModuleDict({tower: load_tower(self._file, tower)})


def letterbox(frames: Tensor, size: int) -> Tensor:
    """The whole frames [N, 3, H, W] in black squares [N, 3, size, size], as HPSv2 prepares them. Differentiable."""
    height, width = frames.shape[-2:]
    scale = max(height, width) / size
    height, width = round(height / scale), round(width / scale)
    frames = _resize(frames, height, width)
    top, left = (size - height) // 2, (size - width) // 2
    return F.pad(frames, (left, size - width - left, top, size - height - top))


def centre_crop(frames: Tensor, size: int) -> Tensor:
    """The middle squares [N, 3, size, size] of frames [N, 3, H, W], as CLIP prepares them. Differentiable."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    height, width = size * height // short, size * width // short
    frames = _resize(frames, height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return frames[..., top : top + size, left : left + size]


def _resize(frames: Tensor, height: int, width: int) -> Tensor:
    """Bicubic with antialiasing as Pillow's: across, then down, each time cut off at black and white."""
    for shape in ((frames.shape[-2], width), (height, width)):
        if tuple(frames.shape[-2:]) != shape:
            frames = F.interpolate(frames, size=shape, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return frames


def normalise(pixels: Tensor) -> Tensor:
    mean, std = (pixels.new_tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels - mean) / std


def tokenise(prompts: list[str], folder: Path, length: int) -> Tensor:
    """CLIP's tokens [N, length] of cleaned prompts, cut at ``length`` and filled with zeros."""
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
    tokens = torch.zeros(len(prompts), length, dtype=torch.long)
    for row, prompt in zip(tokens, prompts):
        ids = tokenizer(_clean(prompt), truncation=True, max_length=length)["input_ids"]
        row[: len(ids)] = torch.tensor(ids)
    return tokens


def _clean(prompt: str) -> str:
    text = html.unescape(html.unescape(prompt)).translate(_STRAIGHT_QUOTES)
    return " ".join(text.split())
