"""What a finished run hands on: to the report, to the node, to whoever measures it."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..adapters.lora_file import LateStepLora
from .settings import TrainingSettings
from .state import StepRecord
from .teacher.bank import BankProgress


@dataclass(frozen=True)
class TrainingResult:
    """lora: the adapter with its window and settings, as saved at ``lora_path``. steps: trained in all.

    history: one record a step. before, after: [F, 3, H, W] in 0..1, the clip of the prompt that was kept out of training,
    of the original model and of the student; similarities: theirs to the references, by the rewarded recognizer ``face_model``.
    late_steps: how many of ``sampling_steps`` the adapter acts in. clips: the bank at its end, None if nothing was remembered.
    memory: the plan in one sentence. changed: settings that are others than before the run was resumed.
    heads: what to say of their size in the original model's clips, empty if they are large enough.
    """

    lora: LateStepLora
    lora_path: Path
    steps: int
    prompts: int
    settings: TrainingSettings
    history: tuple[StepRecord, ...]
    before: Tensor
    after: Tensor
    similarities: tuple[float, float]
    face_model: str
    scored: bool
    late_steps: int
    sampling_steps: int
    clips: BankProgress | None
    memory: str
    changed: tuple[str, ...]
    heads: str
