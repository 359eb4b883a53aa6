"""The configuration of the Table 1 runner: the example works, and whatever cannot work is named in one sentence."""

import pytest

from benchmarks.table1 import table1
from devkit.comfy_host import ROOT

EXAMPLE = ROOT / "benchmarks" / "table1" / "example.toml"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """A folder that has the example's files."""
    for folder in ("photos/anna", "photos/ben", "prompts", "videos/consisid/anna", "videos/consisid/ben"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "workflows").symlink_to(ROOT / "workflows")
    (tmp_path / "prompts" / "held_out.txt").write_text("a sks man\n\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_says_everything_that_is_needed(example):
    config = table1.read_config(EXAMPLE)
    assert config.prompts == ["a sks man"] and len(config.methods) == 3 and set(config.sources) == {"reward", "judge", "clip"}
    (example / "photos" / "ben").rmdir()
    with pytest.raises(ValueError, match="photos of ben"):
        table1.read_config(EXAMPLE)


def test_two_methods_of_one_name_are_refused(example):
    text = EXAMPLE.read_text().replace('"HunyuanVideo"', '"PersonalVideo"')
    (example / "twice.toml").write_text(text)
    with pytest.raises(ValueError, match="^twice.toml: two methods are named PersonalVideo"):
        table1.read_config(example / "twice.toml")


def test_a_finished_video_without_the_number_of_a_prompt_is_named(example):
    (example / "videos" / "consisid" / "ben" / "7.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match="ben.7.mp4: its name has to start with the number of its prompt, 1 to 1"):
        table1.read_config(EXAMPLE)


WRONG = {  # (what is written instead of what, the sentence)
    "a key that does not exist": (
        "train_inputs",
        "train_input",
        "method PersonalVideo: train_input is unknown; what can stand there is name, train, sample, videos, train_inputs, "
        "sample_inputs",
    ),
    "a table that does not exist": ("[identities]", "[people]", "identities is missing (a folder of photos for each person)"),
    "no servers": (
        '["http://127.0.0.1:8188"]',
        '"http://127.0.0.1:8188"',
        "servers: input should be a valid list, not 'http://127.0.0.1:8188' (addresses of running ComfyUI servers)",
    ),
    "a seed in words": (
        "seeds = [0]",
        'seeds = ["five"]',
        "seeds: 0: input should be a valid integer, unable to parse string as an integer, not 'five'",
    ),
    "no method's name": ('name = "HunyuanVideo"\n', "", "method 2: name is missing (what the table calls the method)"),
    "no node of the judge": (
        '[judge]\nnode = "PersonalVideoLoadFaceModel"',
        "[judge]",
        "judge: node is missing (the type of the node that loads the model)",
    ),
    "no workflow": (
        "2 - Sample with identity.json",
        "9.json",
        "method PersonalVideo: sample: there is no file workflows/HunyuanVideo 9.json (a workflow that samples a video)",
    ),
    "neither workflow nor videos": (
        'videos = "videos/consisid"',
        "",
        "method ConsisID needs either a sample workflow or finished videos",
    ),
    "no prompts": ("prompts/held_out.txt", "prompts/none.txt", "prompts: there is no file prompts/none.txt"),
    "no photos": ("photos/anna", "photos/none", "identities: the photos of anna are not in photos/none"),
    "no videos": ('"videos/consisid"', '"videos/none"', "method ConsisID: the videos of anna are not in videos/none/anna"),
    "fvd without videos": (
        "[[methods]]",
        '[fvd]\nweights = "prompts/held_out.txt"\n[[methods]]',
        "fvd: real is missing (a folder of real videos)",
    ),
    "fvd without weights": (
        "[[methods]]",
        '[fvd]\nreal = "photos"\nweights = "a"\n[[methods]]',
        "fvd: weights: there is no file a (torchvision's file of S3D)",
    ),
    "fvd without a folder": (
        "[[methods]]",
        '[fvd]\nreal = "none"\nweights = "prompts/held_out.txt"\n[[methods]]',
        "fvd: real: there is no folder none (a folder of real videos)",
    ),
}


@pytest.mark.parametrize("old, new, message", WRONG.values(), ids=WRONG)
def test_wrong_configurations_are_named(example, old, new, message):
    text = EXAMPLE.read_text()
    assert old in text
    (example / "wrong.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError) as caught:
        table1.read_config(example / "wrong.toml")
    assert str(caught.value) == f"wrong.toml: {message}."


def test_a_file_that_is_no_toml_is_named(example):
    (example / "wrong.toml").write_text(EXAMPLE.read_text().replace("seeds = [0]", "seeds = [0"))
    with pytest.raises(ValueError, match="^wrong.toml: (Unclosed|Invalid)"):
        table1.read_config(example / "wrong.toml")


def test_a_configuration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="no.toml: there is no such file"):
        table1.read_config(tmp_path / "no.toml")
