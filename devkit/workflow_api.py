"""Turns a workflow as the frontend saves it (UI format) into a prompt for the server (API format).

It is for this project's own workflows, which keep to plain nodes, links and widgets. Subgraphs, muted or bypassed nodes and
reroutes are refused, and so is everything that does not fit the server's /object_info exactly.
"""

from collections.abc import Iterator

NOTES = {"Note", "MarkdownNote"}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
ANYTHING = {"*", "COMFY_MATCHTYPE_V3"}

FRONTEND_ONLY = {"PreviewAny": 3}
"""How many widgets of its own, unknown to the server, the frontend saves with these nodes."""


class WorkflowError(ValueError):
    """Raised for a workflow that does not fit the server's nodes; the message names the node and the input."""


def to_api(workflow: dict, object_info: dict) -> dict:
    """The prompt of a workflow: {node id: {"class_type", "inputs", "_meta": {"title"}}}.

    Raises WorkflowError.
    """
    if workflow.get("definitions", {}).get("subgraphs"):
        raise WorkflowError("Subgraphs are not supported here.")
    nodes = {node["id"]: node for node in workflow["nodes"] if node["type"] not in NOTES}
    for node in nodes.values():
        if node["type"] not in object_info:
            raise WorkflowError(f"{label(node)}: ComfyUI has no such node.")
        if node.get("mode", 0) != 0:
            raise WorkflowError(f"{label(node)}: muted and bypassed nodes are not supported here.")
    links = {link[0]: link for link in workflow["links"]}
    return {
        str(node["id"]): {
            "class_type": node["type"],
            "inputs": widget_inputs(node, object_info) | linked_inputs(node, nodes, links, object_info),
            "_meta": {"title": node.get("title") or object_info[node["type"]]["display_name"] or node["type"]},
        }
        for node in sorted(nodes.values(), key=lambda node: node["id"])
    }


def widget_inputs(node: dict, object_info: dict) -> dict:
    """The values of the node's widgets, by input name. Raises WorkflowError if there are too many or too few."""
    values = list(node.get("widgets_values") or [])
    inputs, taken = {}, 0
    for name, spec in input_specs(object_info[node["type"]], inputs):
        if is_socket(spec):
            continue
        if taken >= len(values):
            raise WorkflowError(f"{label(node)}: widgets_values ends before widget {name!r}.")
        inputs[name] = values[taken]
        taken += 1 + has_control(name, spec)
    left = len(values) - taken
    if left and left != FRONTEND_ONLY.get(node["type"]):
        raise WorkflowError(f"{label(node)}: widgets_values has {len(values)} values for {taken} widgets.")
    return inputs


def linked_inputs(node: dict, nodes: dict, links: dict, object_info: dict) -> dict:
    """[source id, output index] of each of the node's links, by input name. Raises WorkflowError if one does not fit."""
    info = object_info[node["type"]]
    expected = dict(input_specs(info, widget_inputs(node, object_info)))
    found = {}
    for slot in node.get("inputs", []):
        name = slot["name"]
        if name not in expected:
            raise WorkflowError(f"{label(node)}: it has no input {name!r}.")
        if slot.get("link") is None:
            continue
        _, source_id, output, target_id, _, _ = links.get(slot["link"]) or [None] * 6
        if target_id != node["id"] or source_id not in nodes:
            raise WorkflowError(f"{label(node)}: input {name!r} names link {slot['link']}, which does not lead here.")
        source = nodes[source_id]
        outputs = object_info[source["type"]]["output"]
        if output >= len(outputs):
            raise WorkflowError(f"{label(source)}: it has no output {output}.")
        given, taken = type_of(outputs[output : output + 1]), type_of(expected[name])
        if not fits(given, taken):
            raise WorkflowError(f"{label(node)}: input {name!r} takes {taken}, and {label(source)} gives {given}.")
        found[name] = [str(source_id), output]
    for name in info["input"].get("required", {}):
        if name not in found and is_socket(expected[name]):
            raise WorkflowError(f"{label(node)}: required input {name!r} is not connected.")
    return found


def input_specs(info: dict, values: dict) -> Iterator[tuple[str, list]]:
    """The (name, spec) of each of a node's inputs, in the frontend's order.

    A dynamic combo is followed by the inputs of the choice that `values` holds for it; the caller may fill that in
    meanwhile.
    """
    yield from _input_specs(info["input"], values, prefix="")


def _input_specs(groups: dict, values: dict, prefix: str) -> Iterator[tuple[str, list]]:
    for group in ("required", "optional"):
        for key, spec in groups.get(group, {}).items():
            name = prefix + key
            yield name, spec
            if type_of(spec) == "COMFY_DYNAMICCOMBO_V3":
                for option in options_of(spec)["options"]:
                    if option["key"] == values.get(name):
                        yield from _input_specs(option["inputs"], values, name + ".")


def is_socket(spec: list) -> bool:
    """Whether an input has no widget and can only be linked."""
    return type_of(spec) not in WIDGETS or bool(options_of(spec).get("forceInput"))


def type_of(spec: list) -> str:
    """The name of the input's type; older nodes give a combo as the bare list of its choices."""
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def options_of(spec: list) -> dict:
    return spec[1] if len(spec) > 1 else {}


def has_control(name: str, spec: list) -> bool:
    """Whether the frontend adds `control after generate` below a widget, as it does for seeds."""
    return type_of(spec) == "INT" and bool(options_of(spec).get("control_after_generate", name in ("seed", "noise_seed")))


def fits(given: str, taken: str) -> bool:
    """Whether an output of type `given` may be linked to an input of type `taken`; both may list types, as "A,B"."""
    given_types, taken_types = set(given.split(",")), set(taken.split(","))
    return bool(given_types & taken_types or (given_types | taken_types) & ANYTHING)


def label(node: dict) -> str:
    return f"Node {node['id']} ({node['type']})"
