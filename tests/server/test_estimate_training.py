"""Estimate Training in the running server: the same inputs as the Train node, an answer, and no trace."""

import re

import pytest

from devkit.comfy_client import PromptError
from devkit.graphs import train_graph


def estimate_graph(**values) -> dict:
    graph = train_graph(train=values)
    graph["train"]["class_type"] = "PersonalVideoEstimateTraining"
    return graph


def files(server):
    return {path for path in (server.base / "output").rglob("*") if path.is_file()}


def test_inputs_are_those_of_the_train_node(server):
    info = server.object_info()
    train, estimate = (info[f"PersonalVideo{name}"] for name in ("TrainAdapter", "EstimateTraining"))
    assert estimate["input"] == train["input"] and estimate["input_order"] == train["input_order"]
    assert estimate["output"] == ["STRING", "FLOAT"] and estimate["output_node"]


def test_estimate_says_time_memory_disk_and_settings_and_writes_nothing(server):
    before = files(server)
    run = server.run(estimate_graph(steps=40, preset="standard", length=4))
    (report,) = run.outputs["train"]["text"]
    first, memory, settings = report.splitlines()
    assert re.fullmatch(
        r"Estimate: about .*; .* for 3 clips of the original model, .* for 40 training steps; .*B of memory; .*B on disk\.", first
    )
    assert memory.startswith("Memory: about")
    assert settings.startswith("Preset standard decided ") and "you decided" in settings and "length 4" in settings
    assert files(server) == before


def test_wrong_input_is_said_as_by_the_train_node(server):
    with pytest.raises(PromptError, match="prompts: at least 2 lines are needed"):
        server.run(estimate_graph(prompts="a sks person"))
