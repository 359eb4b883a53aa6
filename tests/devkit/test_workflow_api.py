"""Workflows convert to prompts exactly, or not at all; the running server agrees."""

import copy

import pytest

from devkit.workflow_api import WorkflowError, to_api
from tools.workflows.builder import WorkflowBuilder


@pytest.fixture(scope="module")
def object_info(server):
    return server.object_info()


@pytest.fixture
def workflow(object_info):
    """Core nodes with every feature the converter knows: seed, optional input, nested combos, a note."""
    builder = WorkflowBuilder(object_info)
    image = builder.node("EmptyImage", {"width": 64, "height": 32, "batch_size": 4, "color": 255}, column=0)
    builder.node("RandomNoise", {"noise_seed": 7}, column=0)
    video = builder.node("CreateVideo", {"images": image["IMAGE"], "fps": 8}, column=1)
    choices = {"codec": "h264", "codec.encoding": "re-encode", "codec.encoding.crf": 30.0}
    save = builder.node("SaveVideo", {"video": video[0], "filename_prefix": "converted"} | choices, column=2)
    builder.note("# What this does", column=0)
    builder.group("Save", [video, save])
    return builder.build()


def test_converted_workflow_has_every_input_and_runs(workflow, object_info, server):
    prompt = to_api(workflow, object_info)
    assert prompt["1"]["inputs"] == {"width": 64, "height": 32, "batch_size": 4, "color": 255}
    assert prompt["2"]["inputs"] == {"noise_seed": 7}
    assert prompt["3"]["inputs"] == {"images": ["1", 0], "fps": 8, "bit_depth": 8}
    assert prompt["4"]["inputs"]["codec.encoding.crf"] == 30.0
    assert "5" not in prompt
    (saved,) = server.run(prompt).files("4")
    assert server.view(saved)[4:8] == b"ftyp"


def test_linked_widget_takes_the_link_and_keeps_its_place(workflow, object_info):
    workflow["nodes"].append(
        {"id": 9, "type": "PrimitiveInt", "mode": 0, "inputs": [], "outputs": [], "widgets_values": [48, "fixed"]}
    )
    workflow["links"].append([9, 9, 0, 1, 1, "INT"])
    next(slot for slot in workflow["nodes"][0]["inputs"] if slot["name"] == "height")["link"] = 9
    inputs = to_api(workflow, object_info)["1"]["inputs"]
    assert inputs == {"width": 64, "height": ["9", 0], "batch_size": 4, "color": 255}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda nodes: nodes[0].update(type="Gone"), "no such node", id="unknown node"),
        pytest.param(lambda nodes: nodes[0].update(mode=4), "muted and bypassed", id="bypassed node"),
        pytest.param(lambda nodes: nodes[0]["inputs"][0].update(name="breadth"), "no input 'breadth'", id="unknown input"),
        pytest.param(lambda nodes: nodes[0]["widgets_values"].pop(), "ends before widget 'color'", id="value missing"),
        pytest.param(lambda nodes: nodes[1]["widgets_values"].append(1), "3 values for 2 widgets", id="value too many"),
        pytest.param(lambda nodes: nodes[2]["inputs"][0].update(link=None), "'images' is not connected", id="not connected"),
        pytest.param(lambda nodes: nodes[2]["inputs"][0].update(link=2), "does not lead here", id="wrong link"),
        pytest.param(lambda nodes: nodes[2].update(type="VAEDecodeTiled"), "VAEDecodeTiled", id="other inputs"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(workflow, object_info, change, message):
    change(changed := copy.deepcopy(workflow["nodes"]))
    with pytest.raises(WorkflowError, match=message):
        to_api(workflow | {"nodes": changed}, object_info)


def test_link_between_different_types_is_refused(workflow, object_info):
    link = next(link for link in workflow["links"] if link[3] == 3)
    link[1] = 2
    with pytest.raises(WorkflowError, match=r"'images' takes IMAGE, and Node 2 \(RandomNoise\) gives NOISE"):
        to_api(workflow, object_info)


def test_builder_refuses_a_name_the_node_does_not_have(object_info):
    with pytest.raises(WorkflowError, match="EmptyImage has no input breadth"):
        WorkflowBuilder(object_info).node("EmptyImage", {"breadth": 64}, column=0)
