"""The plots of the benchmarks show the numbers of their JSON files."""

import json

from matplotlib.container import BarContainer

from benchmarks.ablations.denoising import plot as denoising_plot
from benchmarks.speed.plot import speed_plot
from devkit.comfy_host import ROOT

RESULTS = ROOT / "benchmarks" / "results"


def curves(axes) -> dict[str, list[float]]:
    """The named lines of a plot."""
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines if not line.get_label().startswith("_")}


def test_speed_shows_bars_curves_and_points(tmp_path):
    found = json.loads((RESULTS / "speed.json").read_text())
    steps, decode, growth, depth = speed_plot(found, tmp_path / "speed.png").axes
    bars = [[bar.get_width() for bar in each] for each in steps.containers if isinstance(each, BarContainer)]
    schedules = [row["paper_schedule"] for row in found["steps"]]
    assert bars[0] == [each["naive_over_ours_step"] for each in schedules] and bars[2] == [1.0] * len(schedules)
    assert bars[1] == [each["naive_same_depth_over_ours_step"] for each in schedules]
    assert curves(decode) == {row["vae"]: row["one_frame_seconds"] for row in found["decode"]}
    rows, exponents = found["growth"]["frames"], found["growth"]["exponents"]
    memory = [row["megabytes"] / rows[0]["megabytes"] for row in rows]
    assert curves(growth)[f"memory (exponent {exponents['megabytes_with_frames']:.2f})"] == memory
    assert curves(depth) == {row["depth"]: [row["judge_gain"]] for row in found["depth"]}


def test_a_subject_that_was_not_measured_is_left_out(tmp_path):
    found = json.loads((RESULTS / "speed.json").read_text())
    shown = [axes for axes in speed_plot({"depth": found["depth"]}, tmp_path / "speed.png").axes if axes.get_visible()]
    assert len(shown) == 1 and len(curves(shown[0])) == len(found["depth"])


def test_denoising_shows_means_and_the_window(tmp_path):
    found = json.loads((RESULTS / "denoising.json").read_text())
    [axes] = denoising_plot(found["steps"], found["late_window_begins_with_step"], tmp_path / "denoising.png").axes
    names = {"motion": "motion", "attributes": "looks", "identity": "identity"}
    assert curves(axes) == {title: [row[name][0] for row in found["steps"]] for name, title in names.items()}
    [window] = axes.patches
    assert window.get_x() == found["late_window_begins_with_step"] - 0.5
