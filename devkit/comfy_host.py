"""Finding the ComfyUI that tests and demo run against, with the standard library alone."""

import os
import re
from pathlib import Path

ROOT = Path(os.path.abspath(__file__)).parent.parent
"""The pack's own folder."""

WORK = ROOT / ".host"
"""The unpacked host and the base directory of `make demo`; git ignores them."""

DOWNLOADED = WORK / "ComfyUI"
OLDEST = (0, 30, 0)


class SetupError(RuntimeError):
    """Raised for what a user has to mend; the message is a sentence that says how."""


def find_host() -> Path | None:
    """The ComfyUI around this pack, or else the one at $COMFYUI_PATH, or else the downloaded one; None if there is none.

    Raises SetupError if $COMFYUI_PATH is not a ComfyUI, or if the one found is older than the pack supports.
    """
    asked_for = os.environ.get("COMFYUI_PATH")
    around = ROOT.parent.parent
    if ROOT.parent.name == "custom_nodes" and is_host(around):
        host = around
    elif asked_for:
        host = Path(asked_for).expanduser().absolute()
        if not is_host(host):
            raise SetupError(f"COMFYUI_PATH is {asked_for!r}, but there is no ComfyUI (main.py, comfy/) in that folder.")
    elif is_host(DOWNLOADED):
        host = DOWNLOADED
    else:
        return None
    check_version(host)
    return host


def is_host(folder: Path) -> bool:
    return all((folder / name).exists() for name in ("main.py", "nodes.py", "comfy", "requirements.txt"))


def check_version(host: Path) -> None:
    """Raise SetupError if the ComfyUI is older than `OLDEST`; one that hides its version is let through."""
    stated = host / "comfyui_version.py"
    found = re.search(r'"(\d+)\.(\d+)\.(\d+)', stated.read_text() if stated.exists() else "")
    if found and tuple(map(int, found.groups())) < OLDEST:
        raise SetupError(
            f"The ComfyUI in {host} is version {'.'.join(found.groups())}; "
            f"please update it to {'.'.join(map(str, OLDEST))} or newer."
        )
