"""The host's own server as a child process with private folders, for tests and `make demo`.

with ComfyServer(find_host(), base=Path("somewhere/private")) as server:
    run = server.run(prompt)                # API format, see workflow_api.py
    picture = server.view(run.files()[0])
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import requests

from devkit.comfy_client import ComfyClient
from devkit.comfy_host import ROOT

PACK_FOLDER = "ComfyUI-PersonalVideo"
START_SECONDS = 180
STOP_SECONDS = 15


def prepare_base(base: Path, more_packs: tuple[Path, ...] = (), pack: Path = ROOT) -> Path:
    """Make `base` a ComfyUI base directory whose only node packs are the folder `pack` (as a link) and `more_packs`."""
    for folder in ("custom_nodes", "input", "output/loras", "models/loras", "user"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    for name, folder in [(PACK_FOLDER, pack), *((pack.name, pack) for pack in more_packs)]:
        link = base / "custom_nodes" / name
        link.unlink(missing_ok=True)
        link.symlink_to(folder, target_is_directory=True)
    return base


def has_gpu() -> bool:
    """Whether PyTorch sees a CUDA or ROCm device; if not, everything runs on the CPU."""
    import torch

    return torch.cuda.is_available()


class ComfyServer(ComfyClient):
    """A client that starts its server when it is entered and stops it when it is left.

    `pack` is the folder that the server loads as this pack; `more_packs` are the folders of further node packs. Once the
    process is dead, every request raises RuntimeError with the end of the log.
    """

    def __init__(self, host: Path, base: Path, more_packs: tuple[Path, ...] = (), pack: Path = ROOT):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        super().__init__(f"http://127.0.0.1:{self.port}")
        self.host, self.base = host, prepare_base(base.absolute(), more_packs, pack)
        self.packs = [PACK_FOLDER, *(pack.name for pack in more_packs)]
        self.log = self.base / "server.log"

    def __enter__(self) -> "ComfyServer":
        command = [
            sys.executable, self.host / "main.py", "--listen", "127.0.0.1", "--port", self.port,
            "--base-directory", self.base, "--database-url", "sqlite:///:memory:",
            "--disable-auto-launch", "--disable-api-nodes",
            "--disable-all-custom-nodes", "--whitelist-custom-nodes", *self.packs,
            *([] if has_gpu() else ["--cpu"]),
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=self.base, env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        try:
            self._wait_until_ready()
            self.connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        """Ask the process to end, and kill it if it has not ended after `STOP_SECONDS`."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path: str, **options) -> requests.Response:
        if self.process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended with code {self.process.returncode}:\n{self.log_tail()}")
        return super().get(path, **options)

    def log_tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                self.get("/system_stats", timeout=5)
                return
            except requests.ConnectionError:
                time.sleep(0.2)
        raise RuntimeError(f"ComfyUI did not answer within {START_SECONDS} s:\n{self.log_tail()}")
