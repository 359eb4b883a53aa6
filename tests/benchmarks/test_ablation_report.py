"""The report of the ablation study, from rows made by hand."""

import json

import pytest

from benchmarks.ablations.arms import BY_NAME
from benchmarks.ablations.grid import Grid, Job
from benchmarks.ablations.paired import Comparison, Interval
from benchmarks.ablations.plot import plot
from benchmarks.ablations.questions import LATER, PLANNED, Question, answers, verdict
from benchmarks.ablations.report import present, sheet, table, write
from benchmarks.ablations.study import wanted
from devkit.comfy_host import ROOT

RESULTS = ROOT / "benchmarks" / "results"
ROW = {"arm", "identity", "seed", "judge", "reward", "attributes", "dynamic", "prompt", "drift_outside_head", "seconds"}
JUDGE = {"base": (0.0, 0.1, 0.2), "ours": (0.7, 0.9, 1.0), "all_steps": (0.8, 0.8, 0.8)}
DYNAMIC = {"base": (2.0, 2.0, 2.0), "ours": (1.9, 1.8, 1.9), "all_steps": (1.0, 0.8, 1.1)}


@pytest.fixture
def rows():
    """Three people, three arms, one seed."""
    return [
        {"arm": arm, "identity": identity, "seed": 0, "judge": JUDGE[arm][person], "reward": 0.5, "attributes": 0.5,
         "dynamic": DYNAMIC[arm][person], "prompt": 0.85, "drift_outside_head": 0.01, "seconds": 80.0}
        for person, identity in enumerate(("Bina", "Cleo", "Dovi")) for arm in JUDGE
    ]  # fmt: skip


def test_only_questions_that_the_rows_can_answer_are_answered(rows):
    found = {(question.arm, question.other, question.figure): result for question, result in answers(rows, PLANNED)}
    assert set(found) == {("ours", "base", "judge"), ("ours", "all_steps", "dynamic")}
    assert found["ours", "base", "judge"].difference.mean == pytest.approx((0.7 + 0.8 + 0.8) / 3)


@pytest.mark.parametrize(
    "people, low, high, word",
    [
        (10, 0.61, 0.9, "shown"),
        (10, 0.59, 0.9, "open"),
        (10, 0.1, 0.59, "refuted"),
        (5, 0.61, 0.9, "open"),
        (1, float("nan"), float("nan"), "open"),
    ],
)
def test_a_claim_is_shown_where_the_interval_lies_above_its_aim(people, low, high, word):
    question = Question("more by 0.6", "ours", "base", "judge", 0.6)
    assert verdict(question, Comparison(Interval(people, 0.7, low, high), 0.001, 0.002)) == word


def test_table_has_a_line_an_arm_and_a_line_a_question(rows):
    lines = table(rows).splitlines()
    assert lines[0].startswith("9 rows, 3 people, 1 training seed, ")
    assert [line.split(" | ")[0].strip("| ") for line in lines[4:7]] == [BY_NAME[arm].title for arm in present(rows)]
    assert "| 0.87 [" in lines[5]  # the mean of 0.7, 0.9 and 1.0
    planned, later = (lines.index(next(line for line in lines if heading in line)) for heading in ("| Planned", "| Asked when"))
    assert [line.split(" | ")[0] for line in lines[planned + 2 : planned + 4]] == [
        "| ours shows the person, by 0.6 more than the base model",
        "| the last quarter moves more than all steps",
    ]
    assert lines[later + 2].startswith("| all steps show the person better") and len(lines) == later + 3
    assert sum(line.endswith("| open |") for line in lines) == 3  # of three people nothing follows


def test_every_question_is_about_arms_that_exist():
    assert all({question.arm, question.other} <= set(BY_NAME) for question in PLANNED + LATER)


def test_report_is_written_from_a_grid(rows, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.ablations.report.sheet", lambda grid, rows: None)
    grid = Grid(tmp_path / "work", wanted(full=True))
    for row in rows:
        grid.add(row)
    text = write(tmp_path / "work", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ablations.json", "ablations.md", "ablations.png"]
    stored = json.loads((tmp_path / "out" / "ablations.json").read_text())
    assert sorted(map(str, stored)) == sorted(map(str, rows)) and (tmp_path / "out" / "ablations.md").read_text() == text
    with pytest.raises(ValueError, match="make ablations"):
        write(tmp_path / "empty", tmp_path / "out")


def test_without_all_its_videos_there_is_no_sheet(rows, tmp_path):
    """Rows that come from another computer have no videos here."""
    grid = Grid(tmp_path, wanted(full=True))
    kept = grid.videos(Job("ours", "Bina", 0))
    kept.parent.mkdir()
    kept.touch()
    assert sheet(grid, rows) is None


def test_the_published_report_is_that_of_the_published_rows():
    published = json.loads((RESULTS / "ablations.json").read_text())
    assert (RESULTS / "ablations.md").read_text() == table(published)
    assert all(set(each) == ROW for each in published)
    assert len({(each["arm"], each["identity"], each["seed"]) for each in published}) == len(published)


def test_marks_are_where_their_values_are(rows):
    figure = plot(rows, [BY_NAME[arm] for arm in present(rows)])
    lines = {(round(line.get_ydata()[0], 2), len(line.get_xdata())): line.get_xdata() for line in figure.axes[0].lines}
    row = present(rows).index("ours")
    # Mean 0.867, standard error 0.0882, t 4.303: the interval starts at 0.487.
    assert lines[row, 2] == pytest.approx((0.487, 1.246), abs=1e-3)
    assert lines[row, 1] == pytest.approx([2.6 / 3])
    assert sorted(lines[row + 0.25, 3]) == pytest.approx([0.7, 0.9, 1.0])


def test_a_person_beyond_the_axis_is_drawn_at_its_end(rows):
    figure = plot([row | {"judge": 7.0} for row in rows], [BY_NAME["ours"]])
    people = next(line for line in figure.axes[0].lines if line.get_ydata()[0] == 0.25)
    assert set(people.get_xdata()) == {1.0}
