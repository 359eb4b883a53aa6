"""Checks the types of the shipped packages against the ComfyUI that `make` has found.

    python -m tools.type_check

pyproject.toml says what is checked and how strictly; this only adds where that ComfyUI is.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from devkit.comfy_host import ROOT, find_host


def main() -> int:
    """Run pyright and return its exit code, which is 0 if it finds nothing."""
    with tempfile.TemporaryDirectory(prefix="personalvideo-") as folder:
        project = Path(folder) / "pyrightconfig.json"
        project.write_text(json.dumps({"extends": str(ROOT / "pyproject.toml"), "extraPaths": [str(find_host())]}))
        return subprocess.run([sys.executable, "-m", "pyright", "--project", str(project)]).returncode


if __name__ == "__main__":
    sys.exit(main())
