"""Simulated prompts (paper, section 4.3): bundled lists, and the trigger word put into them."""

import re
from pathlib import Path

NOUNS = {"man": "man", "woman": "woman", "person": "person", "demo": "person"}
SUBJECTS = tuple(NOUNS)

_PLACEHOLDER = re.compile(r"<[Vv]>|(?<![\w-])V(?![\w-])")
_NOUN = re.compile(r"\b(?:man|woman|person)\b", re.IGNORECASE)


def load(subject: str) -> list[str]:
    """The bundled prompts of one of SUBJECTS, each with the placeholder V."""
    if subject not in NOUNS:
        raise ValueError(f'subject "{subject}" has no bundled prompts: choose one of {", ".join(SUBJECTS)}.')
    return parse((Path(__file__).parent / f"{subject}.txt").read_text(encoding="utf-8"))


def parse(text: str) -> list[str]:
    """One prompt a line, without blank lines and lines that start with #."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def fill(prompts: list[str], trigger_word: str, subject: str) -> list[str]:
    """The prompts with the trigger word of the trained identity.

    The placeholder is ``V`` as a word of its own, or ``<V>`` / ``<v>`` as in the paper. To a prompt
    without a class noun ("V smiling") the subject's is added ("sks man smiling"). A prompt which
    already has the trigger word, spelled exactly so, needs no placeholder.

    ValueError, in one sentence: trigger word empty or of several lines, no prompts, or a prompt with neither.
    """
    trigger_word = trigger_word.strip()
    if not trigger_word:
        raise ValueError('trigger_word is empty: enter the word that shall stand for the person, for example "sks".')
    if len(trigger_word.splitlines()) > 1:
        raise ValueError("trigger_word is longer than a line: enter one word, or a few, without a line break.")
    if not prompts:
        raise ValueError("prompts has no prompt in it: write one a line, or clear the field for the bundled list.")
    return [_fill_one(prompt, number, trigger_word, NOUNS[subject]) for number, prompt in enumerate(prompts, start=1)]


def has_trigger(prompt: str, trigger_word: str) -> bool:
    """Whether the trigger word, spelled exactly so, stands in the prompt as words of their own."""
    return re.search(rf"(?<!\w){re.escape(trigger_word)}(?!\w)", prompt) is not None


def _fill_one(prompt: str, number: int, trigger_word: str, noun: str) -> str:
    if _PLACEHOLDER.search(prompt):
        name = trigger_word if _NOUN.search(prompt) else f"{trigger_word} {noun}"
        return _PLACEHOLDER.sub(lambda _: name, prompt)
    if has_trigger(prompt, trigger_word):
        return prompt
    raise ValueError(
        f'prompts: line {number} ("{_shorten(prompt)}") has neither V nor the trigger word "{trigger_word}": '
        'write V where the person is named, as in "V smiling on the beach".'
    )


def _shorten(prompt: str, limit: int = 60) -> str:
    return prompt if len(prompt) <= limit else prompt[: limit - 3].rstrip() + "..."
