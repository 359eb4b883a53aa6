"""The state of a run on disk: what a cancelled training needs to go on as if never stopped.

A LoRA file holds the adapter; beside it, ``<name>.pvstate`` holds the optimizer
moments and the history. Random draws depend on (seed, step) alone and need no state.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..adapters.lora_file import write_atomically


@dataclass
class StepRecord:
    """One training step; similarity, hit_rate and losses may be nan where no face was found."""

    loss: float
    identity: float
    semantic: float
    preserve: float
    similarity: float
    hit_rate: float


@dataclass
class TrainingState:
    """step: optimizer steps done. history: one record a step. moments: of AdamW, by parameter index."""

    step: int = 0
    history: list[StepRecord] = field(default_factory=list)
    moments: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def capture(self, optimizer: torch.optim.Optimizer) -> None:
        self.moments = optimizer.state_dict()["state"]

    def restore(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.load_state_dict({"state": self.moments, "param_groups": optimizer.state_dict()["param_groups"]})


def state_path(lora_path: Path) -> Path:
    return lora_path.with_suffix(".pvstate")


def save_state(path: Path, state: TrainingState) -> None:
    """Write atomically, as a safetensors file (its own suffix keeps it out of LoRA lists)."""
    tensors = {
        f"{index}.{name}": value.detach().cpu().contiguous()
        for index, moment in state.moments.items()
        for name, value in moment.items()
    }
    metadata = {"step": str(state.step), "history": json.dumps([asdict(record) for record in state.history])}
    write_atomically(path, save(tensors, metadata=metadata))


def load_state(path: Path) -> TrainingState:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        state = TrainingState(int(metadata["step"]), [StepRecord(**r) for r in json.loads(metadata["history"])])
        for key in file.keys():
            index, name = key.split(".")
            state.moments.setdefault(int(index), {})[name] = file.get_tensor(key)
    return state
