"""Speed and memory of training at full size, on a GPU: random weights, the host's own classes, the pack's own run.

    .venv/bin/python -m benchmarks.gpu.gpu                  (every setting that benchmarks/results/gpu.json lacks)
    .venv/bin/python -m benchmarks.gpu.gpu --only Hunyuan   (those whose name contains it, again)
    .venv/bin/python -m benchmarks.gpu.gpu --estimate       (no GPU needed: what the memory plan expects of the capped settings)
    .venv/bin/python -m benchmarks.gpu.gpu --tiny           (no GPU needed: the same code on tiny models; nothing is written)

Each setting runs in a process of its own, for at most ten minutes, and is written when it is done. In a capped setting
neither PyTorch nor the host gets more memory than a card of that size has, and the memory plan chooses what fits. Sampling
takes 16 steps, and the gradient goes through those of the window, a quarter of them. The rewards are the demo's small ones,
and ``REWARDS`` is kept free for real ones.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from devkit.comfy_host import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "gpu.json"
MINUTES = 10
REWARDS = 3e9
"""The bytes of HPSv2.1 (ViT-H/14) and a face recognizer, in whose place the demo's rewards are."""


@dataclass(frozen=True)
class Setting:
    """A model and a clip to train on.

    model: one of ``models``. size: the clip's frames, height and width in pixels. latent: the shape of its latents.
    weights: bf16 or fp8. card: the gigabytes that there are, or None for the whole GPU.
    """

    model: str
    size: tuple[int, int, int]
    latent: tuple[int, ...]
    weights: str
    card: int | None = None

    @property
    def name(self) -> str:
        frames, height, width = self.size
        return f"{self.model} {frames} x {height} x {width} {self.weights}" + (f" in {self.card} GB" if self.card else "")


SD, SMALL, HD, WAN = (16, 4, 64, 64), (1, 16, 16, 64, 96), (1, 16, 16, 90, 160), (1, 16, 21, 60, 104)
SETTINGS = [
    Setting(model, size, latent, weights, card)
    for model, size, latent, variants in (
        ("AnimateDiff", (16, 512, 512), SD, [("bf16", None), ("bf16", 24)]),
        ("HunyuanVideo", (61, 512, 768), SMALL, [("fp8", 24), ("bf16", 48), ("bf16", None), ("fp8", None)]),
        ("Wan 2.1 1.3B", (81, 480, 832), WAN, [("bf16", 24), ("bf16", None)]),
        ("Wan 2.1 14B", (81, 480, 832), WAN, [("fp8", 24), ("bf16", 48), ("bf16", None)]),
        ("HunyuanVideo", (61, 720, 1280), HD, [("fp8", 24), ("fp8", 48), ("bf16", 48), ("bf16", None), ("fp8", None)]),
    )
    for weights, card in variants
]


def cap(gigabytes: int) -> None:
    """Make PyTorch and the host believe in a card of this size."""
    import torch

    size = int(gigabytes * 1e9 - REWARDS)
    torch.cuda.set_per_process_memory_fraction(size / torch.cuda.get_device_properties(0).total_memory)
    torch.cuda.mem_get_info = lambda device=None: (max(0, size - torch.cuda.memory_reserved()), size)


def run_setting(setting: Setting, tiny: bool, sampling_steps: int, base: Path) -> dict:
    """The row of one setting, which needs a process of its own in which the host is not imported yet."""
    if setting.card and not tiny:
        cap(setting.card)
    from devkit.comfy_process import load_pack, open_host

    open_host(base)
    pack = load_pack(base)
    from benchmarks.gpu import run as gpu_run

    return gpu_run.trained(pack, setting, tiny, sampling_steps)


def in_child(setting: Setting, tiny: bool, sampling_steps: int) -> dict:
    """The row of one setting, from a new process; if something goes wrong, the row says so as its ``error``."""
    command = [sys.executable, "-m", "benchmarks.gpu.gpu", "--child", setting.name, "--sampling-steps", str(sampling_steps)]
    command += ["--tiny"] if tiny else []
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60 * MINUTES, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {MINUTES} minutes"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"error": (done.stderr.strip().splitlines() or ["no output"])[-1]}
    return json.loads(lines[-1]) | {"total_seconds": round(time.monotonic() - started, 1)}


def known() -> dict[str, dict]:
    return {row["setting"]: row for row in json.loads(RESULTS.read_text())} if RESULTS.exists() else {}


def write(rows: dict[str, dict]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(list(rows.values()), indent=1) + "\n")


def measure(chosen: list[Setting], tiny: bool, sampling_steps: int, again: bool) -> None:
    rows = {} if tiny else known()
    for setting in chosen:
        if setting.name in rows and "seconds_per_step" in rows[setting.name] and not again:
            continue
        row = {"setting": setting.name} | in_child(setting, tiny, sampling_steps)
        print(json.dumps(row), flush=True)
        if not tiny:
            rows[setting.name] = row
            write(rows)


def estimate(chosen: list[Setting]) -> None:
    """Write rows marked as estimates for those capped settings that were never measured."""
    from devkit.comfy_process import load_pack, open_host

    with tempfile.TemporaryDirectory(prefix="personalvideo-") as base:
        open_host(Path(base))
        pack = load_pack(Path(base))
        from benchmarks.gpu import run as gpu_run

        rows = known()
        for setting in chosen:
            if setting.card and "seconds_per_step" not in rows.get(setting.name, {}):
                rows[setting.name] = {"setting": setting.name} | gpu_run.estimated(pack, setting, setting.card * 1e9 - REWARDS)
                print(json.dumps(rows[setting.name]), flush=True)
                write(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the settings' names")
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--sampling-steps", type=int, default=16, help="fewer where GPU time is short; the row says how many")
    parser.add_argument("--child", metavar="NAME", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        setting = next(setting for setting in SETTINGS if setting.name == arguments.child)
        with tempfile.TemporaryDirectory(prefix="personalvideo-") as base:
            print(json.dumps(run_setting(setting, arguments.tiny, arguments.sampling_steps, Path(base))))
        return
    chosen = [setting for setting in SETTINGS if arguments.only in setting.name]
    if arguments.estimate:
        estimate(chosen)
        return
    import torch

    if not arguments.tiny and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA GPU here; --estimate and --tiny work without one.")
    measure(chosen, arguments.tiny, arguments.sampling_steps, bool(arguments.only))


if __name__ == "__main__":
    main()
