"""A tiny random model of a family in place of the demo's, with the shortcuts of `DemoWorld`."""

import copy
import zlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from devkit.demo_world import DemoWorld
from devkit.families import FAMILIES, conditioning, load_family
from devkit.tiny_vaes import VAES

VAE_OF = {
    "sd15": "image", "hunyuan_video": "hunyuan", "hunyuan_video_15": "hunyuan 1.5", "wan21": "wan 2.1",
    "wan22_14b": "wan 2.1", "wan22_5b": "wan 2.2", "ltxv": "ltx", "cogvideox": "cogvideo",
}  # fmt: skip


class RandomText:
    """Stands in for the family's text encoder and gives each prompt random features, always the same ones."""

    def __init__(self, family: str):
        self.family = family

    def tokenize(self, prompt: str) -> str:
        return prompt

    def encode_from_tokens_scheduled(self, prompt: str) -> list:
        return conditioning(self.family, zlib.crc32(prompt.encode()))


class FamilyWorld(DemoWorld):
    """A model, clip and vae of ``family``, with the demo's rewards and identity and a face that never moves.

    The random VAE paints no faces, so the identity is looked for at a fixed place.
    """

    def __init__(self, demo: DemoWorld, family: str, folder: Path):
        self.__dict__.update(vars(demo))
        self.family = family
        self.model = load_family(demo.pack, family, folder)
        self.clip = RandomText(family)
        self.vae = VAES[VAE_OF[FAMILIES[family].name]].build()
        self.latent = torch.zeros(FAMILIES[family].latent_shape)
        self.cfg = 2.0 if FAMILIES[family].cfg else 1.0
        self.settings = replace(self.settings, cfg=self.cfg, steps=2)
        self.face_model = copy.copy(demo.face_model)
        self.face_model.find = self._still_faces
        self.identity = replace(demo.identity, face_model=self.face_model)

    @cached_property
    def base_clip(self) -> torch.Tensor:
        """The latents that the model makes by itself."""
        return self.sample(self.model)

    @cached_property
    def late_clip(self) -> torch.Tensor:
        """The latents that the model makes with ``random_lora`` in its window."""
        return self.sample(self.apply(self.model, self.random_lora()))

    def _still_faces(self, frames):
        height, width = frames.shape[-2:]
        face = self.pack.demo.faces.head_face(torch.tensor([0.0, -0.1, 0.6]), height, width, 1.0)
        return [[face]] * len(frames)

    def encode(self, prompt: str) -> list:
        return self.clip.encode_from_tokens_scheduled(prompt)

    def decode(self, latents) -> torch.Tensor:
        """The frames [F, 3, H, W] in 0..1 that the core's VAE Decode gives."""
        with torch.inference_mode():
            return self.vae.decode(latents).flatten(0, -4).movedim(-1, 1)
