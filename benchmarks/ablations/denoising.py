"""When the demo model decides what: the paper's Figure 4 in numbers, for the ablations of the late window.

    python -m benchmarks.ablations.denoising      about three minutes, into benchmarks/results/denoising.json and .png

In every sampling step the model predicts the whole video. For the held-out videos these predictions are compared with the
final video: does it already show that person, those looks, and that motion of the head?
"""

import json
import logging
import tempfile
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.ablations.paired import interval
from benchmarks.ablations.study import SEEDS
from devkit.comfy_host import ROOT
from devkit.comfy_process import load_pack, open_host
from devkit.figures import GREY, RULE, head, panels, save, styled

RESULTS = ROOT / "benchmarks" / "results"
FIGURES = {
    "identity": "the judge's cosine to the finished frames, 1 in the last step",
    "attributes": "share of the finished frames' looks, 1 in the last step",
    "motion": "speed of the head, 1 in the last step",
    "place": "distance of the head from where it will be, in pixels",
}


def compare(metrics, clips: list) -> list[dict[str, float]]:
    """The FIGURES of the predictions [F, 3, H, W] of each step, against the last of them."""
    references, places = metrics.references(list(clips[-1])), _centres(metrics, clips[-1])
    measured = [metrics.measure(clip, "", references) for clip in clips]
    end = measured[-1]
    return [
        {
            "identity": each.judge / end.judge, "attributes": each.attributes / end.attributes,
            "motion": each.dynamic / end.dynamic,
            "place": (_centres(metrics, clip) - places).norm(dim=-1).mean().item(),
        }
        for clip, each in zip(clips, measured)
    ]  # fmt: skip


def _centres(metrics, clip):
    """The centres [F, 2] of the heads, in pixels."""
    import torch

    boxes = torch.tensor([face.box for face in metrics.faces(clip)])
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def summary(clips: list[list[dict[str, float]]]) -> list[dict]:
    """For every step its number from 1, and for each figure the mean over the clips and the limits of its 95 % interval."""
    rows = []
    for number, step in enumerate(zip(*clips), 1):
        means = {figure: interval([clip[figure] for clip in step]) for figure in FIGURES}
        limits = {figure: (mean.mean, mean.low, mean.high) for figure, mean in means.items()}
        rows.append({"step": number} | {figure: [round(value, 4) for value in each] for figure, each in limits.items()})
    return rows


@styled
def plot(rows: list[dict], window: int, path: Path) -> Figure:
    """Draw the ``rows`` of ``summary``. window: the step with which the late window begins."""
    figure, [[axes]] = panels(760, 400)
    head(axes, "What each step decides", "prediction against the finished video; bands are 95 % confidence intervals")
    steps = [row["step"] for row in rows]
    for name, title in {"motion": "motion", "attributes": "looks", "identity": "identity"}.items():
        mean, low, high = zip(*(row[name] for row in rows))
        axes.plot(steps, mean, label=title)
        axes.fill_between(steps, low, high, alpha=0.2)
    axes.axvspan(window - 0.5, steps[-1] + 0.5, color=RULE, alpha=0.6, zorder=0)
    axes.annotate("late window", (window - 0.5, 0.02), (6, 0), textcoords="offset points", color=GREY)
    axes.set_xlim(0.5, steps[-1] + 0.5)
    axes.set_ylim(0, 1.05)
    axes.set_xticks(steps)
    axes.set_xlabel("sampling step")
    axes.legend(loc="lower center")
    save(figure, path)
    return figure


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="personalvideo-") as base:
        open_host(Path(base))
        logging.disable(logging.WARNING)
        pack = load_pack(Path(base))
        import torch

        from benchmarks.ablations.world import AblationWorld

        torch.set_num_threads(1)
        world, clips = AblationWorld(pack), []
        for seed in SEEDS:
            world.use_seed(seed)
            clips += [compare(world.metrics, world.predictions(index)) for index in range(len(world.held_out))]
        window = world.first_step(0.75) + 1
    rows = summary(clips)
    lines = [f'"clips": {len(clips)}', f'"late_window_begins_with_step": {window}', f'"figures": {json.dumps(FIGURES)}']
    lines += ['"steps": [\n' + ",\n".join(json.dumps(row) for row in rows) + "\n]"]
    (RESULTS / "denoising.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    plot(rows, window, RESULTS / "denoising.png")
    for row in rows:
        print(row["step"], *(f"{figure} {row[figure][0]:.2f}" for figure in FIGURES))


if __name__ == "__main__":
    main()
