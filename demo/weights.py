"""The files of the demo's networks; each function gives one that is ready to use, in float32 and without gradients."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .networks import FrameVAE, TextEncoder
from .vision import AttributeClassifier, JudgeRecognizer, Locator, RewardRecognizer, Scorer

FOLDER = Path(__file__).parent / "weights"
SCALE = ".scale"

Network = TypeVar("Network", bound=nn.Module)


def pack(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` for a file: matrices and kernels as bytes with a scale for each row, everything else in half precision."""
    packed = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            packed[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.float().flatten(1)
        scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        packed[name] = (rows / scale).round().to(torch.int8).view(tensor.shape)
        packed[name + SCALE] = scale
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for name, tensor in packed.items():
        if tensor.dtype == torch.int8:
            rows = tensor.float().flatten(1) * packed[name + SCALE]
            state[name] = rows.view(tensor.shape)
        elif not name.endswith(SCALE):
            state[name] = tensor
    return state


def save_network(network: nn.Module, name: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    save_file(pack(network.state_dict()), FOLDER / f"{name}.safetensors")


def _load(network: Network, name: str) -> Network:
    network.load_state_dict(unpack(load_file(FOLDER / f"{name}.safetensors")))
    return network.eval().requires_grad_(False)


def frame_vae() -> FrameVAE:
    return _load(FrameVAE(), "vae").to(memory_format=torch.channels_last)


def text_encoder() -> TextEncoder:
    return _load(TextEncoder(), "text_encoder")


def video_network() -> dict[str, Tensor]:
    """The video network's tensors by WanModel's names, in float16, with the demo's 8 channels and a text width of 128."""
    return load_file(FOLDER / "wan.safetensors")


def locator() -> Locator:
    return _load(Locator(), "locator")


def reward_recognizer() -> RewardRecognizer:
    return _load(RewardRecognizer(), "recognizer_reward")


def judge_recognizer() -> JudgeRecognizer:
    return _load(JudgeRecognizer(), "recognizer_judge")


def attribute_classifier() -> AttributeClassifier:
    """The classifier for reports made in the repository; the zip that the registry distributes does not have its file."""
    return _load(AttributeClassifier(), "attributes")


def scorer() -> Scorer:
    return _load(Scorer(), "scorer")
