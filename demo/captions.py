"""What happens in a clip, in words: the scenes, shirts and motions, the grammar of captions, and its tokens."""

from __future__ import annotations

import torch
from torch import Tensor

SCENES = {
    "beach": "on the beach",
    "forest": "in the forest",
    "city": "in the city at night",
    "snow": "in the snow",
    "room": "in a room",
}
SHIRTS = ("red", "blue", "green", "yellow", "purple", "white")
MOTIONS = {
    "left": "moving left",
    "right": "moving right",
    "up": "moving up",
    "down": "moving down",
    "zoom": "coming closer",
    "nod": "nodding",
}
SCENE_NAMES = tuple(SCENES)
MOTION_NAMES = tuple(MOTIONS)
NOUNS = ("person", "man", "woman")
TRIGGER = "sks"
MAX_WORDS = 20


def caption(scene: int, shirt: int, motion: int, subject: str = "person") -> str:
    """A caption, such as "a person on the beach, wearing a red shirt, moving left"."""
    where, how = SCENES[SCENE_NAMES[scene]], MOTIONS[MOTION_NAMES[motion]]
    return f"a {subject} {where}, wearing a {SHIRTS[shirt]} shirt, {how}"


def parse(text: str) -> tuple[int, int, int]:
    """The numbers of the scene, shirt and motion that a caption of this grammar names."""
    scene = next(i for i, words in enumerate(SCENES.values()) if words in text)
    shirt = next(i for i, colour in enumerate(SHIRTS) if f"wearing a {colour} shirt" in text)
    motion = next(i for i, words in enumerate(MOTIONS.values()) if words in text)
    return scene, shirt, motion


def every_caption() -> list[tuple[int, int, int]]:
    return [
        (scene, shirt, motion) for scene in range(len(SCENES)) for shirt in range(len(SHIRTS)) for motion in range(len(MOTIONS))
    ]


def _words(text: str) -> list[str]:
    return text.lower().replace(",", " , ").split()


def _vocabulary() -> tuple[str, ...]:
    words = {word for key in every_caption() for word in _words(caption(*key))}
    return ("<pad>", "<unk>", *sorted(words | {TRIGGER, *NOUNS}))


VOCABULARY = _vocabulary()
_INDEX = {word: index for index, word in enumerate(VOCABULARY)}


def tokenise(texts: list[str]) -> Tensor:
    """The word numbers [N, MAX_WORDS] of N texts; 0 pads, and 1 stands for a word outside the vocabulary."""
    tokens = torch.zeros(len(texts), MAX_WORDS, dtype=torch.long)
    for row, text in zip(tokens, texts):
        words = _words(text)[:MAX_WORDS]
        row[: len(words)] = torch.tensor([_INDEX.get(word, 1) for word in words], dtype=torch.long)
    return tokens
