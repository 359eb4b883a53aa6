"""What a finished run has to say, in a few lines for people."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from ..rewards.faces import Face, Identity
from .result import TrainingResult
from .words import in_time, in_words

# Crops embedded at once: bounds the memory of a large recognizer.
EMBEDDED_TOGETHER = 16
# What people compare between runs; the file has all of them.
SETTINGS = (
    "sampling_steps",
    "cfg",
    "scheduler",
    "gradient_steps",
    "rank",
    "alpha",
    "learning_rate",
    "learning_rate_schedule",
    "identity_weight",
    "semantic_weight",
    "preserve_weight",
    "augmentation",
    "identity_cap",
    "bank_seeds",
    "seed",
)


@torch.no_grad()
def clip_similarity(identity: Identity, frames: Tensor, faces: list[Face | None]) -> float:
    """Mean cosine of the frames [F, 3, H, W] that have a face to the references, by the rewarded recognizer; nan if none has."""
    model = identity.face_model
    found = [(index, face) for index, face in enumerate(faces) if face is not None]
    similarities = []
    for start in range(0, len(found), EMBEDDED_TOGETHER):
        part = found[start : start + EMBEDDED_TOGETHER]
        crops = model.crop(frames[[index for index, _ in part]].to(model.device), [face for _, face in part])
        similarities += identity.similarity(model.embed(crops)).tolist()
    return mean(similarities)


def report(result: TrainingResult, phases: Mapping[str, float], memory: str) -> str:
    """phases: seconds of the run's parts, by name. memory: the most that was used."""
    history = result.history
    tenth = max(1, len(history) // 10)
    first, last = (mean(record.similarity for record in part) for part in (history[:tenth], history[-tenth:]))
    before, after = result.similarities
    parts = ", ".join(f"{name} {in_time(length)}" for name, length in phases.items() if length >= 0.5)
    settings = vars(result.settings)
    lines = [
        f"Saved as {result.lora_path.name}.",
        f"Similarity to the photos, on a clip that training never saw: {before:.2f} before, {after:.2f} after; while training: "
        f"{first:.2f} in the first tenth of the run, {last:.2f} in the last. This is by the recognizer that was rewarded "
        f"({result.face_model}): judge the result with another one.",
        f"A face was found on {mean(record.hit_rate for record in history):.0%} of the frames.",
        f"{result.steps} steps on {result.prompts} prompts.",
        f"The adapter acts in the last {result.late_steps} of {result.sampling_steps} sampling steps (from "
        f"{result.settings.start_percent:g}); trigger word: {result.lora.info.trigger_word}.",
        f'In prompts name the person as training did: "{result.lora.info.person}, ...".',
        "Settings: " + ", ".join(f"{name} {_short(settings[name])}" for name in SETTINGS) + ".",
    ]
    if phases:
        lines.append(f"Time of this run: {in_time(sum(phases.values()))}" + (f" ({parts})." if parts else "."))
    if clips := result.clips:
        reused = f", {clips.reused} of them from an earlier run" if clips.reused else ""
        lines.append(f"Original model's clips: {clips.total}, {in_words(clips.size)} {clips.place}{reused}.")
    if memory:
        lines.append(f"Memory in use: {memory}.")
    lines.append(result.memory)
    if result.heads:
        lines.append(result.heads)
    if result.changed:
        lines.append(f"Settings that changed when it was resumed: {'; '.join(result.changed)}.")
    return "\n".join(lines)


def gist(result: TrainingResult) -> str:
    """One line: what came out, and where it is."""
    before, after = result.similarities
    return (
        f"Done: similarity to the photos {before:.2f} before, {after:.2f} after, on a clip that training never saw; "
        f"saved as {result.lora_path.name}."
    )


def mean(values: Iterable[float]) -> float:
    """Of those that are numbers; nan if none is."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else math.nan


def _short(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
