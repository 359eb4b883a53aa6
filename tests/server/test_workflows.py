"""Every bundled workflow fits the nodes and is laid out to be read; those of the demo run to their end as they are."""

import itertools
import json

import pytest

from devkit.comfy_host import ROOT
from devkit.workflow_api import NOTES, to_api
from tools.workflows import demo as workflows_demo
from tools.workflows import families as workflows_families

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
DEMO = [path for path in WORKFLOWS if path.stem.startswith("Demo")]
DOWNLOADS = ("https://huggingface.co/", "https://civitai.com/")
DOWNLOADABLE = (".safetensors", ".sft", ".ckpt", ".pth", ".pt")
TITLE_BAR = 30

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def frame_of(node: dict) -> tuple[float, float, float, float]:
    """left, top, right, bottom of a node with its title bar."""
    (left, top), (width, height) = node["pos"], node["size"]
    return left, top - TITLE_BAR, left + width, top + height


def overlap(one, other) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@pytest.fixture(scope="module")
def object_info(server):
    return server.object_info()


@pytest.mark.parametrize("path", DEMO, ids=lambda path: path.stem)
def test_demo_workflow_runs(server, object_info, path):
    graph = to_api(read(path), object_info)
    for node in graph.values():
        if node["class_type"] == "PersonalVideoTrainAdapter":
            node["inputs"]["steps"] = 2
    run = server.run(graph, timeout=300)
    assert run.files()


def test_files_are_what_the_tools_write(object_info):
    built = workflows_demo.workflows(object_info) | workflows_families.workflows(object_info)
    assert sorted(built) == WORKFLOWS
    for path, workflow in built.items():
        assert workflow.build() == read(path), f"{path.name}: run tools/workflows/build.py"


@every_workflow
def test_workflow_fits_the_nodes(object_info, path):
    workflow = read(path)
    assert to_api(workflow, object_info)
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for link, source, output, target, slot, kind in workflow["links"]:
        assert link in nodes[source]["outputs"][output]["links"]
        assert nodes[target]["inputs"][slot]["link"] == link
        assert kind == nodes[target]["inputs"][slot]["type"] or "*" in kind
    assert len({link[0] for link in workflow["links"]}) == len(workflow["links"]) == workflow["last_link_id"]


@every_workflow
def test_nodes_lie_apart_and_inside_their_groups(path):
    workflow = read(path)
    frames = {node["id"]: frame_of(node) for node in workflow["nodes"]}
    for (one, first), (other, second) in itertools.combinations(frames.items(), 2):
        assert not overlap(first, second), f"nodes {one} and {other}"
    boxes = [(x, y, x + width, y + height) for x, y, width, height in (group["bounding"] for group in workflow["groups"])]
    for first, second in itertools.combinations(boxes, 2):
        assert not overlap(first, second)
    for frame in frames.values():
        around = [box for box in boxes if overlap(frame, box)]
        assert len(around) == 1
        left, top, right, bottom = around[0]
        assert left <= frame[0] and top <= frame[1] and right >= frame[2] and bottom >= frame[3]


@every_workflow
def test_missing_models_can_be_downloaded_where_they_belong(path):
    """Loaders have what the frontend needs for its dialog, and the note has the same links."""
    nodes = read(path)["nodes"]
    (note,) = (node["widgets_values"][0] for node in nodes if node["type"] in NOTES)
    for node in nodes:
        for model in node["properties"].get("models", []):
            assert set(model) == {"name", "url", "directory"}
            assert model["name"] in node["widgets_values"] and model["name"].endswith(DOWNLOADABLE)
            assert model["url"].startswith(DOWNLOADS) and model["url"].endswith("/" + model["name"])
            assert f"[{model['name']}]({model['url']}) in `models/{model['directory']}`" in note


def test_training_and_sampling_live_in_separate_workflows():
    for path in WORKFLOWS:
        kinds = {node["type"] for node in read(path)["nodes"]}
        assert not {"PersonalVideoTrainAdapter", "PersonalVideoSampleVideo"} <= kinds, path.name


def test_train_workflows_keep_their_seed_between_runs():
    trained = [node for path in WORKFLOWS for node in read(path)["nodes"] if node["type"] == "PersonalVideoTrainAdapter"]
    assert len(trained) == 9
    for node in trained:
        assert "fixed" in node["widgets_values"] and "randomize" not in node["widgets_values"]
