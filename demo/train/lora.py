"""LoRAs of the demo's video network: trained beside its frozen layers, saved in the key format that most trainers write."""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ..weights import FOLDER

LORAS = FOLDER.parent / "loras"


class Lora(nn.Module):
    """A low-rank addition to one linear layer, as strong as its rank (alpha = rank); it starts as nothing."""

    def __init__(self, layer: nn.Linear, rank: int):
        super().__init__()
        self.rank = rank
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / math.sqrt(layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))
        layer.register_forward_hook(self.add)

    def add(self, _, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output + F.linear(F.linear(inputs[0], self.down), self.up)


def attach(wan: nn.Module, rank: int) -> dict[str, Lora]:
    """A LoRA on each linear layer of the blocks' attention and feed-forward, by the layer's name."""
    return {
        name: Lora(layer, rank)
        for name, layer in wan.named_modules()
        if name.startswith("blocks.") and isinstance(layer, nn.Linear)
    }


def save(loras: dict[str, Lora], name: str, description: str) -> Path:
    """Write ``demo/loras/demo <name>.safetensors`` in half precision; the path."""
    tensors = {}
    for layer, lora in loras.items():
        key = "lora_unet_" + layer.replace(".", "_")
        tensors[f"{key}.lora_down.weight"] = lora.down.detach().half()
        tensors[f"{key}.lora_up.weight"] = lora.up.detach().half()
        tensors[f"{key}.alpha"] = torch.tensor(float(lora.rank)).half()
    LORAS.mkdir(exist_ok=True)
    path = LORAS / f"demo {name}.safetensors"
    rank = next(iter(loras.values())).rank
    metadata = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(rank)),
        "ss_base_model_version": "personalvideo-demo-wan",
        "modelspec.title": f"Demo {name}",
        "modelspec.description": description,
        "modelspec.license": "Apache-2.0",
    }
    save_file(tensors, path, metadata)
    return path
