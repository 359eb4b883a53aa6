"""The Table 1 runner on the demo world: trained, sampled and measured by a running server, and gone on with."""

import importlib
import shutil
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import table1
import table1_fvd
import table1_graphs as graphs
import torch
from comfy_api.latest import InputImpl, Types
from comfy_host import ROOT
from torchvision.models.video import s3d
from workflows_demo import SAMPLE, TRAIN

PROMPTS = ["a sks person in a room, wearing a red shirt, nodding", "a sks person in the snow, wearing a blue shirt, moving up"]
CONFIG = f"""
output = "OUTPUT"
servers = ["SERVER"]
prompts = "OUTPUT/prompts.txt"
seeds = [5]
reward = {{ node = "PersonalVideoLoadDemo", output = 3 }}
judge = {{ node = "PersonalVideoLoadDemo", output = 4 }}
clip = {{ node = "PersonalVideoLoadDemo", output = 5 }}
[identities]
Bina = "{ROOT / 'demo' / 'identities' / 'Bina'}"
[[methods]]
name = "PersonalVideo"
train = "{TRAIN}"
sample = "{SAMPLE}"
train_inputs = {{ PersonalVideoTrainAdapter = {{ steps = 2, length = 4, sampling_steps = 8, num_frames = 2 }} }}
sample_inputs = {{ PersonalVideoSampleVideo = {{ steps = 4 }}, LoraLoader = {{ strength_model = 0.0 }} }}
[[methods]]
name = "Demo model"
sample = "{SAMPLE}"
sample_inputs = {{ PersonalVideoSampleVideo = {{ steps = 4 }}, LoraLoader = {{ strength_model = 0.0 }} }}
[[methods]]
name = "Elsewhere"
videos = "OUTPUT/elsewhere"
"""


@pytest.fixture(scope="module")
def config(server, tmp_path_factory):
    output = tmp_path_factory.mktemp("table1")
    (output / "prompts.txt").write_text("\n".join(PROMPTS) + "\n")
    path = output / "config.toml"
    path.write_text(CONFIG.replace("OUTPUT", output.as_posix()).replace("SERVER", server.url))
    (output / "elsewhere" / "Bina").mkdir(parents=True)
    return table1.read_config(path)


@pytest.fixture(scope="module")
def rows(config):
    """Of a run that was stopped before the other method's video was there."""
    table1.run(config, say=lambda line: None)
    video = config.output / "videos" / "Demo model" / "Bina" / "002-5.mp4"
    shutil.copy(video, config.output / "elsewhere" / "Bina" / "2 of theirs.mp4")
    table1.run(config, say=lambda line: None)
    return table1.Results(config.output / "rows.jsonl").rows


def test_every_method_is_measured_on_every_prompt(rows):
    assert set(rows) == {
        *((method, "Bina", number, 5) for method in ("PersonalVideo", "Demo model") for number in (1, 2)),
        ("Elsewhere", "Bina", "2 of theirs.mp4", 0),
    }
    for row in rows.values():
        assert {"Face Similarity", "Dynamic Degree", "Temporal Consistency", "CLIP-T", "CLIP-I"} <= set(row["figures"])
        assert row["figures"]["Dynamic Degree"] in (0, 1) and "judge: demo judge" in row["how"]["Face Similarity"]
        assert "Attention" not in row["how"]


def test_the_same_video_has_the_same_figures_wherever_it_comes_from(rows):
    assert rows["Demo model", "Bina", 2, 5]["figures"] == rows["Elsewhere", "Bina", "2 of theirs.mp4", 0]["figures"]


def test_videos_lie_where_the_blind_page_looks_for_them(rows, config):
    from blind_page import find_clips

    folders = {name: config.output / "videos" / name for name in ("PersonalVideo", "Demo model")}
    clips = find_clips(folders, None)
    assert [(clip.name, clip.prompt) for clip in clips] == [(f"Bina/00{n}-5", PROMPTS[n - 1]) for n in (1, 2)]


def test_what_is_done_is_not_done_again(rows, config, server):
    before = server.get("/history").json().keys()
    table1.run(config, say=lambda line: None)
    assert server.get("/history").json().keys() == before


def test_one_lora_a_person_was_trained(rows, config, server):
    ((key, row),) = table1.Results(config.output / "trained.jsonl").rows.items()
    assert key == ("PersonalVideo", "Bina") and row["server"] == server.url
    assert (server.base / "output" / "loras" / row["lora"]).exists()


def random_s3d(seed: int, path: Path) -> Path:
    """Weights at which features are as large as pixels; those that torchvision starts from let them vanish."""
    torch.manual_seed(seed)
    network = s3d(weights=None)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def with_real_videos(config, rows, tmp_path_factory):
    """The real ones are the demo model's own."""
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(config.output / "videos" / "Demo model", folder / "videos")
    return replace(config, fvd={"real": folder / "videos", "weights": random_s3d(0, folder / "s3d.pth")})


def test_fvd_is_the_frechet_distance_of_the_videos_features(with_real_videos, pack):
    found = table1.fvd(with_real_videos, say=lambda line: None)
    assert set(found) == {"PersonalVideo", "Demo model"}  # of one video there is no distance
    assert found["Demo model"] == pytest.approx(0, abs=1e-6)

    names = ("frechet", "video_features")
    frechet, video_features = (importlib.import_module(f"{pack.__name__}.evaluation.{name}") for name in names)
    network = video_features.video_network(torch.load(with_real_videos.fvd["weights"], weights_only=True))

    def features(method):
        files = sorted((with_real_videos.output / "videos" / method / "Bina").glob("*.mp4"))
        videos = [InputImpl.VideoFromFile(str(file)).get_components().images.movedim(-1, 1) for file in files]
        return video_features.video_features(network, videos)

    expected = frechet.frechet_distance(features("PersonalVideo"), features("Demo model"))
    assert found["PersonalVideo"] == pytest.approx(expected, rel=1e-3) and expected > 1e-3


@pytest.mark.parametrize("width, turned", [(64, False), (90, False), (64, True)])
def test_files_are_read_as_load_video_reads_them(tmp_path, width, turned):
    torch.manual_seed(0)
    blocks = torch.rand(20, 6, 9, 3).repeat_interleave(8, 1).repeat_interleave(10, 2)[:, :, :width]
    path = tmp_path / "a.mp4"
    InputImpl.VideoFromComponents(Types.VideoComponents(images=blocks, frame_rate=Fraction(8))).save_to(path)
    if turned:
        content = path.read_bytes()
        matrix = content.index(b"tkhd") + 44
        sideways = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
        path.write_bytes(content[:matrix] + sideways + content[matrix + 36 :])
    images = InputImpl.VideoFromFile(str(path)).get_components().images.movedim(-1, 1)
    assert images.shape[2:] == ((width, 48) if turned else (48, width))
    assert (table1_fvd.read_frames(path) - images[np.linspace(0, 19, 16, dtype=int)]).abs().max() < 1e-4


def test_known_features_need_no_network(with_real_videos, monkeypatch):
    before = table1.fvd(with_real_videos, say=lambda line: None)
    monkeypatch.setattr("table1_fvd.video_network", None)
    said = []
    assert table1.fvd(with_real_videos, said.append) == before and not said


def test_other_weights_have_other_features(with_real_videos, tmp_path):
    weights = random_s3d(1, tmp_path / "other.pth")
    other = replace(with_real_videos, fvd=with_real_videos.fvd | {"weights": weights})
    before, said = table1.fvd(with_real_videos, say=lambda line: None), []
    assert table1.fvd(other, said.append)["PersonalVideo"] != before["PersonalVideo"] and len(said) == 6


def test_a_weights_file_that_is_none_is_named(with_real_videos):
    bad = replace(with_real_videos, output=with_real_videos.output / "elsewhere", fvd=with_real_videos.fvd | {"weights": ROOT / "LICENSE"})
    with pytest.raises(ValueError, match="fvd: weights: .*LICENSE cannot be read; take torchvision's s3d-d76dad2f.pth"):
        table1.fvd(bad, say=lambda line: None)


def test_without_real_videos_there_is_no_fvd(config):
    assert table1.fvd(config) == {}


@pytest.mark.parametrize("files, message", [
    ({}, "real has 0 videos"), ({"a.mp4": b"", "b.mp4": b"none"}, "a.mp4 cannot be read as a video"),
])
def test_real_videos_that_are_none_are_named(with_real_videos, tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^fvd: .*{message}"):
        table1.fvd(replace(with_real_videos, fvd=with_real_videos.fvd | {"real": tmp_path}), say=lambda line: None)


def test_a_server_that_is_not_there_is_named(config):
    with pytest.raises(ValueError, match="no ComfyUI answers at http://127.0.0.1:9"):
        table1.run(replace(config, servers=["http://127.0.0.1:9"]))


def test_table_stands_below_the_papers():
    def row(method, person, number, similarity):
        figures = {"Face Similarity": similarity, "Dynamic Degree": number % 2}
        return {"key": [method, person, number, 0], "figures": figures, "how": {"Face Similarity": "judge: me"}}

    rows = [row("Mine", "a", 1, 0.5), row("Mine", "a", 2, 0.7), row("Mine", "b", 1, 0.8)]
    text = table1.table(rows, ["Mine", "Other"], {})
    lines = text.splitlines()
    assert "| PersonalVideo, the paper | 1000 | 62.35 | 17.80 | 1272.32 | 0.9935 | 26.30 | 76.48 |" in lines
    # People have 60 and 80: mean 70, standard error 10, t for one degree of freedom 12.706.
    assert "| Mine, here | 3 | 70.00 [-57.06, 197.06] | 75.00 [-242.66, 392.66] | - | - | - | - |" in lines
    assert "- Face Similarity: judge: me" in lines and "Other" not in text
    assert "| - | - | - | - |" in text and "FVD: not measured" in text
    text = table1.table(rows, ["Mine", "Other"], {"Mine": 12.345})
    assert "| 75.00 [-242.66, 392.66] | 12.35 | - | - | - |" in text and "FVD: of torchvision's S3D" in text


def test_figures_of_the_nodes_table():
    table = "| Metric | Value | How |\n| - | - | --- |\n| Face Similarity | 0.512 | mean; judge: x |\n" \
            "| Dynamic Degree | does not move | 0 of 7 |\n| Flow, all pixels | 0.31 pixels | mean |\n| CLIP-T | not measured | why |"
    values, how = graphs.figures(table)
    assert values == {"Face Similarity": 0.512, "Dynamic Degree": 0.0, "Flow, all pixels": 0.31}
    assert how["CLIP-T"] == "why"


def graph() -> dict:
    return {
        "1": {"class_type": "Loader", "inputs": {}},
        "2": {"class_type": graphs.APPLY, "inputs": {"model": ["1", 0], "lora_name": "old"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}, "_meta": {"title": "Prompt"}},
        "4": {"class_type": "KSampler", "inputs": {"model": ["2", 0], "seed": 1}},
        "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0]}},
    }


def test_core_nodes_are_sampled_as_well_and_the_given_graph_stays_as_it_is():
    given = graph()
    made = graphs.sampling(given, "p", 9, "new", "mine")
    assert (made["2"]["inputs"]["lora_name"], made["3"]["inputs"]["text"], made["4"]["inputs"]["seed"]) == ("new", "p", 9)
    assert given == graph()


def test_the_base_model_passes_the_lora_by():
    made = graphs.sampling(graph(), "p", 9, None, "mine")
    assert "2" not in made and made["4"]["inputs"]["model"] == ["1", 0]


@pytest.mark.parametrize("kind, message", [
    ("KSampler", "seed cannot be set"), ("CLIPTextEncode", 'title "Prompt"'), (graphs.APPLY, "0 nodes"),
])
def test_workflows_that_cannot_be_used_are_named(kind, message):
    given = {key: node for key, node in graph().items() if node["class_type"] != kind}
    with pytest.raises(ValueError, match=f"mine: .*{message}"):
        graphs.sampling(given, "p", 9, "new", "mine")


def test_changes_of_unknown_inputs_are_refused():
    with pytest.raises(ValueError, match="no node Nothing"):
        graphs.with_inputs(graph(), {"Nothing": {"a": 1}}, "mine")
    with pytest.raises(ValueError, match="no input sed"):
        graphs.with_inputs(graph(), {"KSampler": {"sed": 1}}, "mine")


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


WRONG = {  # (what is written instead of what, the sentence)
    "a key that does not exist": ("train_inputs", "train_input", "a method needs a name, and may have .*train_inputs.*train_input'"),
    "no workflow": ("2 - Sample with identity.json", "9.json", "method .*: there is no workflow .*9.json"),
    "no prompts": ("prompts/held_out.txt", "prompts/none.txt", "prompts: there is no file prompts/none.txt"),
    "no videos": ("videos/consisid", "videos/none", "method ConsisID: the videos of anna are not in videos/none/anna"),
    "fvd without videos": ("[[methods]]\nname = \"ConsisID\"", "[fvd]\nweights = \"a\"\n[[methods]]\nname = \"ConsisID\"", "fvd needs real"),
    "fvd without weights": ("[[methods]]\nname = \"ConsisID\"", "[fvd]\nreal = \"photos\"\nweights = \"a\"\n[[methods]]\nname = \"ConsisID\"",
                            "fvd needs real, .* and weights"),
    "fvd without a folder": ("[[methods]]\nname = \"ConsisID\"", "[fvd]\nreal = \"none\"\nweights = \"prompts/held_out.txt\"\n[[methods]]\nname = \"ConsisID\"",
                             "fvd needs real, a folder"),
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


def test_prompts_that_were_changed_do_not_mix_with_old_videos(rows, config):
    with pytest.raises(ValueError, match="prompts: number 2 is no longer that of .*002-5.txt; put new prompts at the end"):
        table1.run(replace(config, prompts=[config.prompts[0], "another"]), say=lambda line: None)


@pytest.mark.parametrize("change, message", [
    ("photos", "the photos of Bina"), ("inputs", "the workflows or inputs of PersonalVideo"), ("judge", "the models that measure"),
])
def test_what_was_changed_does_not_mix_with_old_figures(rows, config, tmp_path, change, message):
    folder = tmp_path / "Bina"
    shutil.copytree(config.identities["Bina"], folder)
    same = replace(config, identities={"Bina": folder})
    table1.run(same, say=lambda line: None)
    if change == "photos":
        shutil.copy(folder / "2.png", folder / "1.png")
    changed = {
        "photos": same, "judge": replace(same, sources=config.sources | {"judge": config.sources["reward"]}),
        "inputs": replace(same, methods=[replace(config.methods[0], train_inputs={}), *config.methods[1:]]),
    }[change]  # fmt: skip
    with pytest.raises(ValueError, match=f"^{message} changed since .* was begun; put it back, or choose another output"):
        table1.run(changed, say=lambda line: None)


def test_a_photo_that_was_taken_away_is_not_used_on_the_server_either(config, server, tmp_path):
    folder = tmp_path / "Bina"
    shutil.copytree(config.identities["Bina"], folder)
    worker = table1.Worker(replace(config, output=tmp_path, identities={"Bina": folder}, methods=[]), server.url)
    for _ in range(2):
        worker.person("Bina")
        next(folder.iterdir()).unlink()
    places = [path for path in (server.base / "input").glob("table1 Bina *") if path.is_dir()]
    assert {len(list(place.glob("*.*"))) for place in places} >= {5, 4}


def test_the_lora_of_a_person_whose_name_begins_alike_is_another_ones(config, server, monkeypatch):
    worker = table1.Worker(replace(config, output=config.output / "alike"), server.url, say=lambda line: None)
    names = [f"table1/PersonalVideo Bina{rest}" for rest in ("_00001_.safetensors", "_b_00007_.safetensors", "_2_00001_.safetensors")]
    monkeypatch.setattr(worker, "_loras", lambda: names)
    monkeypatch.setattr(worker.client, "run", lambda graph, timeout: SimpleNamespace(seconds=1.0))
    assert worker._lora(config.methods[0], "Bina", "Bina") == names[0]
