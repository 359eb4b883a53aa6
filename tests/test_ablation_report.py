"""The report of the ablation study, from rows made by hand."""

import json

import pytest
from ablation_arms import BY_NAME
from ablation_grid import Grid
from ablation_plot import plot
from ablation_report import QUESTIONS, answers, present, table, verdict, write
from ablation_study import wanted

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
    found = {(question.arm, question.other, question.figure): result for question, result in answers(rows)}
    assert set(found) == {("ours", "base", "judge"), ("ours", "all_steps", "dynamic")}
    assert found["ours", "base", "judge"].difference.mean == pytest.approx((0.7 + 0.8 + 0.8) / 3)
    assert verdict(found["ours", "all_steps", "dynamic"]) == "shown"


def test_verdicts(rows):
    swapped = {"ours": "all_steps", "all_steps": "ours"}
    other_way = [row | {"arm": swapped.get(row["arm"], row["arm"])} for row in rows]
    assert verdict(dict((q.other, r) for q, r in answers(other_way))["all_steps"]) == "against"
    noisy = [row | {"dynamic": 1.0 if row["arm"] == "ours" and row["identity"] == "Bina" else row["dynamic"]} for row in rows]
    assert verdict(dict((q.other, r) for q, r in answers(noisy))["all_steps"]) == "open"
    assert verdict(dict((q.other, r) for q, r in answers(rows[:3]))["base"]) == "open"  # one person proves nothing


def test_table_has_a_line_an_arm_and_a_line_a_question(rows):
    lines = table(rows).splitlines()
    assert lines[0].startswith("9 rows, 3 people, 1 training seed, ")
    assert [line.split(" | ")[0].strip("| ") for line in lines[4:7]] == [BY_NAME[arm].title for arm in present(rows)]
    assert "| 0.87 [" in lines[5]  # the mean of 0.7, 0.9 and 1.0
    assert sum(line.endswith("shown |") for line in lines) == 2


def test_every_question_is_about_arms_that_exist():
    assert all({question.arm, question.other} <= set(BY_NAME) for question in QUESTIONS)


def test_report_is_written_from_a_grid(rows, tmp_path, monkeypatch):
    monkeypatch.setattr("ablation_report.sheet", lambda grid, rows: None)
    grid = Grid(tmp_path / "work", wanted(full=True))
    for row in rows:
        grid.add(row)
    text = write(tmp_path / "work", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ablations.json", "ablations.md", "ablations.png"]
    stored = json.loads((tmp_path / "out" / "ablations.json").read_text())
    assert sorted(map(str, stored)) == sorted(map(str, rows)) and (tmp_path / "out" / "ablations.md").read_text() == text
    with pytest.raises(ValueError, match="make ablations"):
        write(tmp_path / "empty", tmp_path / "out")


def test_marks_are_where_their_values_are(rows):
    arms = [BY_NAME[arm] for arm in present(rows)]
    picture = plot(rows, arms)
    assert picture.size == plot(rows[:3], arms).size
    blue = [x for x in range(272, picture.width) if picture.getpixel((x, 112 + 34 + 17)) == (0, 114, 178)]
    # Mean 0.867, standard error 0.0882, t 4.303: the interval starts at 0.487, on an axis of 230 pixels from -0.2 to 1.
    assert blue[0] == pytest.approx(272 + 230 * (0.487 + 0.2) / 1.2, abs=1.5)
