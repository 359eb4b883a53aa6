"""The Table 1 runner's configuration: the example works, and whatever cannot is named in one sentence."""

import pytest

from benchmarks.table1 import table1
from devkit.comfy_host import ROOT


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A folder in which the example's files are."""
    for folder in ("photos/anna", "photos/ben", "prompts", "videos/consisid/anna", "videos/consisid/ben"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "workflows").symlink_to(ROOT / "workflows")
    (tmp_path / "prompts" / "held_out.txt").write_text("a sks man\n\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_says_everything_that_is_needed(example):
    config = table1.read_config(ROOT / "benchmarks" / "table1.example.toml")
    assert config.prompts == ["a sks man"] and len(config.methods) == 3 and set(config.sources) == {"reward", "judge", "clip"}
    (example / "photos" / "ben").rmdir()
    with pytest.raises(ValueError, match="photos of ben"):
        table1.read_config(ROOT / "benchmarks" / "table1.example.toml")


def test_two_methods_of_one_name_are_refused(example):
    text = (ROOT / "benchmarks" / "table1.example.toml").read_text().replace('"HunyuanVideo"', '"PersonalVideo"')
    (example / "twice.toml").write_text(text)
    with pytest.raises(ValueError, match="^twice.toml: two methods are named PersonalVideo"):
        table1.read_config(example / "twice.toml")


def test_a_finished_video_without_the_number_of_a_prompt_is_named(example):
    (example / "videos" / "consisid" / "ben" / "7.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="ben.7.mp4: its name has to start with the number of its prompt, 1 to 1"):
        table1.read_config(ROOT / "benchmarks" / "table1.example.toml")


WRONG = {  # (what is written instead of what, the sentence)
    "a key that does not exist": (
        "train_inputs",
        "train_input",
        "a method needs a name, and may have .*train_inputs.*train_input'",
    ),
    "no workflow": ("2 - Sample with identity.json", "9.json", "method .*: there is no workflow .*9.json"),
    "no prompts": ("prompts/held_out.txt", "prompts/none.txt", "prompts: there is no file prompts/none.txt"),
    "no videos": ("videos/consisid", "videos/none", "method ConsisID: the videos of anna are not in videos/none/anna"),
    "fvd without videos": (
        '[[methods]]\nname = "ConsisID"',
        '[fvd]\nweights = "a"\n[[methods]]\nname = "ConsisID"',
        "fvd needs real",
    ),
    "fvd without weights": (
        '[[methods]]\nname = "ConsisID"',
        '[fvd]\nreal = "photos"\nweights = "a"\n[[methods]]\nname = "ConsisID"',
        "fvd needs real, .* and weights",
    ),
    "fvd without a folder": (
        '[[methods]]\nname = "ConsisID"',
        '[fvd]\nreal = "none"\nweights = "prompts/held_out.txt"\n[[methods]]\nname = "ConsisID"',
        "fvd needs real, a folder",
    ),
    "no TOML": ("seeds = [0]", "seeds = [0", "Unclosed|Invalid"),
}


@pytest.mark.parametrize("old, new, message", WRONG.values(), ids=WRONG)
def test_wrong_configurations_are_named(example, old, new, message):
    text = (ROOT / "benchmarks" / "table1.example.toml").read_text()
    assert old in text
    (example / "wrong.toml").write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=f"^wrong.toml: .*({message})"):
        table1.read_config(example / "wrong.toml")


def test_a_configuration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="no.toml: there is no such file"):
        table1.read_config(tmp_path / "no.toml")
