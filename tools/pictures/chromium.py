"""Finds Chromium, or installs Debian's.

.venv/bin/python -m tools.pictures.chromium        # `make test-browser` and `make screenshots` do this first
"""

import os
import shutil
import subprocess
import sys

from devkit.comfy_host import SetupError

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    """The executable at $CHROMIUM, or else the one on the search path. Raises SetupError if there is none."""
    asked_for = os.environ.get("CHROMIUM")
    found = shutil.which(asked_for) if asked_for else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        where = f"CHROMIUM is {asked_for!r}, which is no program" if asked_for else "There is no Chromium"
        raise SetupError(f"{where}: install Chromium or Chrome, and set CHROMIUM to its path if it is not found.")
    return found


def install_chromium() -> None:
    """Install Debian's package, if that is possible. Otherwise raises SetupError, which says what to do."""
    if not shutil.which("apt-get"):
        raise SetupError("There is no Chromium, and only on Debian can it be installed from here: set CHROMIUM to its path.")
    if os.geteuid() != 0:
        raise SetupError("There is no Chromium, and installing it takes root: run `apt-get install chromium` once.")
    print("==> Installing Debian's chromium", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        if subprocess.run(["apt-get", "--quiet", "--quiet", *command], env=environment).returncode != 0:
            raise SetupError(f"apt-get {command[0]} failed; its own message is above.")


def main() -> None:
    try:
        if not os.environ.get("CHROMIUM") and not any(map(shutil.which, NAMES)):
            install_chromium()
        find_chromium()
    except SetupError as error:
        sys.exit(f"Set-up stopped: {error}")


if __name__ == "__main__":
    main()
