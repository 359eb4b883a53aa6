"""The adapter as an ordinary LoRA file whose metadata carries its late-step window.

Keys are ``<linear>.lora_A.weight`` / ``.lora_B.weight`` / ``.alpha``, or kohya's
``.lora_down.weight`` / ``.lora_up.weight`` where linears have kohya's names: the
host's loaders read both without a warning.
"""

import json
import math
import os
import re
import time
import uuid
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import get_type_hints

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..sentences import quoted, reason
from .architectures import Target
from .low_rank import LowRankAdapter

METADATA_KEY = "personalvideo"
PARTS = ("lora_A", "lora_B")
KOHYA_PARTS = ("lora_down", "lora_up")
ABANDONED = 3600.0  # seconds after which nobody is still writing a file
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")


@dataclass(frozen=True)
class AdapterInfo:
    """What the file says about itself.

    base_model: architecture name. start_percent, end_percent: the window, 0 = first step.
    switch_sigma: noise level at start_percent in the model it was trained on.
    settings: the training settings, for the record. run: the random name of the training run, which its state bears too;
    empty in files of before 0.2.
    """

    base_model: str
    start_percent: float
    end_percent: float
    switch_sigma: float
    rank: int
    alpha: float
    trigger_word: str
    steps: int
    settings: dict
    run: str = ""


class LateStepLora(dict):
    """A LORA_MODEL: LoRA state dict that the host's nodes take, plus ``info`` for ours."""

    def __init__(self, tensors: dict[str, Tensor], info: AdapterInfo):
        super().__init__(tensors)
        self.info = info


def to_state_dict(adapter: LowRankAdapter, targets: list[Target], keys: dict[str, str]) -> dict[str, Tensor]:
    """LoRA tensors of an adapter, detached, on the CPU.

    targets: its linears; outputs that a residual does not reach get zeros.
    keys: the name of each linear in the file.
    """
    tensors = {}
    residuals = adapter.residuals()
    for target in targets:
        residual, key = residuals[target.name], keys[target.name]
        down_name, up_name = KOHYA_PARTS if key.startswith("lora_unet_") else PARTS
        up = torch.zeros(target.out_features, adapter.rank)
        up[: target.rows] = residual.up.detach().cpu()
        tensors[f"{key}.{down_name}.weight"] = residual.down.detach().cpu().clone()
        tensors[f"{key}.{up_name}.weight"] = up
        tensors[f"{key}.alpha"] = torch.tensor(float(adapter.alpha))
    return tensors


def save_lora(path: Path, lora: LateStepLora) -> None:
    """Write ``lora`` to ``path`` (.safetensors) atomically."""
    metadata = {"format": "pt", METADATA_KEY: json.dumps(asdict(lora.info), sort_keys=True)}
    write_atomically(path, save(dict(lora), metadata=metadata))


def load_info(path: Path, input_name: str = "lora_name") -> AdapterInfo | None:
    """The window and settings stored in a LoRA file; None for a LoRA of another trainer.

    Raises ValueError, naming the input that the file was chosen in, if it is damaged, or if what it says about itself
    cannot be understood.
    """
    if path.suffix.lower() not in (".safetensors", ".sft"):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{input_name}: {path.name} is damaged ({reason(error)}); choose another file or train it again."
        ) from error
    if text is None:
        return None
    try:
        return _parse_info(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{input_name}: {path.name} says nothing that can be understood about its window ({reason(error)}); choose "
            "another file, or train it again."
        ) from error


def _parse_info(text: str) -> AdapterInfo:
    """Raises ValueError, saying what is wrong, unless ``text`` is JSON with every field, each of its type and finite."""
    stored = json.loads(text)
    if not isinstance(stored, dict):
        raise ValueError("its note is no JSON object")
    values, types = {}, get_type_hints(AdapterInfo)
    for field in fields(AdapterInfo):
        if field.name in stored:
            values[field.name] = _of_type(stored[field.name], types[field.name], field.name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name} is missing")
    return AdapterInfo(**values)


def _of_type(value, kind: type, name: str):
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or kind is float and not math.isfinite(value):
        raise ValueError(f"{name} is {quoted(value)}")
    return value


def write_atomically(path: Path, data: bytes) -> None:
    """Write a temporary neighbour, then rename: ``path`` is always whole, old or new."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(folder: Path, suffix: str) -> None:
    """Remove the temporary files that killed processes have left of ``write_atomically`` beside files with ``suffix``."""
    for path in folder.glob(f".*{suffix}.*.tmp"):
        with suppress(OSError):
            if _TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()
