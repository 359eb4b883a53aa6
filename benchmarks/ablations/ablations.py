"""Does each part of the method do what the paper says? The paper's ablations on the demo world.

    make ablations              a subset, in less than half an hour on two cores
    make ablations FULL=1       10 people x 3 seeds x all arms, about 15 hours of processor time
    make ablations FULL=1 KNOWN=benchmarks/results/ablations.json       only what these rows lack

It goes on where it was stopped. Rows, LoRAs, videos and the report are in output/ablations; benchmarks/results has the
published rows and their report.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.ablations.arms import BY_NAME, NOTHING
from benchmarks.ablations.grid import Grid
from benchmarks.ablations.study import OUTPUT, wanted
from devkit.comfy_host import ROOT
from devkit.comfy_process import load_pack, open_host


def work(grid: Grid) -> None:
    """Do the jobs of the grid that are left."""
    from tqdm import tqdm

    with tempfile.TemporaryDirectory(prefix="personalvideo-") as base:
        open_host(Path(base))
        logging.disable(logging.WARNING)
        pack = load_pack(Path(base))
        import torch

        from benchmarks.ablations.world import AblationWorld

        torch.set_num_threads(1)  # so that seconds are processor time of one thread
        world = AblationWorld(pack)
        trained = [job for job in grid.wanted if BY_NAME[job.arm].training != NOTHING]
        with tqdm(total=len(trained) * world.steps, unit="step", smoothing=0.05) as bar:
            for job in grid.claims():
                done = len(grid.done().intersection(trained))
                bar.n = done * world.steps
                bar.set_description(f"{done}/{len(trained)} {job.arm} {job.identity} {job.seed}")
                bar.refresh()
                try:
                    row, videos = world.row(BY_NAME[job.arm], job.identity, job.seed, grid.lora(job), bar.update)
                except Exception as error:  # the other jobs still have to be done
                    bar.write(f"{job.name} has no row: {error}", file=sys.stderr)
                    continue
                save_videos(grid.videos(job), videos)
                grid.add(row)
        print(f"The original model's videos, which all arms share: {world.bank_seconds:.0f} s of processor time.")


def save_videos(path: Path, videos) -> None:
    """Save ``videos`` [N, F, 3, H, W] in 0..1 with 8 bits."""
    import torch
    from safetensors.torch import save_file

    path.parent.mkdir(exist_ok=True)
    save_file({"videos": (videos * 255).round().to(torch.uint8).contiguous()}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the whole study instead of its subset")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that share the work, each with one thread; 0 for one more without report",
    )
    parser.add_argument("--known", type=Path, help="ablations.json of an earlier run, whose rows are not done again")
    arguments = parser.parse_args()
    grid = Grid(OUTPUT, wanted(arguments.full))
    if arguments.known:
        grid.adopt(json.loads(arguments.known.read_text()))
    command = [sys.executable, "-m", "benchmarks.ablations.ablations", "--workers", "0", *(["--full"] if arguments.full else [])]
    silent = os.environ | {"TQDM_DISABLE": "1"}
    others = [subprocess.Popen(command, stdout=subprocess.DEVNULL, env=silent, cwd=ROOT) for _ in range(arguments.workers - 1)]
    try:
        work(grid)
        for other in others:
            other.wait()
    finally:
        for other in others:
            other.terminate()
    if not arguments.workers:
        return
    from benchmarks.ablations.report import write

    print(write(OUTPUT, OUTPUT))
    if left := len(grid.wanted) - len(grid.rows()):
        print(f"{left} of {len(grid.wanted)} rows are not there yet; start it again to go on.")


if __name__ == "__main__":
    main()
