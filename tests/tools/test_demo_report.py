"""The demo's plot shows the numbers of its report."""

import pytest
from matplotlib.container import BarContainer
from PIL import Image

from tools.demo_report import METRICS, report_plot


def report(*judged: float, **more) -> dict:
    """A report with one person for each of these figures of the judge."""
    both = {f"{metric}_{when}": 0.5 for metric, _, _ in METRICS for when in ("before", "after")}
    people = [
        {"name": f"Person {number}", **both, "judge_after": judge, "drift_outside_head": 0.01, "train_seconds": 100.0}
        for number, judge in enumerate(judged)
    ]
    return {"identities": people, "total_seconds": 200.0, **more}


def heights(axes) -> list[list[float]]:
    return [[bar.get_height() for bar in bars] for bars in axes.containers if isinstance(bars, BarContainer)]


@pytest.mark.parametrize("count", [1, 4, 10])
def test_every_metric_of_every_person_has_two_bars_of_its_height(tmp_path, count):
    judged = [0.1 * number - 0.3 for number in range(count)]
    figure = report_plot(report(*judged), tmp_path / "report.png")
    assert heights(figure.axes[0]) == [[0.5] * count, judged]
    assert [heights(axes) for axes in figure.axes[1:]] == 3 * [[[0.5] * count] * 2]
    assert Image.open(tmp_path / "report.png").size == tuple(round(100 * inches) for inches in figure.get_size_inches())


def test_a_report_without_people_is_an_error():
    with pytest.raises(ValueError, match="no identities"):
        report_plot(report())


def test_the_warning_about_the_judge_is_on_the_plot():
    warning = "judge: demo is the very network that training rewarded."
    assert warning in report_plot(report(0.5, judge_warning=warning)).get_supxlabel()
    assert "judge" not in report_plot(report(0.5, judge_warning=None)).get_supxlabel()
