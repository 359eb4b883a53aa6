"""``make demo`` trains identities and samples them in the real ComfyUI, with the bundled workflows.

It starts the host's server on loopback, runs the workflows over its HTTP API, and writes pictures and figures to
``output/demo``. Every figure comes from prompts and seeds that training never used, and identity from a recognizer that was
never rewarded.
"""

import argparse
import copy
import io
import json
import random
import time

import numpy as np
import torch
from PIL import Image, ImageSequence
from torch import Tensor
from tqdm import tqdm

from devkit.comfy_host import ROOT, WORK, find_host
from devkit.comfy_server import ComfyServer
from devkit.compare_sheet import Comparison, compare_sheet
from devkit.demo_metrics import DemoMetrics
from devkit.workflow_api import to_api
from personalvideo_pack.evaluation.judges import judge_warning
from tools.demo_report import report_plot
from tools.workflows.demo import SAMPLE, TRAIN

OUTPUT = ROOT / "output" / "demo"
IDENTITIES = ROOT / "demo" / "identities"
HELD_OUT = ROOT / "demo" / "held_out.txt"
SHOWN = 3  # how many prompts the comparison sheet shows
FIGURES = ("judge", "reward", "dynamic", "prompt", "attributes")


class Demo:
    """The bundled workflows on a running server, as two requests: train this person, sample this prompt."""

    def __init__(self, server: ComfyServer, seed: int):
        self.server = server
        self.seed = seed
        info = server.object_info()
        self.train_graph, self.sample_graph = (to_api(json.loads(path.read_text()), info) for path in (TRAIN, SAMPLE))

    def default_identity(self) -> str:
        return self._inputs(self.train_graph, "PersonalVideoLoadIdentityImages")["folder"].removeprefix("demo/")

    def train(self, name: str) -> tuple[str, float]:
        """Train the adapter of a person, and return the name of its LoRA and the seconds that it took."""
        graph = copy.deepcopy(self.train_graph)
        self._inputs(graph, "PersonalVideoLoadIdentityImages")["folder"] = f"demo/{name}"
        settings = self._inputs(graph, "PersonalVideoTrainAdapter")
        settings["seed"] = self.seed
        settings["filename_prefix"] = f"loras/{name}"
        bar = tqdm(total=settings["steps"], desc=f"train {name}", unit="step")

        def show(kind, data):
            if kind == "progress" and data["max"] == bar.total:
                bar.update(data["value"] - bar.n)

        run = self.server.run(graph, timeout=3600, on_event=show)
        bar.close()
        loras = self.server.base / "output" / "loras"
        newest = max(loras.glob(f"{name}_*.safetensors"), key=lambda path: path.stat().st_mtime)
        return newest.name, run.seconds

    def sample(self, prompt: str, seed: int, lora: str | None, style: bool) -> tuple[Tensor, bytes]:
        """Sample a clip, and return it as [F, 3, H, W] in 0..1 and as the WebP that the workflow saved."""
        graph = copy.deepcopy(self.sample_graph)
        next(node for node in graph.values() if node["_meta"]["title"] == "Prompt")["inputs"]["text"] = prompt
        self._inputs(graph, "PersonalVideoSampleVideo")["seed"] = seed
        self._inputs(graph, "LoraLoader")["strength_model"] = float(style)
        identity = self._inputs(graph, "PersonalVideoApplyLateStepLora")
        identity["strength_model"] = float(lora is not None)
        identity["lora_name"] = lora or identity["lora_name"]
        saver = next(key for key, node in graph.items() if node["class_type"] == "SaveAnimatedWEBP")
        graph = {key: node for key, node in graph.items() if node["class_type"] != "SaveVideo"}
        data = self.server.view(self.server.run(graph).files(saver)[0])
        return _frames(data), data

    @staticmethod
    def _inputs(graph: dict, kind: str) -> dict:
        return next(node["inputs"] for node in graph.values() if node["class_type"] == kind)


def run(identities: int, seed: int) -> dict:
    """Train and measure ``identities`` people, and return the report, which is also written to ``output/demo``."""
    started = time.monotonic()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    metrics = DemoMetrics()
    prompts = [line.replace(" V ", " sks ") for line in HELD_OUT.read_text().splitlines() if line.strip()]
    seeds = [10_000 * (seed + 1) + index for index in range(len(prompts))]
    rows, comparisons = [], []
    with ComfyServer(find_host(), WORK / "base") as server:
        demo = Demo(server, seed)
        base = [demo.sample(prompt, s, None, style=False) for prompt, s in zip(tqdm(prompts, desc="base"), seeds)]
        for name in choose(demo.default_identity(), identities, seed):
            lora, seconds = demo.train(name)
            after = [demo.sample(p, s, lora, style=False) for p, s in zip(tqdm(prompts, desc=name), seeds)]
            styled = [demo.sample(p, s, lora, style=True) for p, s in zip(prompts[:SHOWN], seeds)]
            photos = [_frames(path.read_bytes())[0] for path in sorted((IDENTITIES / name).glob("*.png"))]
            references = metrics.references(photos)
            rows.append(_row(name, seconds, metrics, references, prompts, base, after))
            comparisons.append(
                Comparison(
                    name,
                    photos,
                    prompts[:SHOWN],
                    [
                        ("base", [clip for clip, _ in base[:SHOWN]]),
                        ("identity", [clip for clip, _ in after[:SHOWN]]),
                        ("identity\n+ style LoRA", [clip for clip, _ in styled]),
                    ],
                )
            )
            if len(rows) == 1:
                (OUTPUT / "before.webp").write_bytes(base[0][1])
                (OUTPUT / "after.webp").write_bytes(after[0][1])
    report = {
        "identities": rows,
        "total_seconds": round(time.monotonic() - started, 1),
        "seed": seed,
        "prompts": len(prompts),
        "judge_warning": judge_warning(metrics.reward, metrics.judge),
    }
    (OUTPUT / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    report_plot(report, OUTPUT / "report.png")
    compare_sheet(comparisons, OUTPUT / "compare.png")
    return report


def choose(default: str, count: int, seed: int) -> list[str]:
    """The names of ``count`` people: the default one first, then others drawn by ``seed``."""
    names = sorted(path.name for path in IDENTITIES.iterdir() if path.is_dir())
    others = [name for name in names if name != default]
    random.Random(seed).shuffle(others)
    return [default, *others][:count]


def _row(name: str, seconds: float, metrics: DemoMetrics, references: dict, prompts, base, after) -> dict:
    row = {"name": name}
    for when, clips in (("before", base), ("after", after)):
        measured = [metrics.measure(clip, prompt, references) for (clip, _), prompt in zip(clips, prompts)]
        for figure in FIGURES:
            row[f"{figure}_{when}"] = round(float(np.mean([getattr(clip, figure) for clip in measured])), 4)
    drift = [metrics.drift(before, changed) for (before, _), (changed, _) in zip(base, after)]
    return row | {"drift_outside_head": round(float(np.mean(drift)), 4), "train_seconds": round(seconds, 1)}


def _frames(data: bytes) -> Tensor:
    """The frames [F, 3, H, W] in 0..1 of a picture or an animation."""
    pages = [np.array(page.convert("RGB")) for page in ImageSequence.Iterator(Image.open(io.BytesIO(data)))]
    return torch.from_numpy(np.stack(pages)).movedim(-1, 1).float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identities", type=int, default=1, help="how many people to train")
    parser.add_argument("--seed", type=int, default=0, help="draws the people and all noise")
    arguments = parser.parse_args()
    report = run(arguments.identities, arguments.seed)
    for row in report["identities"]:
        print(
            f"{row['name']}: judge {row['judge_before']:.2f} -> {row['judge_after']:.2f}, "
            f"attributes {row['attributes_before']:.2f} -> {row['attributes_after']:.2f}, "
            f"motion {row['dynamic_before']:.2f} -> {row['dynamic_after']:.2f} pixels a frame, "
            f"prompt {row['prompt_before']:.3f} -> {row['prompt_after']:.3f}, "
            f"change outside the head {row['drift_outside_head']:.3f}, trained in {row['train_seconds']:.0f} s"
        )
    print(f"{report['total_seconds']:.0f} s in all; look at {OUTPUT.relative_to(ROOT)}/compare.png")


if __name__ == "__main__":
    main()
