"""The texts of the nodes in the form in which the frontend looks them up, `locales/<language>/nodeDefs.json`.

The English file is generated from the nodes; the others are written by hand.
"""

import json
import re
from pathlib import Path

from devkit.comfy_host import ROOT

LOCALES = ROOT / "locales"
SOURCE = "en"
CONTROL = "control_after_generate"  # the widget that the frontend adds below a seed
SPOKEN = ("display_name", "description", "tooltip")  # these have to be translated; names of inputs need not be

_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?")
_SYNTAX = re.compile(r"[{}@|$]")  # characters that the frontend's translator takes for syntax


def locale_file(language: str) -> Path:
    return LOCALES / language / "nodeDefs.json"


def read_texts(language: str) -> dict:
    return json.loads(locale_file(language).read_text(encoding="utf-8"))


def texts_of(object_info: dict) -> dict:
    """The texts of our nodes in a server's `/object_info`, in the order in which users see them."""
    ours = {kind: info for kind, info in object_info.items() if kind.startswith("PersonalVideo")}
    return {kind: _node(info) for kind, info in sorted(ours.items())}


def flat(texts: dict, path: str = "") -> dict[str, str]:
    """The texts by their paths: {"Node.inputs.seed.tooltip": "..."}."""
    leaves = {}
    for name, value in texts.items():
        leaves |= flat(value, f"{path}{name}.") if isinstance(value, dict) else {path + name: value}
    return leaves


def faults(source: dict, translated: dict) -> list[str]:
    """A line for everything that a translation lacks, has too much of, leaves in English, or says with other numbers."""
    wanted, found = flat(source), flat(translated)
    lines = [f"missing: {key} ({wanted[key]})" for key in wanted if not found.get(key)]
    lines += [f"stale, there is nothing of this name any more: {key}" for key in found if key not in wanted]
    for key in wanted.keys() & found.keys():
        if key.endswith(SPOKEN) and found[key].isascii():
            lines.append(f"not translated: {key} ({found[key]})")
        if set(_NUMBER.findall(wanted[key])) != set(_NUMBER.findall(found[key])):
            lines.append(f"other numbers: {key} ({wanted[key]} | {found[key]})")
        if _SYNTAX.search(found[key]):
            lines.append(f"characters that the frontend does not show as they are: {key} ({found[key]})")
    return lines


def _node(info: dict) -> dict:
    inputs = {}
    for name, spec in (info["input"].get("required", {}) | info["input"].get("optional", {})).items():
        options = spec[1] if len(spec) > 1 else {}
        inputs[name] = _text(name, options.get("tooltip"))
        if options.get(CONTROL):
            inputs[CONTROL] = {"name": CONTROL.replace("_", " ")}
    outputs = zip(info["output_name"], info.get("output_tooltips") or [None] * len(info["output_name"]))
    texts = {"display_name": info["display_name"], "description": info["description"]}
    texts["inputs"] = inputs
    texts["outputs"] = {str(index): _text(name, tooltip) for index, (name, tooltip) in enumerate(outputs)}
    return texts


def _text(name: str, tooltip: str | None) -> dict:
    return {"name": name} | ({"tooltip": tooltip} if tooltip else {})
