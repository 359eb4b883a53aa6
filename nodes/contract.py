"""What every node of ours promises the host: what reaches it is within its inputs' limits, what leaves it is printable text.

The host checks the values of widgets before a run; those that come by a wire it hands over as they are.
"""

import inspect
import re
from collections.abc import Callable
from functools import wraps
from numbers import Integral, Real

import comfy.sd
from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from server import PromptServer
from torch import Tensor

from ..rewards.faces import FaceModel, Identity
from ..rewards.semantic import SemanticReward
from ..sentences import printable, quoted
from .wire_types import FaceModelType, IdentityType, LoraModelType, SemanticRewardType

WIRES = {  # what has to arrive, and what to do where something else does
    io.Model.io_type: (ModelPatcher, "connect a node that loads a model"),
    io.Clip.io_type: (comfy.sd.CLIP, "connect a Load CLIP node with the model's own"),
    io.Vae.io_type: (comfy.sd.VAE, "connect a Load VAE node with the one that belongs to the model"),
    io.Conditioning.io_type: (list, "connect CLIP Text Encode"),
    io.Latent.io_type: (dict, "connect an empty latent that fits the model"),
    io.Image.io_type: (Tensor, "connect pictures"),
    IdentityType.io_type: (Identity, "connect Load Identity Images"),
    FaceModelType.io_type: (FaceModel, "connect Load Face Model"),
    SemanticRewardType.io_type: (SemanticReward, "connect Load Semantic Reward"),
    LoraModelType.io_type: (dict, "connect Train PersonalVideo Adapter"),
}
WITHOUT = {io.Clip.io_type: "the checkpoint has no text encoder", io.Vae.io_type: "the checkpoint has none"}
CHANNELS = (1, 3, 4)
CPU_ALLOCATION_FAILED = "DefaultCPUAllocator"  # in PyTorch's message, which is a plain RuntimeError
NO_TEXT = re.compile(r"[\x00\ud800-\udfff]")


def checked(execute: Callable) -> Callable:
    """Decorates a node's ``execute``: every value is held to what its input in the schema takes, however it has come, and
    to the node's ``validate_inputs``.

    It then raises ValueError in one sentence that begins with the input's name. Whatever else it raises is printable too,
    down to the causes that a traceback shows: text that is not would end the host's worker thread.
    """
    names = list(inspect.signature(execute).parameters)[1:]

    @wraps(execute)
    def run(cls, *args, **kwargs):
        try:
            _check(cls, dict(zip(names, args)) | kwargs)
            return execute(cls, *args, **kwargs)
        except Exception as error:
            for each in _with_causes(error):
                each.args = tuple(printable(part) if isinstance(part, str) else part for part in each.args)
            if isinstance(error, MemoryError) or CPU_ALLOCATION_FAILED in str(error):
                raise ValueError(
                    f"{cls.define_schema().display_name}: the computer's memory is full; take smaller or fewer pictures, "
                    "or close other programs."
                ) from error
            raise

    return run


def show_text(node_id: str, text: str) -> None:
    """Show ``text`` on a node while it works."""
    PromptServer.instance.send_progress_text(printable(text), node_id)


def _check(cls: type[io.ComfyNode], values: dict) -> None:
    own = [name for name in inspect.signature(cls.validate_inputs).parameters if name in values]
    for given in cls.define_schema().inputs:
        if given.id in values:
            fault = _fault(given, values[given.id], listed=given.id not in own)
            if fault:
                raise ValueError(f"{given.id}: {fault}.")
    if own and (answer := cls.validate_inputs(**{name: values[name] for name in own})) is not True:
        raise ValueError(answer)


def _fault(given: io.Input, value, listed: bool) -> str | None:
    """Why an input cannot take a value, and what to do; None if it can. listed: a choice has to be one of the schema's."""
    if isinstance(given, (io.Int.Input, io.Float.Input)):
        kind, name, form = (Integral, "whole number", "d") if isinstance(given, io.Int.Input) else (Real, "number", "g")
        if isinstance(value, kind) and given.min <= value <= given.max:
            return None
        low, high, usual = (format(limit, form) for limit in (given.min, given.max, given.default))
        return f"{quoted(value)} is no {name} from {low} to {high}; enter one, such as {usual}"
    if isinstance(given, (io.Combo.Input, io.String.Input)):
        if not isinstance(value, str):
            return f"{quoted(value)} is no text; enter one, or connect a node that gives text"
        if broken := NO_TEXT.search(value):
            return f"it holds a character that no text has ({printable(broken[0])}); delete it"
        if isinstance(given, io.Combo.Input) and listed and value not in given.options:
            return f"{quoted(value)} is not in its list; choose what is"
        return None
    return None if value is None and given.optional else _wire_fault(given.get_io_type(), value)


def _wire_fault(kind: str, value) -> str | None:
    if kind not in WIRES:
        return None
    expected, remedy = WIRES[kind]
    if not isinstance(value, expected):
        absent = WITHOUT.get(kind, "nothing arrives there")
        return f"{absent if value is None else f'{quoted(value)} arrives there'}; {remedy}"
    if expected is Tensor and (value.ndim != 4 or value.shape[-1] not in CHANNELS):
        shape = " x ".join(map(str, value.shape))
        return f"{shape} numbers are no pictures, which have height, width and 1, 3 or 4 channels; {remedy}"
    if expected is list and not value or expected is dict and kind == io.Latent.io_type and not _is_latent(value):
        return f"there is nothing in it that could be sampled; {remedy}"
    return None


def _is_latent(value: dict) -> bool:
    samples = value.get("samples")
    return isinstance(samples, Tensor) and samples.numel() > 0


def _with_causes(error: BaseException) -> list[BaseException]:
    """An exception and all that a traceback prints with it."""
    found, waiting = [], [error]
    while waiting:
        each = waiting.pop()
        if each is not None and each not in found:
            found.append(each)
            waiting += each.__cause__, each.__context__
    return found
