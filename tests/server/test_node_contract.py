"""Workflows that users saved still fit: node ids, inputs, the order of widgets and outputs are those of the committed list."""

import copy
import json

import pytest

from devkit.node_contract import COMMITTED, breaches, contract_of

TRAIN = "PersonalVideoTrainAdapter"


@pytest.fixture(scope="module")
def committed():
    return json.loads(COMMITTED.read_text(encoding="utf-8"))


def test_running_nodes_keep_what_saved_workflows_rely_on(server, committed):
    assert not breaches(committed, contract_of(server.object_info()))


def rename_input(nodes):
    nodes[TRAIN]["inputs"][0] = "base_model MODEL"


def rename_widget(nodes):
    nodes[TRAIN]["inputs"][6] = "clip_width INT"
    nodes[TRAIN]["widgets"][2] = "clip_width"


def remove_input(nodes):
    nodes[TRAIN]["inputs"].remove("semantic_reward PV_SEMANTIC_REWARD")


def change_type(nodes):
    nodes[TRAIN]["inputs"][6] = "width FLOAT"


def swap_sockets(nodes):
    nodes[TRAIN]["inputs"][:2] = nodes[TRAIN]["inputs"][1::-1]


def insert_widget(nodes):
    nodes[TRAIN]["inputs"].insert(6, "judge_every INT")
    nodes[TRAIN]["widgets"].insert(2, "judge_every")


def drop_control_of_seed(nodes):
    nodes[TRAIN]["widgets"].remove("control after generate")


def swap_outputs(nodes):
    nodes[TRAIN]["outputs"].reverse()


def remove_node(nodes):
    del nodes[TRAIN]


@pytest.mark.parametrize(
    "change",
    [
        rename_input, rename_widget, remove_input, change_type, swap_sockets, insert_widget, drop_control_of_seed, swap_outputs,
        remove_node,
    ],
)  # fmt: skip
def test_change_that_breaks_saved_workflows_is_named(committed, change):
    changed = copy.deepcopy(committed)
    change(changed)
    found = breaches(committed, changed)
    assert found and all(sentence.startswith(TRAIN) for sentence in found)


def test_addition_at_the_end_breaks_nothing(committed):
    grown = copy.deepcopy(committed)
    grown["PersonalVideoNew"] = {"inputs": [], "widgets": [], "outputs": []}
    optional_sockets = grown[TRAIN]["inputs"][-2:]
    grown[TRAIN]["inputs"][-2:] = ["evaluate_every INT", *optional_sockets, "judge PV_FACE_MODEL"]
    grown[TRAIN]["widgets"].append("evaluate_every")
    grown[TRAIN]["outputs"].append("FLOAT")
    assert not breaches(committed, grown)
