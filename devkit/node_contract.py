"""What saved workflows rely on: our nodes' ids, the order of their inputs and widgets, and the order of their outputs.

A workflow that the frontend saved holds the values of widgets as a bare list and links as numbers of outputs, so a renamed
input or a widget in another place silently gives a user's old workflow other settings. After adding an input or an output,
write the committed list again from the pack's folder:

    .venv/bin/python -m devkit.node_contract
"""

import json
import tempfile
from pathlib import Path

from devkit.comfy_host import ROOT, find_host
from devkit.comfy_server import ComfyServer
from devkit.workflow_api import has_control, input_specs, is_socket, type_of

COMMITTED = ROOT / "tests" / "server" / "node_contract.json"
CONTROL = "control after generate"
"""The widget that the frontend adds below a seed, which takes a place among the saved values."""


def contract_of(object_info: dict) -> dict[str, dict[str, list[str]]]:
    """{node id: {"inputs": ["model MODEL", ...], "widgets": ["width", ...], "outputs": ["IMAGE", ...]}} of our nodes.

    Each list has the frontend's order, which puts required inputs before optional ones.
    """
    ours = {node: info for node, info in object_info.items() if node.startswith("PersonalVideo")}
    return {node: _contract(info) for node, info in sorted(ours.items())}


def breaches(committed: dict, running: dict) -> list[str]:
    """Everything that would break a workflow saved with the committed nodes, one sentence each.

    New nodes are no breach. New widgets and outputs have to follow the old ones, as both are saved by place. A new socket
    may be anywhere, as the frontend finds sockets by name, but the old ones have to keep their order.
    """
    found = [f"{node} is gone." for node in committed.keys() - running.keys()]
    for node in committed.keys() & running.keys():
        old, new = committed[node], running[node]
        kept = [entry for entry in new["inputs"] if entry in old["inputs"]]
        found += [f"{node}: the input {entry!r} is gone." for entry in old["inputs"] if entry not in kept]
        if sorted(kept) == sorted(old["inputs"]) and kept != old["inputs"]:
            found.append(f"{node}: its inputs are in another order.")
        for name in ("widgets", "outputs"):
            if new[name][: len(old[name])] != old[name]:
                found.append(f"{node}: its {name} began with {old[name]} and are now {new[name]}; add new ones at the end only.")
    return sorted(found)


def _contract(info: dict) -> dict[str, list[str]]:
    inputs, widgets = [], []
    for name, spec in input_specs(info, {}):
        inputs.append(f"{name} {type_of(spec)}")
        if not is_socket(spec):
            widgets += [name, CONTROL] if has_control(name, spec) else [name]
    return {"inputs": inputs, "widgets": widgets, "outputs": info["output"]}


def main() -> None:
    with tempfile.TemporaryDirectory() as base, ComfyServer(find_host(), Path(base)) as server:
        contract = contract_of(server.object_info())
    unfinished = COMMITTED.with_suffix(".tmp")
    unfinished.write_text(json.dumps(contract, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(COMMITTED)


if __name__ == "__main__":
    main()
