"""Writes the bundled workflows from a description, with the node definitions of a running host.

.venv/bin/python -m tools.workflows.build
"""

import tempfile
from pathlib import Path

from devkit.comfy_host import find_host
from devkit.comfy_server import ComfyServer
from tools.workflows import demo as workflows_demo
from tools.workflows import families as workflows_families


def main() -> None:
    with tempfile.TemporaryDirectory() as base, ComfyServer(find_host(), Path(base)) as server:
        object_info = server.object_info()
    for subject in (workflows_demo, workflows_families):
        for path, workflow in subject.workflows(object_info).items():
            workflow.save(path)


if __name__ == "__main__":
    main()
