"""How much cheaper training is than the paper's loop, how close it is to the floor, and how it grows.

    make bench              (prints tables, writes benchmarks/results/speed.json and speed.png)
    .venv/bin/python -m benchmarks.speed.speed --quick        (one round of the smallest sizes: does it run at all?)

All figures are processor seconds of one thread, on small random models and the bundled demo model; both sides of every
ratio run in one process, in turns, after a warm-up. What is compared with what is told where it is measured: in
``naive_loop``, ``steps``, ``apply``, ``growth`` and ``bank``.
"""

import argparse
import json
import logging
import platform
import tempfile
import time
from pathlib import Path

from devkit.comfy_host import ROOT
from devkit.comfy_process import load_pack, open_host

RESULTS = ROOT / "benchmarks" / "results" / "speed.json"
BARS = {
    "naive_over_ours_step": (">=", 5.0),
    "naive_over_ours_800_steps": (">=", 4.0),
    "ours_over_floor": ("<=", 1.25),
    "apply_late_over_merged": ("<=", 1.05),
    "apply_early_over_plain": ("<=", 1.01),
    "decode_growth_exponent": ("<=", 0.2),
}
SUBJECTS = ("steps", "apply", "decode", "growth", "bank", "depth")


def measured(base: Path, rounds: int, quick: bool, only: set[str]) -> dict:
    """Everything in ``only``, printed as it comes."""
    open_host(base)
    logging.disable(logging.WARNING)
    pack = load_pack(base)
    import torch

    torch.set_num_threads(1)
    from benchmarks.speed import apply as speed_apply
    from benchmarks.speed import bank as speed_bank
    from benchmarks.speed import growth as speed_growth
    from benchmarks.speed import steps as speed_steps
    from benchmarks.speed import world as speed_world
    from devkit.demo_world import DemoWorld

    with torch.inference_mode():
        demo = DemoWorld(pack)
    names = speed_world.WORLDS[:1] if quick else speed_world.WORLDS
    subjects = {
        "steps": lambda: [_steps(speed_steps, speed_world.world(pack, name), rounds) for name in names],
        "apply": lambda: [
            {"model": name} | speed_apply.apply_costs(
                speed_world.world(pack, name), speed_world.world(pack, name), 2 if quick else 30
            ) for name in names
        ],
        "decode": lambda: speed_growth.decode_growth(pack, rounds, *(((9, 17), ()) if quick else ())),
        "growth": lambda: speed_growth.training_growth(
            speed_world.world(pack, speed_world.WORLDS[0]), 1 if quick else rounds,
            *(((5, 9), (64, 96)) if quick else ()),
        ),
        "bank": lambda: speed_bank.bank_on_and_off(demo, 4 if quick else speed_bank.BANK_STEPS),
        "depth": lambda: speed_bank.depths(pack, *((4, speed_bank.DEPTHS[:1]) if quick else ())),
    }  # fmt: skip
    found = {}
    for name in SUBJECTS:
        if name in only:
            started = time.monotonic()
            found[name] = subjects[name]()
            print(f"\n{name} ({time.monotonic() - started:.0f} s)\n{json.dumps(found[name], indent=1)}", flush=True)
    return found


def _steps(speed_steps, world, rounds: int) -> dict:
    row = {
        "model": world.name, "latent": list(world.latent.shape), "cfg": world.cfg,
        "paper_schedule": speed_steps.training_steps(world, rounds), "short_schedule": speed_steps.over_floor(world, rounds),
    }  # fmt: skip
    print(json.dumps(row), flush=True)
    return row


def summary(found: dict) -> dict:
    """The figures that have a bar, from whatever was measured; if several models were, the worst of them."""
    steps, apply = found.get("steps", []), found.get("apply", [])
    values = {
        "naive_over_ours_step": min((row["paper_schedule"]["naive_over_ours_step"] for row in steps), default=None),
        "naive_over_ours_800_steps": min((row["paper_schedule"]["naive_over_ours_800_steps"] for row in steps), default=None),
        "ours_over_floor": max((row["short_schedule"]["ours_over_floor"] for row in steps), default=None),
        "apply_late_over_merged": max((row["apply_late_over_merged"] for row in apply), default=None),
        "apply_early_over_plain": max((row["apply_early_over_plain"] for row in apply), default=None),
        "decode_growth_exponent": next((row["growth_exponent"] for row in found.get("decode", []) if row["vae"] == "Wan"), None),
        "trained_adapter_equal_without_bank": found.get("bank", {}).get("equal"),
    }
    return {name: value for name, value in values.items() if value is not None}


def verdict(name: str, value) -> str:
    if name not in BARS:
        return ""
    sign, bar = BARS[name]
    return f"{sign} {bar:g}: {'yes' if (value >= bar) == (sign == '>=') or value == bar else 'NO'}"


def machine(rounds: int) -> dict:
    import torch

    return {
        "clock": "processor seconds of one thread, median of the rounds",
        "rounds": rounds,
        "processor": _processor(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of the smallest sizes, nothing is written")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, default=SUBJECTS, help="the others stay as they are on disk")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="personalvideo-") as base:
        found = measured(Path(base), rounds, arguments.quick, set(arguments.only))
    if not arguments.quick:
        before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        found = {name: found.get(name, before.get(name)) for name in SUBJECTS if found.get(name, before.get(name))}
    figures = summary(found)
    for name, value in figures.items():
        print(f"{name:36}{value!s:>10}   {verdict(name, value)}")
    print(f"{time.monotonic() - started:.0f} s in all")
    if not arguments.quick:
        from benchmarks.speed.plot import speed_plot

        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(figures | {"machine": machine(rounds)} | found, indent=1) + "\n")
        speed_plot(found, RESULTS.with_suffix(".png"))


if __name__ == "__main__":
    main()
