"""The questions of the ablation study, and what counts as an answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.ablations.paired import Comparison, compare


@dataclass(frozen=True)
class Question:
    """Whether ``arm`` has more of ``figure`` than ``other``, by more than ``aim``; ``claim`` says so in words."""

    claim: str
    arm: str
    other: str
    figure: str
    aim: float = 0.0


PLANNED = (
    Question("ours shows the person, by 0.6 more than the base model", "ours", "base", "judge", 0.6),
    Question("ours shows the person better than reconstruction", "ours", "reconstruction", "judge"),
    Question("ours moves more than reconstruction", "ours", "reconstruction", "dynamic"),
    Question("SCR keeps motion", "ours", "no_scr", "dynamic"),
    Question("SCR keeps the prompt", "ours", "no_scr", "prompt"),
    Question("prompt augmentation brings identity on new prompts", "ours", "no_augmentation", "judge"),
    Question("prompt augmentation keeps the prompt", "ours", "no_augmentation", "prompt"),
    Question("the last quarter moves more than all steps", "ours", "all_steps", "dynamic"),
    Question("the last quarter moves more than the last half", "ours", "half", "dynamic"),
    Question("videos teach the person better than single frames", "ours", "t2i", "judge"),
    Question("self-attention shows the person better than cross-attention", "ours", "cross", "judge"),
    Question("self-attention alone keeps the prompt better than both", "ours", "self_cross", "prompt"),
    Question("five photos are better than one", "ours", "one_reference", "judge"),
    Question("the robust augmentation is better than the paper's, for the judge", "ours", "paper_augmentation", "judge"),
    Question("the robust augmentation is better than the paper's, for the looks", "ours", "paper_augmentation", "attributes"),
    Question("gradient through 4 steps is better than through 1", "ours", "k1", "judge"),
    Question("gradient through 4 steps is better than through 2", "ours", "k2", "judge"),
)
LATER = (
    Question("ours keeps the prompt better than reconstruction", "ours", "reconstruction", "prompt"),
    Question("ours shows the person better than reconstruction at our learning rate", "ours", "reconstruction_our_rate", "judge"),
    Question("ours moves more than reconstruction at our learning rate", "ours", "reconstruction_our_rate", "dynamic"),
    Question("ours shows the person better than reconstruction in the last quarter", "ours", "reconstruction_late", "judge"),
    Question("ours moves more than reconstruction in the last quarter", "ours", "reconstruction_late", "dynamic"),
    Question(
        "the last quarter moves more than all steps, with reconstruction", "reconstruction_late", "reconstruction", "dynamic"
    ),
    Question("all steps show the person better than the last quarter", "all_steps", "ours", "judge"),
    Question("preservation and the teacher's faces keep motion", "ours", "eq5", "dynamic"),
    Question("SCR keeps motion, with ICR and SCR alone", "eq5", "eq5_no_scr", "dynamic"),
    Question("SCR keeps the prompt, with ICR and SCR alone", "eq5", "eq5_no_scr", "prompt"),
    Question("the last quarter moves more than all steps, with ICR and SCR alone", "eq5", "eq5_all_steps", "dynamic"),
    Question("the last quarter keeps the prompt better than all steps, with ICR and SCR alone", "eq5", "eq5_all_steps", "prompt"),
)
"""Questions that were asked after rows had been seen."""

FEWEST_PEOPLE = 6  # with fewer the signed-rank test cannot reach 0.05


def answers(rows: list[dict], questions: Sequence[Question]) -> list[tuple[Question, Comparison]]:
    """The answers to those questions of which somebody has both arms."""
    pairs = {(row["arm"], row["identity"], row["seed"]) for row in rows}
    return [
        (question, compare(rows, question.arm, question.other, question.figure))
        for question in questions
        if any((question.arm, *who) in pairs and (question.other, *who) in pairs for _, *who in pairs)
    ]


def verdict(question: Question, result: Comparison) -> str:
    """The answer in a word: shown (the 95 % interval is above the aim), refuted (it is below), or open."""
    if result.difference.people < FEWEST_PEOPLE:
        return "open"
    if result.difference.low > question.aim:
        return "shown"
    return "refuted" if result.difference.high < question.aim else "open"
