"""What a finished run returns to the report, to the node and to whoever measures it."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ..adapters.lora_file import LateStepLora
from .settings import TrainingSettings
from .state import StepRecord
from .teacher.bank import BankProgress


@dataclass(frozen=True)
class TrainingResult:
    """The adapter, and how it came about.

    lora: the adapter with its window and settings, as saved at ``lora_path``. steps: the training steps that it has had,
    earlier runs included. prompts: how many were trained on. history: one record for each step.
    before, after: [F, 3, H, W] in 0..1, the clip of the prompt that was kept out of training, by the original model and
    by the student. similarities: how similar the faces in either are to the references, by the rewarded recognizer,
    ``face_model``. scored: whether the semantic reward took part. late_steps: in how many of the ``sampling_steps`` the
    adapter acts. clips: the finished bank, or None if no clips were kept. memory: the memory plan in one sentence.
    changed: the settings that differ from those before the run was resumed.
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
