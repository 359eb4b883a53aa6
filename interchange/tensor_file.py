"""Safetensors files of low-rank matrices, which are read with clear errors and written whole or not at all."""

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .fused import Matrices

METADATA_KEY = "personalvideo"
"""The key under which the header of every file that we write holds its window and settings, as JSON."""

FIELDS = ("base_model", "start_percent", "end_percent")
"""The entries that this folder reads; all others travel unread."""


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header of a .safetensors file. Raises ValueError if it is damaged or something else."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; check the name.")
    if path.suffix not in (".safetensors", ".sft"):
        raise ValueError(f"{path.name} is not a .safetensors file; convert the adapter to one first.")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()  # the handle itself cannot be iterated
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path.name} is damaged ({error}); choose another file or make it again.") from error


def write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Write a temporary file beside ``path`` and rename it. Raises ValueError if ``path`` exists."""
    refuse_existing(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        save_file(
            {key: value.clone().contiguous() for key, value in tensors.items()}, temporary, metadata={"format": "pt", **header}
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    if path.exists():
        raise ValueError(f"{path} exists already; choose another name or remove it.")


def info_in(header: Mapping[str, str], name: str) -> dict | None:
    """What we wrote about the adapter into the header of the file ``name``, or None if others wrote the file."""
    if METADATA_KEY not in header:
        return None
    try:
        info = json.loads(header[METADATA_KEY])
        return {field: info[field] for field in FIELDS}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{name} carries unreadable {METADATA_KEY} metadata ({error!r}); make it again.") from error


def pair(tensors: Mapping[str, Tensor], name: str, parts: tuple[str, str], prefix: str = "") -> dict[str, Matrices]:
    """The matrices of each linear, from the keys ``<prefix><linear>.<part>.weight`` and ``<prefix><linear>.alpha``.

    An alpha that is not stored is the rank. Raises ValueError, naming the file and the key, if anything is not part of a
    plain low-rank pair for a linear.
    """
    down_end, up_end = (f".{part}.weight" for part in parts)
    downs, ups, alphas = {}, {}, {}
    for key, value in tensors.items():
        linear = key.removeprefix(prefix)
        for ending, found in ((down_end, downs), (up_end, ups), (".alpha", alphas)):
            if key.startswith(prefix) and linear.endswith(ending):
                found[linear.removesuffix(ending)] = value
                break
        else:
            raise ValueError(
                f"{name} holds {key}, which is not part of a plain LoRA with keys "
                f"{prefix}<linear>{down_end} and {up_end}; only such a LoRA can be converted."
            )
    if not downs:
        raise ValueError(f"{name} holds no LoRA; choose another file.")
    matrices = {}
    for linear in downs | ups | alphas:
        down, up = downs.get(linear), ups.get(linear)
        if down is None or up is None or down.ndim != 2 or up.ndim != 2 or len(down) != up.shape[1]:
            raise ValueError(f"{name} holds no matching pair of matrices for {linear}; choose another file or make it again.")
        matrices[linear] = Matrices(down, up, float(alphas[linear]) if linear in alphas else float(len(down)))
    return matrices
