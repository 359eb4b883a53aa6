"""Bundled prompts, the trigger word, and the node Simulated Prompts."""

import importlib
import re

import pytest

PEOPLE = ("man", "woman", "person")


@pytest.fixture(scope="module")
def prompts(pack):
    return importlib.import_module(f"{pack.__name__}.prompts")


@pytest.fixture(scope="module")
def node(pack):
    return importlib.import_module(f"{pack.__name__}.nodes.simulated_prompts").SimulatedPrompts


@pytest.mark.parametrize("subject", PEOPLE)
def test_bundled_lists_have_50_different_prompts_with_v_and_the_noun_once(prompts, subject):
    lines = prompts.load(subject)
    assert len(lines) == len(set(lines)) == 50
    for line in lines:
        assert len(re.findall(rf"\bV {subject}\b", line)) == len(re.findall(r"\bV\b", line)) == 1, line


def test_bundled_lists_vary_in_length_and_share_no_prompt(prompts):
    lists = {subject: prompts.load(subject) for subject in PEOPLE}
    for lines in lists.values():
        words = [len(line.split()) for line in lines]
        assert min(words) <= 6 and max(words) >= 28
    scenes = [line.replace(f"V {subject}", "V") for subject, lines in lists.items() for line in lines]
    assert len(set(scenes)) == len(scenes)


@pytest.mark.parametrize("subject", PEOPLE)
def test_every_bundled_prompt_gets_the_trigger_word(prompts, subject):
    for line in prompts.fill(prompts.load(subject), "ohwx", subject):
        assert line.count(f"ohwx {subject}") == 1 and not re.search(r"\bV\b", line)


@pytest.mark.parametrize(
    ("prompt", "filled"),
    [
        ("A V man smiling", "A sks man smiling"),
        ("A <V> surfer man in a wave", "A sks surfer man in a wave"),
        ("a <v> man street at night", "a sks man street at night"),
        ("V playing the violin", "sks man playing the violin"),
        ("A V man in a V-neck, watching TV", "A sks man in a V-neck, watching TV"),
        ("the smile of a V man, V's laugh", "the smile of a sks man, sks's laugh"),
        ("sks reading", "sks reading"),
    ],
)
def test_placeholders_become_the_trigger_word(prompts, prompt, filled):
    assert prompts.fill([prompt], "sks", "man") == [filled]


@pytest.mark.parametrize(
    ("prompt", "described"),
    [
        ("A V man smiling", "A sks man, a 60-year-old man with a grey beard, smiling"),
        ("A <V> surfer man, in a wave", "A sks surfer man, a 60-year-old man with a grey beard, in a wave"),
        ("V playing the violin", "sks man, a 60-year-old man with a grey beard, playing the violin"),
        ("A laughing V man", "A laughing sks man, a 60-year-old man with a grey beard"),
        ("A V man, V's hat", "A sks man, a 60-year-old man with a grey beard, sks's hat"),
        ("The smile of V man's face.", "The smile of sks man's face, a 60-year-old man with a grey beard"),
    ],
)
def test_the_description_follows_the_first_mention_of_the_person(prompts, prompt, described):
    assert prompts.fill([prompt], "sks", "man", " 60-year-old man\nwith a grey beard, ") == [described]


@pytest.mark.parametrize(
    ("description", "written"),
    [
        ("man of 80", "a man of 80"),
        ("an old man", "an old man"),
        ("old man", "an old man"),
        ("80-year-old woman", "an 80-year-old woman"),
        ("18-year-old woman", "an 18-year-old woman"),
        ("grey beard and glasses", "grey beard and glasses"),
    ],
)
def test_a_description_that_names_a_person_gets_its_article(prompts, description, written):
    assert prompts.fill(["A V man"], "sks", "man", description) == [f"A sks man, {written}"]


@pytest.mark.parametrize("subject", PEOPLE)
@pytest.mark.parametrize("description", ["", "60-year-old man with a grey beard, glasses and a hat"])
def test_naming_says_how_all_prompts_name_the_person(prompts, subject, description):
    lines = prompts.fill(prompts.load(subject), "ohwx", subject, description)
    assert prompts.naming(lines, "ohwx") == f"a ohwx {subject}" + (f", a {description}" if description else "")


def test_naming_is_the_trigger_word_where_prompts_share_no_more(prompts):
    assert prompts.naming(["sks's laugh", "The sks man", "a sks man"], "sks") == "sks"


FRAMING = r"close-up|portrait|half-body|medium shot|chest-up|upper body|\bface|eyes|cheek|chin\b|eyebrow"


@pytest.mark.parametrize("subject", PEOPLE)
def test_every_bundled_prompt_shows_the_face_large(prompts, subject):
    assert [line for line in prompts.load(subject) if not re.search(FRAMING, line, re.IGNORECASE)] == []


def test_a_trigger_word_with_special_characters_is_taken_literally(prompts):
    assert prompts.fill(["A V man", r"A <x\1> man"], r" <x\1> ", "man") == [r"A <x\1> man"] * 2


def test_parse_drops_blank_lines_and_comments(prompts):
    assert prompts.parse("\n# mine\n A V man \r\n\n#V\nV, issue #2\n") == ["A V man", "V, issue #2"]


@pytest.mark.parametrize(
    ("lines", "trigger", "words"),
    [
        (["A V man", "A man in Venice"], "sks", ["line 2", "A man in Venice", '"sks"', "write V"]),
        (["A Sks man"], "sks", ["line 1", "write V"]),
        ([], "sks", ["prompts", "bundled list"]),
        (["A V man"], "  ", ["trigger_word", "empty", "enter"]),
    ],
)
def test_bad_input_gives_one_sentence_with_the_remedy(prompts, lines, trigger, words):
    with pytest.raises(ValueError) as caught:
        prompts.fill(lines, trigger, "man")
    message = str(caught.value)
    assert all(word in message for word in words) and "\n" not in message


def test_node_gives_one_prompt_a_line(prompts, node):
    own = node.execute("woman", "sks", "V laughing\n# not this\n\nA V woman on a pier").result[0]
    assert own == "sks woman laughing\nA sks woman on a pier"
    bundled = node.execute("person", "sks", " \n").result[0].splitlines()
    assert bundled == prompts.fill(prompts.load("person"), "sks", "person")


def test_node_validation_gives_the_sentence_before_anything_runs(node):
    assert node.validate_inputs(trigger_word="sks", prompts="") is True
    assert node.validate_inputs(trigger_word="sks", prompts=None) is True  # linked, not known yet
    assert "trigger_word is empty" in node.validate_inputs(trigger_word="", prompts="")
    assert "line 1" in node.validate_inputs(trigger_word="sks", prompts="a dog")
