"""What the bank and the depth of the gradient change: the seconds, the trained adapter, and the judge's gain on the demo."""

import tempfile
import time
from pathlib import Path

import torch

from benchmarks.ablations.arms import BY_NAME, Arm
from benchmarks.ablations.world import AblationWorld
from benchmarks.speed.clock import rounded

IDENTITY = "Aro"
STEPS = 130
BANK_STEPS, BANK_SEEDS = 24, 6
DEPTHS = (
    Arm("1 of 4", "", {"gradient_steps": 1}),
    Arm("2 of 4", "", {"gradient_steps": 2}),
    Arm("4 of 4 (all)", "", {"gradient_steps": 4}),
    Arm("8 of 8 (all)", "", {"gradient_steps": 8, "start_percent": 0.5}),
)
"""How many steps have gradient, of how many in the window; the demo samples in 16 steps."""


def bank_on_and_off(demo, steps: int = BANK_STEPS) -> dict:
    """The same short training with and without a bank of the original model's clips; each clip is used about twice."""
    runs, seconds = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, remember in (("on", True), ("off", False)):
            started = time.process_time()
            runs[name] = demo.train(
                Path(folder) / f"{name}.safetensors", steps=steps, remember_teacher=remember, sampling_steps=16,
                gradient_steps=4, num_frames=4, bank_seeds=BANK_SEEDS, rank=16, alpha=16.0,
            )  # fmt: skip
            seconds[name] = rounded(time.process_time() - started)
    on, off = (torch.cat([p.detach().flatten() for p in runs[name].adapter.parameters()]) for name in ("on", "off"))
    losses = [[record.loss for record in runs[name].state.history] for name in ("on", "off")]
    return {
        "steps": steps, "clips": len(runs["on"].draws.clips(0, steps)) + 1, "seconds": seconds,
        "adapter_difference": rounded(((on - off).norm() / on.norm()).item()),
        "loss_difference": rounded(max(abs(a - b) for a, b in zip(*losses))),
        "equal": bool(torch.allclose(on, off, atol=1e-6)),
    }  # fmt: skip


def depths(pack, steps: int = STEPS, arms=DEPTHS) -> list[dict]:
    """The seconds of training, without the bank's, and the judge's gain, for each depth of the gradient."""
    world = AblationWorld(pack, steps)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        base, _ = world.row(BY_NAME["base"], IDENTITY, 0, path)
        rows = []
        for arm in arms:
            row, _ = world.row(arm, IDENTITY, 0, path)
            gain = row["judge"] - base["judge"]
            rows.append({
                "depth": arm.name, "steps": steps, "seconds": rounded(row["seconds"]), "judge": row["judge"],
                "judge_gain": rounded(gain), "gain_per_minute": rounded(60 * gain / row["seconds"]),
            })  # fmt: skip
    return rows
