"""Where the Train node keeps the original model's clips, as the user has chosen."""

from pathlib import Path

import folder_paths

from ..training.teacher.location import BankLocation

TEMPORARY = "personalvideo_bank"
LASTING = "personalvideo_bank"  # in ComfyUI's user folder
LONGEST_NAME = 120  # characters, that every file system takes


def bank_location(teacher_bank: str, bank_folder: str) -> BankLocation:
    """The location for the inputs of these names. Raises ValueError if the folder is not below ComfyUI's output folder."""
    bank_folder = bank_folder.strip()
    if not bank_folder:
        temporary, user = Path(folder_paths.get_temp_directory()), Path(folder_paths.get_user_directory())
        return BankLocation(teacher_bank, temporary / TEMPORARY, lasting=user / LASTING)
    output = Path(folder_paths.get_output_directory()).resolve()
    folder = (output / bank_folder).resolve()
    if folder == output or not folder.is_relative_to(output) or any(len(part) > LONGEST_NAME for part in folder.parts):
        raise ValueError(
            f'bank_folder: "{bank_folder[:60]}" is no folder below ComfyUI\'s output folder; enter a name, for '
            "example teacher_bank, or nothing."
        )
    return BankLocation(teacher_bank, folder, reused=True)
