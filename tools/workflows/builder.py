"""Writes workflows in the UI format from a short description, laid out in columns.

    workflow = WorkflowBuilder(server.object_info())
    demo = workflow.node("PersonalVideoLoadDemo", {}, column=0)
    people = workflow.node("PersonalVideoLoadIdentityImages", {"face_model": demo[3], "folder": "anna"}, column=1)
    workflow.group("1. Models", [demo])
    workflow.save(Path("workflows/Demo 1 - Train an identity.json"))

A widget that is not named gets its default, and a name that the node does not have is an error.
"""

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from devkit.comfy_host import ROOT
from devkit.workflow_api import WorkflowError, has_control, input_specs, is_socket, options_of, to_api, type_of

TITLE, SLOT, WIDGET, TEXT_BOX, NODE_EDGE = 30, 20, 24, 90, 16
"""The heights of a node's parts [canvas pixels]."""

NOTE_LETTER, NOTE_LINE, NOTE_EDGE = 5.4, 16, 44
"""The mean width of a letter in a note, the height of a line, and what the frame takes [canvas pixels]."""

GAP_X, GAP_Y = 60, 40
GROUP_MARGIN, GROUP_TITLE = 20, 60
GROUP_COLOR, NOTE_COLORS = "#3f789e", {"color": "#432", "bgcolor": "#653"}


@dataclass
class Output:
    """One output of a node, to be given as another node's input."""

    node_id: int
    index: int
    type: str


@dataclass
class Node:
    """A node that becomes part of the workflow; `node["MODEL"]` or `node[0]` is one of its outputs."""

    data: dict
    column: int
    output_names: list[str] = field(default_factory=list)
    room_below: int = 0

    def __getitem__(self, which: str | int) -> Output:
        index = self.output_names.index(which) if isinstance(which, str) else which
        return Output(self.data["id"], index, self.data["outputs"][index]["type"])


class WorkflowBuilder:
    """Collects nodes, notes and groups. Columns go from left to right, and the nodes of a column from top to bottom."""

    def __init__(self, object_info: dict):
        self.object_info = object_info
        self.nodes: list[Node] = []
        self.links: list[list] = []
        self.groups: list[tuple[str, list[Node]]] = []

    def node(
        self, kind: str, values: dict, column: int, title: str = "", width: int = 300, room: int = 0, room_below: int = 0
    ) -> Node:
        """Add a node. `values` holds the value of a widget, or an `Output` to link, by the name of the input.

        `room` [canvas pixels] is kept free below the widgets for pictures, and `room_below` below the node, which grows
        into it when a preview appears. Raises WorkflowError for a name that the node does not have.
        """
        info = self.object_info.get(kind)
        if info is None:
            raise WorkflowError(f"ComfyUI has no node {kind!r}.")
        node_id = len(self.nodes) + 1
        inputs, widget_values, height, folded = [], [], 0, False
        chosen = {name: value for name, value in values.items() if not isinstance(value, Output)}
        for name, spec in input_specs(info, chosen):
            slot = {"name": name, "type": type_of(spec), "link": None}
            if not is_socket(spec):
                slot["widget"] = {"name": name}
                chosen.setdefault(name, default(spec))
                widget_values += [chosen[name]] + ["fixed"] * has_control(name, spec)
                fold = ours(info) and bool(options_of(spec).get("advanced"))
                height += 0 if fold else widget_height(name, spec)
                folded |= fold
            if isinstance(source := values.get(name), Output):
                slot["link"] = self._link(source, node_id, len(inputs), slot["type"])
            inputs.append(slot)
        if unknown := values.keys() - {slot["name"] for slot in inputs}:
            raise WorkflowError(f"{kind} has no input {', '.join(sorted(unknown))}.")
        sockets = sum("widget" not in slot for slot in inputs)
        height += SLOT * max(sockets, len(info["output"])) + WIDGET * folded + NODE_EDGE + room
        outputs = [
            {"name": name, "type": type_of([given]), "links": []} for name, given in zip(info["output_name"], info["output"])
        ]
        node = self._add(kind, column, title, (width, height), inputs, outputs, widget_values, info)
        node.room_below = room_below
        return node

    def note(self, markdown: str, column: int, title: str = "Note", width: int = 400) -> Node:
        """Add a MarkdownNote, as high as its text needs."""
        node = self._add("MarkdownNote", column, title, (width, note_height(markdown, width)), [], [], [markdown], None)
        node.data |= NOTE_COLORS
        return node

    def group(self, title: str, nodes: list[Node]) -> None:
        """Draw a titled frame around nodes that lie together."""
        self.groups.append((title, nodes))

    def build(self) -> dict:
        """The workflow. Raises WorkflowError if it cannot be converted to a prompt."""
        self._place()
        workflow = {
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": [node.data for node in self.nodes],
            "links": self.links,
            "groups": [self._frame(i + 1, title, nodes) for i, (title, nodes) in enumerate(self.groups)],
            "config": {},
            "extra": {},
            "version": 0.4,
        }
        to_api(workflow, self.object_info)
        return workflow

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(self.build(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    def _add(self, kind, column, title, size, inputs, outputs, widget_values, info) -> Node:
        origin = {"Node name for S&R": kind} if info else {}
        if info and ours(info):
            origin |= {"cnr_id": "personalvideo", "ver": pack_version()}
        elif info:
            origin |= {"cnr_id": "comfy-core"}
        data = {
            "id": len(self.nodes) + 1, "type": kind, "pos": [0, 0], "size": list(size), "flags": {},
            "order": len(self.nodes), "mode": 0, "inputs": inputs, "outputs": outputs,
            "properties": origin, "widgets_values": widget_values,
        }  # fmt: skip
        if title:
            data["title"] = title
        self.nodes.append(Node(data, column, info["output_name"] if info else []))
        return self.nodes[-1]

    def _link(self, source: Output, target_id: int, slot: int, kind: str) -> int:
        link_id = len(self.links) + 1
        self.links.append([link_id, source.node_id, source.index, target_id, slot, kind])
        self.nodes[source.node_id - 1].data["outputs"][source.index]["links"].append(link_id)
        return link_id

    def _place(self) -> None:
        first = {nodes[0].data["id"] for _, nodes in self.groups}
        left = 0
        for column in sorted({node.column for node in self.nodes}):
            members = [node for node in self.nodes if node.column == column]
            top = 0
            for node in members:
                if top and node.data["id"] in first:
                    top += GROUP_TITLE
                node.data["pos"] = [left, top]
                top += node.data["size"][1] + node.room_below + TITLE + GAP_Y
            left += max(node.data["size"][0] for node in members) + GAP_X

    @staticmethod
    def _frame(group_id: int, title: str, nodes: list[Node]) -> dict:
        lefts, tops = zip(*(node.data["pos"] for node in nodes))
        rights, bottoms = zip(*([p + s for p, s in zip(node.data["pos"], node.data["size"])] for node in nodes))
        bottoms = [bottom + node.room_below for bottom, node in zip(bottoms, nodes)]
        left, top = min(lefts) - GROUP_MARGIN, min(tops) - TITLE - GROUP_TITLE
        size = [max(rights) + GROUP_MARGIN - left, max(bottoms) + GROUP_MARGIN - top]
        return {"id": group_id, "title": title, "bounding": [left, top, *size], "color": GROUP_COLOR, "flags": {}}


def default(spec: list):
    """The value that the frontend gives to a fresh widget."""
    options = options_of(spec)
    choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
    first = choices[0] if choices else {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(type_of(spec), "")
    return options.get("default", first["key"] if isinstance(first, dict) else first)


def ours(info: dict) -> bool:
    """Whether a node is this pack's, whose advanced widgets are folded away (web/fold_advanced.js)."""
    return info["python_module"].startswith("custom_nodes.")


def widget_height(name: str, spec: list) -> int:
    """The height of a widget [canvas pixels]."""
    return TEXT_BOX if options_of(spec).get("multiline") else WIDGET * (1 + has_control(name, spec))


def note_height(markdown: str, width: int) -> int:
    """The height of a note with that text [canvas pixels]."""
    height = NOTE_EDGE
    for line in markdown.splitlines():
        heading = len(line) - len(line.lstrip("#"))
        text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", line.lstrip("#")).replace("*", "").replace("`", "")
        scale = {1: 2.0, 2: 1.5, 3: 1.2}.get(heading, 1.0)
        rows = math.ceil(len(text) * NOTE_LETTER * scale / (width - NOTE_EDGE)) or 0.5
        height += math.ceil(rows * NOTE_LINE * scale) + (12 if heading else 0)
    return height


def pack_version() -> str:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version"))
