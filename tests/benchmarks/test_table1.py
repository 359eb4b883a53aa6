"""The Table 1 runner on the demo world trains, samples and measures with a running server, and goes on where it stopped."""

import shutil
import struct
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl, Types
from torchvision.models.video import s3d

from benchmarks.table1 import fvd as table1_fvd
from benchmarks.table1 import table1
from benchmarks.table1.config import Fvd
from benchmarks.table1.frechet import frechet_distance
from benchmarks.table1.results import Records
from benchmarks.table1.video_features import video_features, video_network
from devkit.comfy_host import ROOT
from tools.workflows.demo import SAMPLE, TRAIN

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
Bina = "{ROOT / "demo" / "identities" / "Bina"}"
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


def replace(said, **changes):
    """A Config, Method or Fvd with other values, which are not validated."""
    return said.model_copy(update=changes)


def run(config) -> None:
    table1.run(table1.prepare(config, say=lambda line: None), say=lambda line: None)


@pytest.fixture(scope="module")
def rows(config):
    """The figures of a run that was stopped before the other method had its video."""
    run(config)
    video = config.output / "videos" / "Demo model" / "Bina" / "002-5.mp4"
    shutil.copy(video, config.output / "elsewhere" / "Bina" / "2 of theirs.mp4")
    run(config)
    return Records(config.output).measured.rows


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
    from benchmarks.user_study.blind_page import find_clips

    folders = {name: config.output / "videos" / name for name in ("PersonalVideo", "Demo model")}
    clips = find_clips(folders, None)
    assert [(clip.name, clip.prompt) for clip in clips] == [(f"Bina/00{n}-5", PROMPTS[n - 1]) for n in (1, 2)]


def test_what_is_done_is_not_done_again(rows, config, server):
    before = server.get("/history").json().keys()
    run(config)
    assert server.get("/history").json().keys() == before


def test_finished_sampling_needs_no_lora(rows, config, server, tmp_path):
    shutil.copytree(config.output, tmp_path / "again")
    (tmp_path / "again" / "trained.jsonl").unlink()
    before = server.get("/history").json().keys()
    run(replace(config, output=tmp_path / "again"))
    assert server.get("/history").json().keys() == before


def test_a_lora_of_another_workflow_is_not_sampled(rows, config, tmp_path):
    shutil.copy(config.output / "trained.jsonl", tmp_path)
    changed = replace(config.methods[0], train_inputs={})
    with pytest.raises(ValueError, match="^method PersonalVideo: the training workflow changed"):
        table1.prepare(replace(config, output=tmp_path, methods=[changed]))


def test_one_lora_a_person_was_trained(rows, config, server):
    ((key, row),) = Records(config.output).trained.rows.items()
    assert key == ("PersonalVideo", "Bina") and row["server"] == server.url
    assert (server.base / "output" / "loras" / row["lora"]).exists()


def random_s3d(seed: int, path: Path) -> Path:
    """Weights with which features are as large as pixels; with torchvision's initial ones they would vanish."""
    torch.manual_seed(seed)
    network = s3d(weights=None)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv3d):
            torch.nn.init.kaiming_normal_(layer.weight)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def with_real_videos(config, rows, tmp_path_factory):
    """The demo model's own videos serve as the real ones."""
    folder = tmp_path_factory.mktemp("real")
    shutil.copytree(config.output / "videos" / "Demo model", folder / "videos")
    return replace(config, fvd=Fvd(real=folder / "videos", weights=random_s3d(0, folder / "s3d.pth")))


def test_fvd_is_the_frechet_distance_of_the_videos_features(with_real_videos):
    found = table1.fvd(with_real_videos, say=lambda line: None)
    assert set(found) == {"PersonalVideo", "Demo model"}  # of one video there is no distance
    assert found["Demo model"] == pytest.approx(0, abs=1e-6)

    network = video_network(torch.load(with_real_videos.fvd.weights, weights_only=True))

    def features(method):
        files = sorted((with_real_videos.output / "videos" / method / "Bina").glob("*.mp4"))
        videos = [InputImpl.VideoFromFile(str(file)).get_components().images.movedim(-1, 1) for file in files]
        return video_features(network, videos)

    expected = frechet_distance(features("PersonalVideo"), features("Demo model"))
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
    monkeypatch.setattr(table1_fvd, "video_network", None)
    said = []
    assert table1.fvd(with_real_videos, said.append) == before and not said


def test_other_weights_have_other_features(with_real_videos, tmp_path):
    weights = random_s3d(1, tmp_path / "other.pth")
    other = replace(with_real_videos, fvd=replace(with_real_videos.fvd, weights=weights))
    before, said = table1.fvd(with_real_videos, say=lambda line: None), []
    assert table1.fvd(other, said.append)["PersonalVideo"] != before["PersonalVideo"] and len(said) == 6


def test_a_weights_file_that_is_none_is_named(with_real_videos):
    bad = replace(
        with_real_videos,
        output=with_real_videos.output / "elsewhere",
        fvd=replace(with_real_videos.fvd, weights=ROOT / "LICENSE"),
    )
    with pytest.raises(ValueError, match="fvd: weights: .*LICENSE cannot be read; take torchvision's s3d-d76dad2f.pth"):
        table1.fvd(bad, say=lambda line: None)


def test_without_real_videos_there_is_no_fvd(config):
    assert table1.fvd(config) == {}


@pytest.mark.parametrize(
    "files, message", [({}, "real has 0 videos"), ({"a.mp4": b"", "b.mp4": b"none"}, "a.mp4 cannot be read as a video")]
)
def test_real_videos_that_are_none_are_named(with_real_videos, tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"^fvd: .*{message}"):
        table1.fvd(replace(with_real_videos, fvd=replace(with_real_videos.fvd, real=tmp_path)), say=lambda line: None)


def test_a_server_that_is_not_there_is_named(config):
    with pytest.raises(ValueError, match="no ComfyUI answers at http://127.0.0.1:9"):
        run(replace(config, servers=["http://127.0.0.1:9"]))


@pytest.mark.parametrize(
    "change, message",
    [
        ("photos", "PersonalVideo: the photos"),
        ("training", "PersonalVideo: the training workflow"),
        ("sampling", "PersonalVideo: the sampling workflow"),
        ("prompt", "PersonalVideo: prompt 2"),
    ],
)
def test_what_was_changed_does_not_mix_with_old_videos(rows, config, tmp_path, change, message):
    shutil.copytree(config.identities["Bina"], tmp_path / "Bina")
    (tmp_path / "Bina" / ".hidden").write_text("no photo")
    same = replace(config, identities={"Bina": tmp_path / "Bina"})
    table1.prepare(same)
    ours, *others = config.methods
    more = {"PersonalVideoSampleVideo": {"steps": 5}}
    changed = {
        "photos": same, "prompt": replace(same, prompts=[config.prompts[0], "another"]),
        "training": replace(same, methods=[replace(ours, train_inputs={}), *others]),
        "sampling": replace(same, methods=[replace(ours, sample_inputs=more), *others]),
    }[change]  # fmt: skip
    if change == "photos":
        shutil.copy(tmp_path / "Bina" / "2.png", tmp_path / "Bina" / "1.png")
    with pytest.raises(ValueError, match=f"^method {message} changed after Bina was begun; put that back, or choose another"):
        table1.prepare(changed)


def test_figures_are_measured_again_when_the_judge_or_a_finished_video_is_another_one(rows, config, tmp_path):
    shutil.copytree(config.output, tmp_path / "again")
    theirs = tmp_path / "again" / "elsewhere" / "Bina" / "2 of theirs.mp4"
    method = replace(config.methods[2], videos=tmp_path / "again" / "elsewhere")
    again = replace(config, output=tmp_path / "again", methods=[method])
    key = ("Elsewhere", "Bina", theirs.name, 0)
    shutil.copy(config.output / "videos" / "PersonalVideo" / "Bina" / "001-5.mp4", theirs)
    run(again)
    other = Records(again.output).measured.rows[key]
    assert other["figures"] != rows[key]["figures"]
    run(replace(again, judge=config.reward))
    assert "Attention" in Records(again.output).measured.rows[key]["how"]


def test_table_has_only_what_the_configuration_asks_for(rows, config):
    assert "| Demo model, here | 2 |" in table1.write_table(config, {})
    assert "| Demo model, here | 1 |" in table1.write_table(replace(config, prompts=PROMPTS[:1]), {})
    assert "Demo model" not in table1.write_table(replace(config, seeds=[6]), {})


def test_a_photo_that_was_taken_away_is_not_used_on_the_server_either(config, server, tmp_path):
    shutil.copytree(config.identities["Bina"], tmp_path / "Bina")
    alone = replace(config, output=tmp_path, identities={"Bina": tmp_path / "Bina"}, methods=[])
    for _ in range(2):
        run(alone)
        next((tmp_path / "Bina").iterdir()).unlink()
    places = [path for path in (server.base / "input").glob("table1 Bina *") if path.is_dir()]
    assert {len(list(place.glob("*.png"))) for place in places} == {5, 4}


def test_a_wrong_workflow_is_named_before_anything_is_trained(config, tmp_path):
    ours = config.methods[0]
    changed = (
        {"sample_inputs": {"Nothing": {}}},
        {"train_inputs": {"PersonalVideoTrainAdapter": {"stepps": 1}}},
        {"sample": ours.train, "sample_inputs": {}},
    )
    for change, message in zip(changed, ("no node Nothing", "no input stepps", 'title "Prompt"')):
        with pytest.raises(ValueError, match=message):
            table1.prepare(replace(config, output=tmp_path, methods=[replace(ours, **change)]))
    (tmp_path / "mine.json").write_text("{")
    with pytest.raises(ValueError, match="mine.json: it is no workflow"):
        table1.prepare(replace(config, output=tmp_path, methods=[replace(ours, sample=tmp_path / "mine.json")]))
    (tmp_path / "mine.json").write_text('{"nodes": [], "definitions": {"subgraphs": [1]}}')
    with pytest.raises(ValueError, match="mine.json: Subgraphs are not supported here. .* Export .API."):
        table1.prepare(replace(config, output=tmp_path, methods=[replace(ours, sample=tmp_path / "mine.json")]))


def test_people_stay_with_the_server_that_has_trained_them():
    assert table1.shares("abcde", ["x", "y"], {}) == [["a", "c", "e"], ["b", "d"]]
    assert table1.shares("abcde", ["x", "y"], {"b": "x", "c": "x", "d": "gone"}) == [["b", "c", "e"], ["a", "d"]]


def test_the_lora_of_a_person_whose_name_begins_alike_is_another_ones(config, server, monkeypatch):
    ((worker, _),) = table1.prepare(replace(config, output=config.output / "alike"), say=lambda line: None)
    names = [
        f"table1/PersonalVideo Bina{rest}" for rest in ("_00001_.safetensors", "_b_00007_.safetensors", "_2_00001_.safetensors")
    ]
    monkeypatch.setattr(worker, "_loras", lambda: names)
    monkeypatch.setattr(worker.client, "run", lambda graph, timeout: SimpleNamespace(seconds=1.0))
    assert worker._lora(config.methods[0], "Bina", "Bina") == names[0]
