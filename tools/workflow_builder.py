"""Writes workflows in the UI format from a short description, laid out in columns.

    workflow = WorkflowBuilder(server.object_info())
    demo = workflow.node("PersonalVideoLoadDemo", {}, column=0)
    people = workflow.node("PersonalVideoLoadIdentityImages", {"face_model": demo[3], "folder": "anna"}, column=1)
    workflow.group("1. Models", [demo])
    workflow.save(Path("workflows/Demo 1 - Train an identity.json"))

Every widget that is not named gets its default; every name that the node does not have is an error.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

from comfy_host import ROOT
from workflow_api import WorkflowError, has_control, input_specs, is_socket, options_of, to_api, type_of

TITLE, SLOT, WIDGET, TEXT_BOX = 30, 20, 24, 120
"""Heights of a node's parts [canvas pixels]."""

GAP_X, GAP_Y = 70, 50
GROUP_MARGIN, GROUP_TITLE = 20, 40
GROUP_COLOR, NOTE_COLORS = "#3f789e", {"color": "#432", "bgcolor": "#653"}


@dataclass
class Output:
    """One output of a node, to be given as another node's input."""

    node_id: int
    index: int
    type: str


@dataclass
class Node:
    """A node on its way into the workflow; `node["MODEL"]` or `node[0]` is one of its outputs."""

    data: dict
    column: int
    output_names: list[str] = field(default_factory=list)

    def __getitem__(self, which: str | int) -> Output:
        index = self.output_names.index(which) if isinstance(which, str) else which
        return Output(self.data["id"], index, self.data["outputs"][index]["type"])


class WorkflowBuilder:
    """Collects nodes, notes and groups. Columns go left to right; a column's nodes go top to bottom."""

    def __init__(self, object_info: dict):
        self.object_info = object_info
        self.nodes: list[Node] = []
        self.links: list[list] = []
        self.groups: list[tuple[str, list[Node]]] = []

    def node(self, kind: str, values: dict, column: int, title: str = "", width: int = 320, room: int = 0) -> Node:
        """Adds a node. `values` holds widget values, or an `Output` to link, by input name.

        `room` [canvas pixels] is kept free below the widgets for pictures. Raises WorkflowError.
        """
        info = self.object_info.get(kind)
        if info is None:
            raise WorkflowError(f"ComfyUI has no node {kind!r}.")
        node_id = len(self.nodes) + 1
        inputs, widget_values, height = [], [], 0
        chosen = {name: value for name, value in values.items() if not isinstance(value, Output)}
        for name, spec in input_specs(info, chosen):
            slot = {"name": name, "type": type_of(spec), "link": None}
            if not is_socket(spec):
                slot["widget"] = {"name": name}
                chosen.setdefault(name, default(spec))
                widget_values += [chosen[name]] + ["fixed"] * has_control(name, spec)
                height += widget_height(name, spec)
            if isinstance(source := values.get(name), Output):
                slot["link"] = self._link(source, node_id, len(inputs), slot["type"])
            inputs.append(slot)
        if unknown := values.keys() - {slot["name"] for slot in inputs}:
            raise WorkflowError(f"{kind} has no input {', '.join(sorted(unknown))}.")
        sockets = sum("widget" not in slot for slot in inputs)
        height += TITLE + SLOT * max(sockets, len(info["output"])) + room
        outputs = [
            {"name": name, "type": type_of([given]), "links": []}
            for name, given in zip(info["output_name"], info["output"])
        ]
        return self._add(kind, column, title, (width, height), inputs, outputs, widget_values, info)

    def note(self, markdown: str, column: int, title: str = "Note", width: int = 320, height: int = 180) -> Node:
        """Adds a MarkdownNote."""
        node = self._add("MarkdownNote", column, title, (width, height), [], [], [markdown], None)
        node.data |= NOTE_COLORS
        return node

    def group(self, title: str, nodes: list[Node]) -> None:
        """Draws a titled frame around nodes that lie together."""
        self.groups.append((title, nodes))

    def build(self) -> dict:
        """The workflow. Raises WorkflowError when it does not convert to a prompt."""
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
        if info and info["python_module"].startswith("custom_nodes."):
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
        left = 0
        for column in sorted({node.column for node in self.nodes}):
            members = [node.data for node in self.nodes if node.column == column]
            top = 0
            for data in members:
                data["pos"] = [left, top]
                top += data["size"][1] + TITLE + GAP_Y
            left += max(data["size"][0] for data in members) + GAP_X

    @staticmethod
    def _frame(group_id: int, title: str, nodes: list[Node]) -> dict:
        lefts, tops = zip(*(node.data["pos"] for node in nodes))
        rights, bottoms = zip(*([p + s for p, s in zip(node.data["pos"], node.data["size"])] for node in nodes))
        left, top = min(lefts) - GROUP_MARGIN, min(tops) - TITLE - GROUP_TITLE
        size = [max(rights) + GROUP_MARGIN - left, max(bottoms) + GROUP_MARGIN - top]
        return {"id": group_id, "title": title, "bounding": [left, top, *size], "color": GROUP_COLOR, "flags": {}}


def default(spec: list):
    """The value that the frontend gives to a fresh widget."""
    options = options_of(spec)
    choices = spec[0] if isinstance(spec[0], list) else options.get("options", [])
    first = choices[0] if choices else {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(type_of(spec), "")
    return options.get("default", first["key"] if isinstance(first, dict) else first)


def widget_height(name: str, spec: list) -> int:
    """Of a widget on a node that was just opened: advanced ones are folded away [canvas pixels]."""
    options = options_of(spec)
    if options.get("advanced"):
        return 0
    return TEXT_BOX if options.get("multiline") else WIDGET * (1 + has_control(name, spec))


def pack_version() -> str:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version"))
