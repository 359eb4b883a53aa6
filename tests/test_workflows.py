"""Every bundled workflow fits the nodes and runs to its end in the server."""

import json

import pytest
from comfy_host import ROOT
from workflow_api import to_api

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))


@pytest.fixture(scope="module")
def object_info(server):
    return server.object_info()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflow_runs(server, object_info, path):
    graph = to_api(json.loads(path.read_text()), object_info)
    for node in graph.values():
        if node["class_type"] == "PersonalVideoTrainAdapter":
            node["inputs"]["steps"] = 2
    run = server.run(graph, timeout=300)
    assert run.files()


def test_training_and_sampling_live_in_separate_workflows():
    for path in WORKFLOWS:
        kinds = {node["type"] for node in json.loads(path.read_text())["nodes"]}
        assert not {"PersonalVideoTrainAdapter", "PersonalVideoSampleVideo"} <= kinds, path.name


def test_train_workflow_keeps_its_seed_between_runs():
    train = json.loads((ROOT / "workflows" / "Demo 1 - Train an identity.json").read_text())
    node = next(node for node in train["nodes"] if node["type"] == "PersonalVideoTrainAdapter")
    assert "fixed" in node["widgets_values"] and "randomize" not in node["widgets_values"]
