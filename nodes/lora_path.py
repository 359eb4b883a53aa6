"""Where a trained LoRA goes, and what it is called in the lists that show it."""

import os
from pathlib import Path

import folder_paths

from ..sentences import reason

NEW_LORA = "[None]"


def lora_path(filename_prefix: str, existing_lora: str) -> Path:
    """Where the LoRA goes; ValueError unless it is a place that LoRA lists show and that can be written."""
    if existing_lora != NEW_LORA:
        path = Path(folder_paths.get_full_path_or_raise("loras", existing_lora))
    else:
        loras = [Path(root).resolve() for root in folder_paths.get_folder_paths("loras")]
        output = Path(folder_paths.get_output_directory())
        target = (output / filename_prefix).resolve()
        inside = Path(os.path.abspath(output / filename_prefix)).is_relative_to(os.path.abspath(output))
        listed = any(target.parent.is_relative_to(root) for root in loras)
        if filename_prefix.endswith("/") or not (inside and listed):
            raise ValueError(
                f'filename_prefix: "{filename_prefix}" is no file name in a folder that LoRA lists show; '
                "start it with loras/, for example loras/personalvideo."
            )
        try:
            folder, filename, counter, _, _ = folder_paths.get_save_image_path(filename_prefix, str(output))
        except OSError as error:
            raise ValueError(
                f"filename_prefix: nothing can be written to the folder of {target.name} ({reason(error)}); choose another one."
            ) from error
        path = Path(folder) / f"{filename}_{counter:05}_.safetensors"
    if not os.access(path.parent, os.W_OK):
        where = "filename_prefix" if existing_lora == NEW_LORA else "existing_lora"
        raise ValueError(f"{where}: nothing can be written to the folder of {path.name}; choose another one.")
    return path


def listed_name(path: Path) -> str:
    """A LoRA's name in the lists that show it."""
    path = path.parent.resolve() / path.name
    roots = [Path(root).resolve() for root in folder_paths.get_folder_paths("loras")]
    return next((str(path.relative_to(root)) for root in roots if path.is_relative_to(root)), path.name)
