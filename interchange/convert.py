"""Converting the adapter's file to and from a PEFT adapter folder and a diffusers LoRA file.

Matrices go through unchanged, so the way there and back is exact. The window and the settings travel in the header of the
safetensors file, under the same key in all three formats.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from . import tensor_file
from .families import FAMILIES, Family
from .fused import Matrices, join, split
from .peft_config import alphas_from, config_for, read_config
from .tensor_file import METADATA_KEY

PEFT_PREFIX = "base_model.model."
PEFT_WEIGHTS = "adapter_model.safetensors"
PEFT_PARTS = ("lora_A", "lora_B")
KOHYA_PARTS = ("lora_down", "lora_up")

DIFFUSERS_CONFIG = "lora_adapter_metadata"
"""The key under which the header of a diffusers LoRA file holds its LoraConfig."""


def to_peft(lora: Path, folder: Path) -> None:
    """Write our file ``lora`` as a new PEFT adapter folder, ``folder``.

    Raises ValueError, in one sentence, if the file is no adapter of ours or the folder exists.
    """
    _, modules, note = _read_ours(lora)
    tensor_file.refuse_existing(folder)
    folder.mkdir(parents=True)
    tensor_file.write(folder / PEFT_WEIGHTS, _tensors(modules, PEFT_PARTS, PEFT_PREFIX), note)
    config = {"peft_type": "LORA", "inference_mode": True, **config_for(modules)}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def from_peft(folder: Path, lora: Path, family: str | None = None) -> None:
    """Write the PEFT adapter in ``folder`` as a new file for the host, ``lora``.

    family: a key of ``FAMILIES``, for an adapter that does not name one, because peft and not ``to_peft`` saved it; such
    an adapter has no window either. Raises ValueError, in one sentence, if the adapter cannot be converted.
    """
    config = read_config(folder)
    path = folder / PEFT_WEIGHTS
    tensors, header = tensor_file.read(path)
    known = _family(header, path, family)
    modules = alphas_from(config, tensor_file.pair(tensors, path.name, PEFT_PARTS, PEFT_PREFIX), folder.name)
    _write_ours(lora, known, modules, header, path.name)


def to_diffusers(lora: Path, file: Path) -> None:
    """Write our file ``lora`` as a new file for ``load_lora_weights`` of a diffusers pipeline."""
    family, modules, note = _read_ours(lora)
    prefix = f"{family.component}."
    config = {f"{prefix}{name}": value for name, value in config_for(modules).items()}
    note[DIFFUSERS_CONFIG] = json.dumps(config, sort_keys=True)
    tensor_file.write(file, _tensors(modules, PEFT_PARTS, prefix), note)


def from_diffusers(file: Path, lora: Path, family: str | None = None) -> None:
    """Write a diffusers LoRA file as a new file for the host, ``lora``; ``family`` is that of ``from_peft``."""
    tensors, header = tensor_file.read(file)
    known = _family(header, file, family)
    prefix = f"{known.component}."
    modules = tensor_file.pair(tensors, file.name, PEFT_PARTS, prefix)
    if DIFFUSERS_CONFIG in header:
        try:
            config = {key.removeprefix(prefix): value for key, value in json.loads(header[DIFFUSERS_CONFIG]).items()}
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{file.name} carries unreadable {DIFFUSERS_CONFIG} ({error!r}); save it again.") from error
        modules = alphas_from(config, modules, file.name)
    _write_ours(lora, known, modules, header, file.name)


def window_of(adapter: Path) -> tuple[float, float]:
    """The start_percent and end_percent of an adapter in any of the three formats, be it a file or a folder."""
    path = adapter / PEFT_WEIGHTS if adapter.is_dir() else adapter
    info = tensor_file.info_in(tensor_file.read(path)[1], path.name)
    if info is None:
        raise ValueError(f"{adapter.name} does not say in which steps it acts; give start_percent and end_percent yourself.")
    return info["start_percent"], info["end_percent"]


def _read_ours(lora: Path) -> tuple[Family, dict[str, Matrices], dict[str, str]]:
    tensors, header = tensor_file.read(lora)
    info = tensor_file.info_in(header, lora.name)
    if info is None:
        raise ValueError(
            f"{lora.name} was not made by Train PersonalVideo Adapter (it has no {METADATA_KEY} metadata); "
            "choose a file that was."
        )
    family = _family(header, lora, None)
    ours = tensor_file.pair(tensors, lora.name, KOHYA_PARTS if family.kohya else PEFT_PARTS)
    return family, _named(lora.name, split, family, ours), {METADATA_KEY: header[METADATA_KEY]}


def _write_ours(lora: Path, family: Family, modules: dict[str, Matrices], header: Mapping[str, str], name: str) -> None:
    if lora.suffix != ".safetensors":
        raise ValueError(f"{lora.name} must end in .safetensors, or the host will not list it.")
    ours = _named(name, join, family, modules)
    note = {METADATA_KEY: header[METADATA_KEY]} if METADATA_KEY in header else {}
    tensor_file.write(lora, _tensors(ours, KOHYA_PARTS if family.kohya else PEFT_PARTS, alphas=True), note)


def _family(header: Mapping[str, str], path: Path, asked: str | None) -> Family:
    info = tensor_file.info_in(header, path.name)
    name = info["base_model"] if info else asked
    if info and asked not in (None, name):
        raise ValueError(f"{path.name} was made for {name}, not for {asked}; leave the family out.")
    if name is None:
        raise ValueError(f"{path.name} does not say for which base model it was made; name its family: {', '.join(FAMILIES)}.")
    if name not in FAMILIES:
        raise ValueError(f"{path.name} was made for {name}, which is none of {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def _named(name: str, rename, family: Family, matrices: dict[str, Matrices]) -> dict[str, Matrices]:
    try:
        return rename(family, matrices)
    except ValueError as error:
        raise ValueError(f"{name} does not fit its family: {error}; choose an adapter made for that family.") from error


def _tensors(matrices: Mapping[str, Matrices], parts: tuple[str, str], prefix: str = "", alphas: bool = False) -> dict:
    down, up = parts
    tensors = {}
    for name, m in matrices.items():
        tensors[f"{prefix}{name}.{down}.weight"] = m.down
        tensors[f"{prefix}{name}.{up}.weight"] = m.up
        if alphas:
            tensors[f"{prefix}{name}.alpha"] = torch.tensor(m.alpha)
    return tensors
