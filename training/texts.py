"""Everything of a run that is made of text, encoded before anything else is loaded."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass

import comfy.model_management
import torch
from torch import Tensor

from ..host.autograd import as_normal_tensors, managed, release, resident
from ..rewards.semantic import SemanticReward
from .rollout import Conditioning


@dataclass(frozen=True)
class Texts:
    """positives: one CONDITIONING a prompt. text_features: [prompts, D] of the semantic reward, None without one."""

    positives: list[Conditioning]
    negative: Conditioning
    text_features: Tensor | None


def encoded(
    clip, semantic_reward: SemanticReward | None, prompts: list[str], negative_prompt: str, say: Callable[[str], None]
) -> Texts:
    """Texts become conditions and features; the text encoders are not needed afterwards. clip: the host's CLIP."""
    positives = []
    for number, prompt in enumerate(prompts, start=1):
        say(f"Encoding prompts: {number} of {len(prompts)}")
        positives.append(_encode(clip, prompt))
    negative = _encode(clip, negative_prompt)
    if text_encoder := getattr(clip, "patcher", None):
        release(text_encoder)
    features = None
    if semantic_reward is not None:
        with resident(managed(semantic_reward.text_networks)), torch.inference_mode(False), torch.no_grad():
            features = semantic_reward.encode_text(prompts)
    return Texts(positives, negative, features)


@contextmanager
def text_that_fits():
    """Around the first model calls of a run: turns what the host says of a wrong text encoder into one sentence."""
    try:
        yield
    except (KeyError, RuntimeError) as error:
        if not isinstance(error, KeyError) and "shapes cannot be multiplied" not in str(error):
            raise
        raise ValueError(
            f"clip: its text features do not fit this model ({error}); connect the text encoder that belongs to the model."
        ) from error


def _encode(clip, prompt: str) -> Conditioning:
    comfy.model_management.throw_exception_if_processing_interrupted()
    with torch.inference_mode():
        conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    return as_normal_tensors(conditioning)
