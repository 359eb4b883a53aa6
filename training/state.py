"""The state of a run on disk: what a cancelled training needs to go on as if never stopped.

``<name>.pvstate`` lies beside the LoRA and holds the adapter, the optimizer moments and
the history in one file, so that they can never disagree. Random draws depend on
(seed, step) alone and need no state.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ..adapters.lora_file import load_info, write_atomically
from ..adapters.low_rank import LowRankAdapter
from .settings import TrainingSettings

SUFFIX = ".pvstate"  # safetensors inside; a name of its own keeps it out of LoRA lists
MOMENT = "@"  # between a weight's name and the name of its optimizer moment


@dataclass(frozen=True)
class StepRecord:
    """One training step. loss, identity and similarity are nan where no face was found."""

    loss: float
    identity: float
    semantic: float
    preserve: float
    similarity: float
    hit_rate: float


@dataclass
class TrainingState:
    """step: training steps done. history: one record a step. tensors: weights and moments by name. scaler: of half precision."""

    step: int = 0
    history: list[StepRecord] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    scaler: dict[str, float] = field(default_factory=dict)

    def add(self, record: StepRecord) -> None:
        """One more step is done."""
        self.step += 1
        self.history.append(record)

    def capture(self, adapter: LowRankAdapter, optimizer: torch.optim.Optimizer, scaler: GradScaler) -> None:
        """Copy weights and moments to the CPU, and the scaler's numbers."""
        self.scaler = scaler.state_dict()
        moments = optimizer.state_dict()["state"]
        self.tensors = {}
        for index, (name, weight) in enumerate(adapter.named_weights().items()):
            self.tensors[name] = weight.detach().cpu().clone()
            for moment, value in moments.get(index, {}).items():
                self.tensors[name + MOMENT + moment] = value.detach().cpu().clone()

    def restore(self, adapter: LowRankAdapter, optimizer: torch.optim.Optimizer, scaler: GradScaler) -> None:
        """Give back what was captured; nothing to do for a fresh state."""
        if not self.tensors:
            return
        if self.scaler and scaler.is_enabled():
            scaler.load_state_dict(self.scaler)
        moments = {}
        with torch.no_grad():
            for index, (name, weight) in enumerate(adapter.named_weights().items()):
                weight.copy_(self.tensors[name])
                prefix = name + MOMENT
                moments[index] = {
                    key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)
                }
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})

    def fits(self, adapter: LowRankAdapter) -> bool:
        """Whether the captured weights have the names and shapes of this adapter's."""
        captured = {name: value.shape for name, value in self.tensors.items() if MOMENT not in name}
        return captured == {name: weight.shape for name, weight in adapter.named_weights().items()}


def state_path(lora_path: Path) -> Path:
    """Where the state of a LoRA lies."""
    return lora_path.with_suffix(SUFFIX)


def save_state(path: Path, state: TrainingState) -> None:
    """Write atomically."""
    history = [asdict(record) for record in state.history]
    metadata = {"step": str(state.step), "history": json.dumps(history), "scaler": json.dumps(state.scaler)}
    write_atomically(path, save(state.tensors, metadata=metadata))


def load_state(path: Path) -> TrainingState:
    """Inverse of ``save_state``. Raises ValueError if the file is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata(), file.keys()  # the handle itself cannot be iterated
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise ValueError(
            f"existing_lora: {path.name}, which holds the training state, is missing beside its LoRA; "
            "put it back or choose [None]."
        ) from error
    except SafetensorError as error:
        raise ValueError(f"existing_lora: {path.name} is damaged ({error}); choose [None] to start again.") from error
    history = [StepRecord(**record) for record in json.loads(metadata["history"])]
    return TrainingState(int(metadata["step"]), history, tensors, json.loads(metadata.get("scaler", "{}")))


def resumed_state(lora_path: Path, settings: TrainingSettings, adapter: LowRankAdapter) -> TrainingState:
    """The state beside a LoRA, to go on from. Raises ValueError unless it fits these settings and this adapter."""
    name = lora_path.name
    info = load_info(lora_path, "existing_lora")
    if info is None:
        raise ValueError(
            f"existing_lora: {name} was not written by Train PersonalVideo Adapter; choose a LoRA that was, "
            "or [None] to start a new one."
        )
    for field_name, value in (("rank", info.rank), ("alpha", info.alpha), ("start_percent", info.start_percent)):
        wanted = getattr(settings, field_name)
        if wanted != value:
            raise ValueError(f"{field_name}: {name} was trained with {value:g}, not {wanted:g}; set it to {value:g}.")
    state = load_state(state_path(lora_path))
    if not state.fits(adapter):
        raise ValueError(
            f"existing_lora: {name} was trained for another model (of the {info.base_model} family); "
            "connect that model or choose [None]."
        )
    if state.step > settings.steps:
        raise ValueError(f"steps: {name} already has {state.step} steps; raise steps to go on.")
    return state


def changed_settings(lora_path: Path, settings: TrainingSettings) -> list[str]:
    """What a resumed run does otherwise than before, one "name: before -> now" each; more steps are no change."""
    info = load_info(lora_path)
    before = info.settings if info else {}
    return [
        f"{name}: {before[name]} -> {value}"
        for name, value in asdict(settings).items()
        if name != "steps" and name in before and before[name] != value
    ]
