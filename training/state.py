"""The state of a run on disk: what a cancelled training needs to go on as if never stopped.

``<name>.pvstate`` lies beside the LoRA and holds the adapter, the optimizer moments and
the history in one file, so that they can never disagree. Random draws depend on
(seed, step) alone and need no state. A file that no run can have written is refused, as it would ruin the LoRA beside it.
"""

import json
import math
import uuid
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ..adapters.lora_file import load_info, write_atomically
from ..adapters.low_rank import LowRankAdapter
from ..sentences import quoted, reason
from .settings import TrainingSettings

SUFFIX = ".pvstate"  # safetensors inside; a name of its own keeps it out of LoRA lists
MOMENT = "@"  # between a weight's name and the name of its optimizer moment
ADAMW = ("step", "exp_avg", "exp_avg_sq")


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
    """step: training steps done. history: one record a step. tensors: weights and moments by name.

    scaler: of half precision. run: a random name, which the LoRA of this run bears too; empty in files of before 0.2.
    """

    step: int = 0
    history: list[StepRecord] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    scaler: dict[str, float] = field(default_factory=dict)
    run: str = field(default_factory=lambda: uuid.uuid4().hex)

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

    @property
    def finite(self) -> bool:
        """Whether all that was captured is made of finite numbers."""
        return all(map(_is_finite, self.tensors.values()))

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
    metadata = {"step": str(state.step), "history": json.dumps(history), "scaler": json.dumps(state.scaler), "run": state.run}
    write_atomically(path, save(state.tensors, metadata=metadata))


def load_state(path: Path) -> TrainingState:
    """Inverse of ``save_state``. Raises ValueError if the file is missing or damaged, or is nothing that a run has saved."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, file.keys()  # the handle itself cannot be iterated
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError as error:
        raise ValueError(
            f"existing_lora: {path.name}, which holds the training state, is missing beside its LoRA; "
            "put it back or choose [None]."
        ) from error
    except (SafetensorError, OSError) as error:
        raise ValueError(f"existing_lora: {path.name} is damaged ({reason(error)}); choose [None] to start again.") from error
    try:
        step, history, scaler = _step(metadata), _history(metadata), _scaler(metadata)
        if len(history) != step:
            raise ValueError(f"its step is {step}, and its history has {len(history)}")
        may_lack_moments = bool(scaler) or all(math.isnan(record.loss) for record in history)
        _check_tensors(tensors, step, may_lack_moments)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"existing_lora: {path.name} holds no state that training can go on from ({reason(error)}); choose [None] to start "
            "again."
        ) from error
    return TrainingState(step, history, tensors, scaler, metadata.get("run", ""))


def _step(metadata: dict[str, str]) -> int:
    text = metadata.get("step", "")
    if not text.isdecimal():
        raise ValueError(f"its step is {quoted(text)}")
    return int(text)


def _history(metadata: dict[str, str]) -> list[StepRecord]:
    stored, names = json.loads(metadata.get("history", "null")), {field.name for field in fields(StepRecord)}
    if not isinstance(stored, list) or not all(_has_numbers(record, names) for record in stored):
        raise ValueError("its history is no list of training steps")
    return [StepRecord(**{name: float(value) for name, value in record.items()}) for record in stored]


def _scaler(metadata: dict[str, str]) -> dict[str, float]:
    """Empty unless the run was one of half precision."""
    stored = json.loads(metadata.get("scaler", "{}"))
    if stored != {} and not (
        _has_numbers(stored, GradScaler("cpu").state_dict().keys()) and 0 < float(stored["scale"]) < math.inf
    ):
        raise ValueError("the numbers of its half precision are missing or wrong")
    return stored


def _has_numbers(stored, names) -> bool:
    """Whether something read from JSON is an object of numbers with exactly these names."""
    return isinstance(stored, dict) and stored.keys() == names and all(type(value) in (int, float) for value in stored.values())


def _check_tensors(tensors: dict[str, Tensor], step: int, may_lack_moments: bool) -> None:
    """Raises ValueError unless all is finite and every weight has AdamW's moments; before the first update none has."""
    weights = {name: tensor for name, tensor in tensors.items() if MOMENT not in name}
    moments = tensors.keys() - weights.keys()
    if moments != {name + MOMENT + moment for name in weights for moment in ADAMW} and (moments or not may_lack_moments):
        raise ValueError("moments of the optimizer are missing, or there are others")
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise ValueError(f"{name} holds values that are no finite numbers")
    for name, weight in weights.items() if moments else ():
        updates, mean, variance = (tensors[name + MOMENT + moment] for moment in ADAMW)
        if updates.ndim or mean.shape != weight.shape or variance.shape != weight.shape:
            raise ValueError(f"moments of {name} have another shape")
        if not 1 <= updates <= step or variance.min() < 0:
            raise ValueError(f"moments of {name} are none of {step} steps")


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and bool(tensor.float().isfinite().all())


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
    if state.run != info.run:
        raise ValueError(
            f"existing_lora: {state_path(lora_path).name} is the state of another training than {name}'s; put back the one that "
            "was saved with it, or choose [None] to start again."
        )
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
