"""Simulated prompts (paper, section 4.3): bundled lists, and the person put into them, by trigger word and in words."""

import re
from pathlib import Path

NOUNS = {"man": "man", "woman": "woman", "person": "person", "demo": "person"}
SUBJECTS = tuple(NOUNS)
TRIGGER_WORD = "ohwx"
"""For new graphs: a word without a meaning of its own, which the usual "sks", a rifle's name, is not."""

_PLACEHOLDER = re.compile(r"<[Vv]>|(?<![\w-])V(?![\w-])")
_NOUN = re.compile(r"\b(?:man|woman|person)\b", re.IGNORECASE)
_ARTICLE = re.compile(r"(?:an?|the|one)\s", re.IGNORECASE)
_TAKES_AN = re.compile(r"[aeiou]|8|1[18]\b", re.IGNORECASE)
_PUNCTUATION = ",.;:!?"


def load(subject: str) -> list[str]:
    """The bundled prompts of one of SUBJECTS, each with the placeholder V."""
    if subject not in NOUNS:
        raise ValueError(f'subject "{subject}" has no bundled prompts: choose one of {", ".join(SUBJECTS)}.')
    return parse((Path(__file__).parent / f"{subject}.txt").read_text(encoding="utf-8"))


def parse(text: str) -> list[str]:
    """One prompt a line, without blank lines and lines that start with #."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def fill(prompts: list[str], trigger_word: str, subject: str, description: str = "") -> list[str]:
    """The prompts with the trigger word of the trained identity, and the description of the person beside it.

    The placeholder is ``V`` as a word of its own, or ``<V>`` / ``<v>`` as in the paper. To a prompt
    without a class noun ("V smiling") the subject's is added ("sks man smiling"). A prompt which
    already has the trigger word, spelled exactly so, needs no placeholder. The description, such as
    "60-year-old man with glasses", follows the person's first mention: "a sks man, a 60-year-old man with
    glasses, smiling".

    ValueError, in one sentence: trigger word empty, no prompts, or a prompt with neither.
    """
    trigger_word = trigger_word.strip()
    if not trigger_word:
        raise ValueError(f'trigger_word is empty: enter the word that shall stand for the person, for example "{TRIGGER_WORD}".')
    if not prompts:
        raise ValueError("prompts has no prompt in it: write one a line, or clear the field for the bundled list.")
    filled = [_fill_one(prompt, number, trigger_word, NOUNS[subject]) for number, prompt in enumerate(prompts, start=1)]
    description = _apposition(description)
    return [_describe(prompt, trigger_word, description) for prompt in filled] if description else filled


def has_trigger(prompt: str, trigger_word: str) -> bool:
    """Whether the trigger word, spelled exactly so, stands in the prompt as words of their own."""
    return _trigger(trigger_word).search(prompt) is not None


def naming(prompts: list[str], trigger_word: str) -> str:
    """How the prompts name the person: the trigger word with the words after it, and the article before it, that all share.

    "a sks man, a 60-year-old man with glasses" of what ``fill`` makes with that description. Every prompt has to have the
    trigger word.
    """
    befores, afters = zip(*(_trigger(trigger_word).split(prompt, maxsplit=1) for prompt in prompts))
    words = [[word.rstrip(_PUNCTUATION) for word in after.split()] for after in afters]
    shared = next((index for index, group in enumerate(zip(*words)) if len(set(group)) > 1), min(map(len, words)))
    ends = [0, *(word.end() for word in re.finditer(r"\S+", afters[0]))]
    articles = {before.split()[-1].lower() if before.split() else "" for before in befores}
    article = f"{articles.pop()} " if articles in ({"a"}, {"an"}, {"the"}) else ""
    return f"{article}{trigger_word}{afters[0][: ends[shared]].rstrip(_PUNCTUATION)}"


def _trigger(trigger_word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(trigger_word)}(?!\w)")


def _apposition(description: str) -> str:
    """The description in one line; one that has a class noun and no article gets an article."""
    description = " ".join(description.split()).strip(_PUNCTUATION + " ")
    if not _NOUN.search(description) or _ARTICLE.match(description):
        return description
    return f"{'an' if _TAKES_AN.match(description) else 'a'} {description}"


def _describe(prompt: str, trigger_word: str, description: str) -> str:
    """The prompt with the description after the person's first mention, at its end where that is a genitive."""
    mention = re.compile(rf"{_trigger(trigger_word).pattern}(?:\s+(?:[\w-]+\s+)?{_NOUN.pattern})?")
    end = next(mention.finditer(prompt)).end()
    before, after = prompt[:end], prompt[end:]
    if after.startswith(("'", "’")):
        return f"{prompt.rstrip(_PUNCTUATION)}, {description}"
    comma = "" if not after or after[0] in _PUNCTUATION else ","
    return f"{before}, {description}{comma}{after}"


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
