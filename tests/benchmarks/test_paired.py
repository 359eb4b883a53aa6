"""The statistics of the ablations against cases computed by hand."""

from math import isnan, nan

import pytest

from benchmarks.ablations.paired import arm_interval, compare, differences, holm, interval


def rows(arm: str, values: dict[str, list[float]]) -> list[dict]:
    """Rows with one figure, ``x``; the values of a person are those of seeds 0, 1, ..."""
    return [
        {"arm": arm, "identity": identity, "seed": seed, "x": value}
        for identity, each in values.items()
        for seed, value in enumerate(each)
    ]


def test_interval_is_students():
    # Mean 3, standard deviation sqrt(2.5), standard error 1/sqrt(2); t for 4 degrees of freedom is 2.776445.
    result = interval([1, 2, 3, 4, 5])
    assert result.people == 5 and result.mean == 3
    assert result.high - 3 == pytest.approx(2.776445 / 2**0.5, rel=1e-6)
    assert 3 - result.low == pytest.approx(result.high - 3)


def test_one_person_has_no_interval_and_nobody_no_mean():
    assert interval([4.0]).mean == 4 and isnan(interval([4.0]).low)
    with pytest.raises(ValueError, match="no value"):
        interval([])


def test_seeds_are_averaged_before_people_are_counted():
    result = arm_interval(rows("a", {"Bina": [1, 3], "Cleo": [4]}) + rows("b", {"Bina": [100]}), "a", "x")
    assert result.people == 2 and result.mean == 3  # not (1 + 3 + 4) / 3


def test_differences_use_only_what_both_arms_have():
    both = rows("a", {"Bina": [1.0, 2.0], "Cleo": [5.0], "Dovi": [9.0]}) + rows("b", {"Bina": [0.5], "Cleo": [1.0]})
    assert differences(both, "a", "b", "x") == {"Bina": 0.5, "Cleo": 4.0}


def test_paired_tests_against_a_case_done_by_hand():
    # Differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.4641 with 2 degrees of freedom, for which the two-sided p is
    # 1 - t / sqrt(t^2 + 2) = 0.07418. All three ranks are positive: the signed-rank p is 2 / 2^3.
    people = {"Bina": [0.0], "Cleo": [0.0], "Dovi": [0.0]}
    ours = rows("a", {"Bina": [1.0], "Cleo": [2.0], "Dovi": [3.0]}) + rows("b", people)
    result = compare(ours, "a", "b", "x")
    assert result.difference.mean == 2
    assert result.t_test == pytest.approx(1 - 12**0.5 / 14**0.5, rel=1e-9)
    assert result.wilcoxon == 0.25
    back = compare(ours, "b", "a", "x")
    assert back.difference.mean == -2 and back.t_test == pytest.approx(result.t_test)


def test_equal_differences_have_no_p():
    result = compare(rows("a", {"Bina": [2.0], "Cleo": [3.0]}) + rows("b", {"Bina": [1.0], "Cleo": [2.0]}), "a", "b", "x")
    assert result.difference.mean == 1 and isnan(result.t_test) and isnan(result.wilcoxon)


def test_correction_for_many_questions():
    # Sorted 0.01, 0.02, 0.04, 0.3 times 4, 3, 2, 1, none smaller than the one before; nan is no question.
    assert holm([0.04, 0.01, nan, 0.3, 0.02]) == pytest.approx([0.08, 0.04, nan, 0.3, 0.06], nan_ok=True)
    assert holm([0.02, 0.021, 0.9, 0.9]) == pytest.approx([0.08, 0.08, 1.0, 1.0])
    assert holm([]) == [] and isnan(holm([nan])[0])
