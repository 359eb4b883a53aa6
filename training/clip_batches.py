"""Several clips in one model call: which prompts can share it, and how many clips fit into it."""

from collections.abc import Callable, Iterator

from torch import Tensor

# With any of these keys the host treats a condition specially, beyond passing its tensors to the model.
SPECIAL = {"area", "mask", "control", "hooks", "gligen", "default", "strength", "timestep_start", "timestep_end"}
MOST_TOGETHER = 8
# With more latent pixels than this in a call, its time grows in proportion to them, and batching saves nothing.
FULL_CALL = 2**14


def joined(conditions: list[list[dict]]) -> list[dict] | None:
    """The processed conditions of several clips as one for a batch of them, or None if the host would not join them."""
    if any(len(condition) != 1 or SPECIAL & condition[0].keys() for condition in conditions):
        return None
    first, *others = [condition[0] for condition in conditions]
    tensors = first["model_conds"]
    for other in others:
        if other["model_conds"].keys() != tensors.keys():
            return None
        for name, value in tensors.items():
            if not (_shape(value) == _shape(other["model_conds"][name]) and value.can_concat(other["model_conds"][name])):
                return None
    batch = {
        name: value._copy_with(value.concat([other["model_conds"][name] for other in others])) for name, value in tensors.items()
    }
    return [{**first, "model_conds": batch}]


def _shape(value) -> list:
    """The size of a condition's tensor; where sizes differ the host would pad, and some models react to the padding."""
    return value.size()


def most_together(latent: Tensor, required: Callable[[list[int]], float], free: float) -> int:
    """How many clips shaped like ``latent`` one call should sample.

    required: the host's estimate of the bytes that a call with a given shape takes. free: the bytes that are free.
    The answer is 1 for an image model, whose batch already holds a clip's frames. It is also 1 on a CPU, so that
    rounding does not depend on which clips are already known and a resumed run repeats an uninterrupted one bit for bit.
    """
    if latent.ndim < 5 or latent.device.type == "cpu":
        return 1
    pixels = latent[0, 0].numel()
    fit = 1
    while fit < MOST_TOGETHER and (fit + 1) * pixels <= FULL_CALL:
        if 1.5 * required([2 * (fit + 1), *latent.shape[1:]]) > free:
            break
        fit += 1
    return fit


def batches(clips: list[tuple[int, int]], size: int, together: Callable[[int, int], bool]) -> Iterator[list[tuple[int, int]]]:
    """``clips`` (prompt, noise seed) in groups of at most ``size``.

    together(prompt, other): whether two prompts can share a call; those of a group can.
    """
    waiting = list(clips)
    while waiting:
        first = waiting[0]
        batch = [first, *(clip for clip in waiting[1:] if size > 1 and together(first[0], clip[0]))][:size]
        waiting = [clip for clip in waiting if clip not in batch]
        yield batch
