"""The models on which speed is measured, and a way into the middle of a training run."""

import copy
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.models import FullModel, patcher
from devkit import motion_world, tiny_vaes
from devkit.demo_world import DemoWorld
from devkit.family_world import RandomText

# The settings of a user who changes nothing, on the paper's schedule of 50 steps.
SETTINGS = dict(
    sampling_steps=50, gradient_steps=4, num_frames=4, identity_frames=1, preserve_weight=0.0, rank=16, alpha=16.0,
    gradient_checkpointing="steps", learning_rate=1e-4, learning_rate_schedule="constant", augmentation="robust",
)  # fmt: skip
SIZES = {"Wan (demo)": (1, 16, 5, 12, 12), "HunyuanVideo (small)": (1, 16, 5, 16, 16), "SD 1.5 + motion (small)": (16, 4, 8, 8)}
"""The shapes of latents. HunyuanVideo has 3 double and 6 single blocks of width 256, Stable Diffusion 64 to 128 channels.

HunyuanVideo decodes with the demo's VAE: its own, if made small, would cost as much as dozens of calls of a model made as
small, while at full size it costs about one. Its VAE is measured by itself (``growth``).
"""
HUNYUAN = FullModel("", "hunyuan_video", dict(depth=3, depth_single_blocks=6), None, 12)
WORLDS = tuple(SIZES)


def world(pack, name: str):
    """The models of ``name`` with the settings of a real run; a face is found in every frame."""
    with torch.inference_mode():
        made = DemoWorld(pack)
    if name == "HunyuanVideo (small)":
        made.model, made.clip, made.cfg = patcher(HUNYUAN, torch.float32, None), RandomText("hunyuan_video"), 1.0
    elif name == "SD 1.5 + motion (small)":
        made = MotionWorld(made)
    made.name, made.latent = name, torch.zeros(SIZES[name])
    made.settings = replace(made.settings, **SETTINGS | {"cfg": made.cfg})
    show_faces(made)
    return made


def show_faces(world) -> None:
    """Let the face model look as usual, but always find a face in the same place, as random models paint none."""
    world.face_model = copy.copy(world.face_model)
    look, face = partial(type(world.face_model).find, world.face_model), world.pack.demo.faces.head_face

    def find(frames):
        look(frames)
        return [[face(torch.tensor([0.0, -0.1, 0.6]), *frames.shape[-2:], 1.0)] for _ in frames]

    world.face_model.find = find
    world.identity = replace(world.identity, face_model=world.face_model)


class MotionWorld(DemoWorld):
    """A small Stable Diffusion 1.5 with motion modules."""

    def __init__(self, demo: DemoWorld):
        self.__dict__.update(vars(demo))
        with motion_world.motion_loader(self.pack) as load:
            self.model = load(motion_world.tiny_sd15())
        self.clip, self.vae, self.cfg = _Text(), tiny_vaes.image(), 2.0


class _Text:
    def tokenize(self, prompt: str) -> str:
        return prompt

    def encode_from_tokens_scheduled(self, prompt: str) -> list:
        return motion_world.text(len(prompt))


@contextmanager
def _instead_of_training(pack, body: Callable):
    trainer_class = pack.training.trainer.Trainer
    train = trainer_class.train

    def run(trainer, after_step) -> None:
        def one_step() -> None:
            trainer.settings = replace(trainer.settings, steps=trainer.state.step + 1)
            train(trainer, lambda record, preview: None)

        body(trainer, one_step)

    trainer_class.train = run
    try:
        yield
    finally:
        trainer_class.train = train


def inside_training(world, body: Callable, **changes):
    """Start a run whose loop is ``body(trainer, one_step)``, and return it; ``one_step()`` is one of its training steps.

    changes: those to the settings.
    """
    with tempfile.TemporaryDirectory() as folder, _instead_of_training(world.pack, body):
        return world.train(Path(folder) / "a.safetensors", **changes)
