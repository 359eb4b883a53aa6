"""The state of a run on disk, from which a cancelled training goes on as if it had never stopped.

``<name>.pvstate`` lies beside the LoRA and holds the adapter, the optimizer's moments and the history in one file, so
that they can never disagree. Random draws depend on (seed, step) alone and need no state.
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

SUFFIX = ".pvstate"  # a safetensors file; its own suffix keeps it out of lists of LoRAs
MOMENT = "@"  # stands between a weight's name and the name of its optimizer moment


@dataclass(frozen=True)
class StepRecord:
    """What one training step measured; loss, identity and similarity are nan if no face was found.

    loss: Eq. 5 with the preservation term. identity: Eq. 2. semantic: Eqs. 3 and 4. preserve: the preservation loss.
    similarity: the mean cosine to the references. hit_rate: the share of frames in which a face was found.
    """

    loss: float
    identity: float
    semantic: float
    preserve: float
    similarity: float
    hit_rate: float


@dataclass
class TrainingState:
    """How far a run has come.

    step: how many training steps are done. history: one record for each of them. tensors: weights and moments by name.
    scaler: the gradient scaler's state, empty unless the model computes in half precision.
    """

    step: int = 0
    history: list[StepRecord] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    scaler: dict[str, float] = field(default_factory=dict)

    def add(self, record: StepRecord) -> None:
        """Count one more step as done."""
        self.step += 1
        self.history.append(record)

    def capture(self, adapter: LowRankAdapter, optimizer: torch.optim.Optimizer, scaler: GradScaler) -> None:
        """Remember the scaler's state, and copies of the weights and moments on the CPU."""
        self.scaler = scaler.state_dict()
        moments = optimizer.state_dict()["state"]
        self.tensors = {}
        for index, (name, weight) in enumerate(adapter.named_weights().items()):
            self.tensors[name] = weight.detach().cpu().clone()
            for moment, value in moments.get(index, {}).items():
                self.tensors[name + MOMENT + moment] = value.detach().cpu().clone()

    def restore(self, adapter: LowRankAdapter, optimizer: torch.optim.Optimizer, scaler: GradScaler) -> None:
        """Put everything that was captured back; a fresh state changes nothing."""
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
        """Whether the captured weights have the names and shapes of the weights of ``adapter``."""
        captured = {name: value.shape for name, value in self.tensors.items() if MOMENT not in name}
        return captured == {name: weight.shape for name, weight in adapter.named_weights().items()}


def state_path(lora_path: Path) -> Path:
    """The path of the state that belongs to a LoRA."""
    return lora_path.with_suffix(SUFFIX)


def save_state(path: Path, state: TrainingState) -> None:
    """Write ``state`` to ``path`` atomically."""
    history = [asdict(record) for record in state.history]
    metadata = {"step": str(state.step), "history": json.dumps(history), "scaler": json.dumps(state.scaler)}
    write_atomically(path, save(state.tensors, metadata=metadata))


def load_state(path: Path) -> TrainingState:
    """The state that ``save_state`` wrote to ``path``. Raises ValueError if the file is missing or damaged."""
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
    """The state beside a LoRA, from which a run can go on. Raises ValueError unless it fits the settings and the adapter."""
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
    """The settings that a resumed run changes, each as "name: before -> now"; the number of steps does not count."""
    info = load_info(lora_path)
    before = info.settings if info else {}
    return [
        f"{name}: {before[name]} -> {value}"
        for name, value in asdict(settings).items()
        if name != "steps" and name in before and before[name] != value
    ]
