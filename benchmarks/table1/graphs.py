"""The prompts that the Table 1 runner sends to a ComfyUI server, made from the user's own workflows.

The nodes of a workflow tell what goes where: the person's photos into Load Identity Images, the file's name into Train
PersonalVideo Adapter, the LoRA into Apply Late-Step Identity LoRA, the seed into Sample Video (or KSampler), and the prompt
into the node with the title "Prompt".
"""

import copy
import json
from pathlib import Path

from devkit.workflow_api import WorkflowError, to_api

PHOTOS, TRAIN, APPLY = "PersonalVideoLoadIdentityImages", "PersonalVideoTrainAdapter", "PersonalVideoApplyLateStepLora"
EVALUATE = "table1 evaluation"
SEEDS = {"PersonalVideoSampleVideo": "seed", "KSampler": "seed", "KSamplerAdvanced": "noise_seed", "RandomNoise": "noise_seed"}


def load_graph(path: Path, object_info: dict) -> dict:
    """The prompt in a workflow file of the frontend's format or the API's. Raises ValueError, naming it, if it is unusable."""
    try:
        graph = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path.name}: it is no workflow ({error}); save it again from ComfyUI.") from None
    try:
        return to_api(graph, object_info) if "nodes" in graph else graph
    except WorkflowError as error:
        raise ValueError(f"{path.name}: {error} If ComfyUI runs it, save it with File > Export (API) and use that.") from None


def nodes_of(graph: dict, kind: str) -> list[str]:
    return [key for key, node in graph.items() if node["class_type"] == kind]


def only(graph: dict, kind: str, what: str) -> dict:
    """The inputs of the only node of a kind. Raises ValueError, naming the workflow ``what``, unless there is just one."""
    found = nodes_of(graph, kind)
    if len(found) != 1:
        raise ValueError(f"{what}: it has {len(found)} nodes {kind}, and one is needed.")
    return graph[found[0]]["inputs"]


def with_inputs(graph: dict, changes: dict[str, dict], what: str) -> dict:
    """A copy of ``graph`` with inputs replaced, by node type. Raises ValueError for an unknown type or input."""
    graph = copy.deepcopy(graph)
    for kind, inputs in changes.items():
        keys = nodes_of(graph, kind)
        if not keys:
            raise ValueError(f"{what}: there is no node {kind} whose inputs could be changed.")
        for key in keys:
            if unknown := set(inputs) - set(graph[key]["inputs"]):
                raise ValueError(f"{what}: node {kind} has no input {sorted(unknown)[0]}.")
            graph[key]["inputs"].update(inputs)
    return graph


def training(graph: dict, folder: str, prefix: str, what: str) -> dict:
    """The prompt that trains on the photos in the server's input folder ``folder``; ``prefix`` begins the LoRA's name."""
    graph = copy.deepcopy(graph)
    only(graph, PHOTOS, what)["folder"] = folder
    only(graph, TRAIN, what)["filename_prefix"] = f"loras/{prefix}"
    return graph


def sampling(graph: dict, prompt: str, seed: int, lora: str | None, what: str) -> dict:
    """The prompt that samples ``prompt``; without a LoRA it bypasses the Apply nodes."""
    graph = copy.deepcopy(graph)
    titled = [node for node in graph.values() if node.get("_meta", {}).get("title") == "Prompt"]
    texts = [node for node in titled if "text" in node["inputs"]]
    if len(texts) != 1:
        raise ValueError(f'{what}: it needs one text node with the title "Prompt", and has {len(texts)}.')
    texts[0]["inputs"]["text"] = prompt
    seeded = [node["inputs"] for node in graph.values() if node["class_type"] in SEEDS]
    if not seeded:
        raise ValueError(f"{what}: it has none of the nodes {', '.join(SEEDS)}, so its seed cannot be set.")
    for node in graph.values():
        if name := SEEDS.get(node["class_type"]):
            node["inputs"][name] = seed
    if lora is not None:
        only(graph, APPLY, what)["lora_name"] = lora
        return graph
    for key in nodes_of(graph, APPLY):
        source = graph.pop(key)["inputs"]["model"]
        for node in graph.values():
            for name, value in node["inputs"].items():
                if value == [key, 0]:
                    node["inputs"][name] = source
    return graph


def evaluation(sources: dict[str, dict], folder: str, prompt: str, video: str) -> dict:
    """The prompt that runs the Evaluate node on a video file in the server's input folder.

    sources: "reward", "judge" and perhaps "clip", each as {"node", "output", "inputs"}: the nodes that give the face model
    that training rewards, the one that judges, and the CLIP model.
    """
    graph = {
        f"table1 {name}": {"class_type": source["node"], "inputs": source.get("inputs", {})} for name, source in sources.items()
    }

    def link(name: str) -> list:
        return [f"table1 {name}", sources[name].get("output", 0)]

    graph["table1 photos"] = {"class_type": PHOTOS, "inputs": {"face_model": link("reward"), "folder": folder}}
    graph["table1 video"] = {"class_type": "LoadVideo", "inputs": {"file": video}}
    graph["table1 parts"] = {"class_type": "GetVideoComponents", "inputs": {"video": ["table1 video", 0]}}
    inputs = {
        "images": ["table1 parts", 0], "fps": ["table1 parts", 2], "prompt": prompt, "identity": ["table1 photos", 0],
        "face_model": link("judge"),
    }  # fmt: skip
    if "clip" in sources:
        inputs["semantic_reward"] = link("clip")
    return graph | {EVALUATE: {"class_type": "PersonalVideoEvaluateVideo", "inputs": inputs}}


def figures(table: str) -> tuple[dict[str, float], dict[str, str]]:
    """The numbers in the node's Markdown table by metric, and how each was measured, without those that were not."""
    values, how = {}, {}
    for line in table.splitlines()[2:]:
        metric, value, text = (cell.strip() for cell in line.strip().strip("|").split(" | ", 2))
        number = {"moves": "1", "does not move": "0"}.get(value, value.split(" ")[0])
        how[metric] = text.removesuffix(" |")
        try:
            values[metric] = float(number)
        except ValueError:
            continue
    return values, how
