"""Writes the bundled workflows from a description, with the node definitions of a running host.

    .venv/bin/python tools/build_workflows.py
"""

import tempfile
from pathlib import Path

import workflows_demo
import workflows_families
from comfy_host import find_host
from comfy_server import ComfyServer


def main() -> None:
    with tempfile.TemporaryDirectory() as base, ComfyServer(find_host(), Path(base)) as server:
        object_info = server.object_info()
    for subject in (workflows_demo, workflows_families):
        for path, workflow in subject.workflows(object_info).items():
            workflow.save(path)


if __name__ == "__main__":
    main()
