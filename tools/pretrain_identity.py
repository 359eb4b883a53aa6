"""Trains the identity LoRA that the pack ships, so that the sampling template runs untouched.

.venv/bin/python -m tools.pretrain_identity
"""

import shutil

from devkit.comfy_host import ROOT, WORK, find_host
from devkit.comfy_server import ComfyServer
from tools.run_demo import Demo
from tools.workflows.demo import IDENTITY


def main() -> None:
    with ComfyServer(find_host(), WORK / "base") as server:
        name, seconds = Demo(server, seed=0).train(IDENTITY)
        shutil.copy(server.base / "output" / "loras" / name, ROOT / "demo" / "loras" / f"demo identity {IDENTITY}.safetensors")
    print(f"{IDENTITY}: {seconds:.0f} s")


if __name__ == "__main__":
    main()
