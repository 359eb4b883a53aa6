"""The paper's Table 1 on your own models: people x prompts, trained, sampled and measured by running ComfyUI servers.

    python -m benchmarks.table1 --config benchmarks/table1.example.toml

Run it from the pack's folder. It goes on where it was stopped. Every server works on its own people, as a LoRA stays on the
server that trained it. The videos (with their prompts beside them, as tools/blind_page.py takes them), one line of figures each,
and table1.md with the paper's figures beside ours go to the configuration's output folder. All videos, our own too, are
measured as files: compression lowers everybody's figures alike.
"""

import argparse
import json
import queue
import re
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]

import table1_graphs as graphs  # noqa: E402
import requests  # noqa: E402
from comfy_client import ComfyClient, PromptError  # noqa: E402
from table1_config import Config, Method, fingerprints, photos_digest, read_config  # noqa: E402
from table1_report import table  # noqa: E402

READABLE = (".mp4", ".webm", ".mov", ".mkv")  # by the core's Load Video
DAY = 24 * 3600


class Results:
    """Lines of JSON on disk, by key; safe between threads."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rows: dict[tuple, dict] = {}
        self._lock = threading.Lock()
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the line a kill has cut off
                continue
            self.rows[tuple(row["key"])] = row

    def add(self, key: tuple, row: dict) -> None:
        with self._lock, open(self.path, "a") as file:
            self.rows[key] = {"key": list(key), **row}
            file.write("\n" * (file.tell() > 0) + json.dumps(self.rows[key]))


class Worker:
    """One server's part of the work."""

    def __init__(self, config: Config, url: str, say=print):
        self.config = config
        self.client = ComfyClient(url)
        self.say = say
        try:
            self.info = self.client.object_info()
        except requests.ConnectionError:
            raise ValueError(f"servers: no ComfyUI answers at {url}; start it, or correct its address.") from None
        self.trained = Results(config.output / "trained.jsonl")
        self.measured = Results(config.output / "rows.jsonl")

    def person(self, identity: str) -> None:
        """Everything about one person."""
        folder = f"table1 {identity} {photos_digest(self.config.identities[identity])}"
        self.client.upload_folder(self.config.identities[identity], folder)
        for method in self.config.methods:
            if method.videos is not None:
                self._finished(method, identity, folder)
                continue
            wanted = [(number, seed) for number in range(1, len(self.config.prompts) + 1) for seed in self.config.seeds]
            self._check_prompts(method, identity, wanted)
            wanted = [each for each in wanted if (method.name, identity, *each) not in self.measured.rows]
            if not wanted:
                continue
            lora = self._lora(method, identity, folder) if method.train else None
            for number, seed in wanted:
                self._sampled(method, identity, folder, lora, number, seed)

    def _place(self, method: Method, identity: str, number: int, seed: int) -> Path:
        """Of a sampled video, without suffix; its prompt is beside it as .txt."""
        return self.config.output / "videos" / method.name / identity / f"{number:03}-{seed}"

    def _check_prompts(self, method: Method, identity: str, wanted: list[tuple[int, int]]) -> None:
        for number, seed in wanted:
            text = self._place(method, identity, number, seed).with_suffix(".txt")
            if text.exists() and text.read_text(encoding="utf-8") != self.config.prompts[number - 1]:
                raise ValueError(
                    f"prompts: number {number} is no longer that of {text}; put new prompts at the end, or choose another output."
                )

    def _lora(self, method: Method, identity: str, folder: str) -> str:
        """The name of the person's LoRA on this server, trained if it is not there."""
        row = self.trained.rows.get((method.name, identity), {})
        if row.get("server") == self.client.url and row["lora"] in self._loras():
            return row["lora"]
        self.say(f"{self.client.url}: {method.name} learns {identity}")
        graph = graphs.with_inputs(graphs.load_graph(method.train, self.info), method.train_inputs, method.train.name)
        prefix = f"table1/{method.name} {identity}"
        run = self.client.run(graphs.training(graph, folder, prefix, method.train.name), timeout=30 * DAY)
        named = re.compile(re.escape(prefix) + r"_\d+_\.safetensors")
        lora = max(name for name in self._loras() if named.fullmatch(name.replace("\\", "/")))
        self.trained.add((method.name, identity), {"server": self.client.url, "lora": lora, "seconds": round(run.seconds, 1)})
        return lora

    def _loras(self) -> list[str]:
        info = self.client.get(f"/object_info/{graphs.APPLY}").json()[graphs.APPLY]
        spec = info["input"]["required"]["lora_name"]
        return spec[0] if isinstance(spec[0], list) else spec[1]["options"]

    def _sampled(self, method: Method, identity: str, folder: str, lora: str | None, number: int, seed: int) -> None:
        """Sample and keep the video, then measure its file, as those of all methods."""
        what, prompt = method.sample.name, self.config.prompts[number - 1]
        place = self._place(method, identity, number, seed)
        kept = [path for path in place.parent.glob(place.name + ".*") if path.suffix in READABLE]
        if not kept:
            graph = graphs.with_inputs(graphs.load_graph(method.sample, self.info), method.sample_inputs, what)
            files = self.client.run(graphs.sampling(graph, prompt, seed, lora, what), timeout=DAY).files()
            videos = [file for file in files if Path(file["filename"]).suffix in READABLE]
            if not videos:
                raise ValueError(f"{what}: it saves no video; add a Save Video node.")
            kept = [place.with_suffix(Path(videos[0]["filename"]).suffix)]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.with_suffix(".txt").write_text(prompt, encoding="utf-8")
            part = place.with_suffix(".part")
            part.write_bytes(self.client.view(videos[0]))
            part.replace(kept[0])
        self._measure(kept[0], (method.name, identity, number, seed), folder, prompt)

    def _finished(self, method: Method, identity: str, folder: str) -> None:
        """Videos of another method."""
        for path in sorted((method.videos / identity).iterdir()):
            key = method.name, identity, path.name, 0
            if path.suffix.lower() not in READABLE or key in self.measured.rows:
                continue
            digits = path.stem[:len(path.stem) - len(path.stem.lstrip("0123456789"))]
            if not (digits and 1 <= int(digits) <= len(self.config.prompts)):
                raise ValueError(f"{path}: its name has to start with the number of its prompt, 1 to {len(self.config.prompts)}.")
            self._measure(path, key, folder, self.config.prompts[int(digits) - 1])

    def _measure(self, video: Path, key: tuple, folder: str, prompt: str) -> None:
        place = f"{folder}/{key[0]}"
        self.client.upload(video, place)
        graph = graphs.evaluation(self.config.sources, folder, prompt, f"{place}/{video.name}")
        values, how = graphs.figures(self.client.run(graph, timeout=DAY).outputs[graphs.EVALUATE]["text"][0])
        self.measured.add(key, {"figures": values, "how": how})
        self.say(f"{self.client.url}: {' '.join(map(str, key))}: face similarity {values.get('Face Similarity', 0):.2f}")


def _check_unchanged(config: Config) -> None:
    """ValueError: rows that are there were made with other models, photos or workflows than the configuration now names."""
    known = Results(config.output / "made_with.jsonl")
    for key, digest in fingerprints(config).items():
        if key not in known.rows:
            known.add(key, {"digest": digest})
        elif known.rows[key]["digest"] != digest:
            what = " ".join(key).strip()
            raise ValueError(f"{what} changed since {config.output} was begun; put it back, or choose another output.")


def run(config: Config, say=print) -> None:
    """Everything that is not there yet, on all servers at once. What ends one server's part is said at once, and raised when
    the others are done."""
    _check_unchanged(config)
    workers = [Worker(config, url, say) for url in config.servers]
    for other in workers[1:]:
        other.trained, other.measured = workers[0].trained, workers[0].measured
    names, ends = list(config.identities), queue.SimpleQueue()

    def part(worker: Worker, people: list[str]) -> None:
        try:
            for identity in people:
                worker.person(identity)
        except Exception as error:
            say(f"{worker.client.url} has stopped: {error}")
            ends.put(error)
        else:
            ends.put(None)

    for index, worker in enumerate(workers):
        threading.Thread(target=part, args=(worker, names[index::len(workers)]), daemon=True).start()
    failures = [error for error in (ends.get() for _ in workers) if error is not None]
    if failures:
        raise failures[0]


def fvd(config: Config, say=print) -> dict[str, float]:
    """By method, see table1_fvd; empty if the configuration does not ask for it."""
    if not config.fvd:
        return {}
    from table1_fvd import Features, distances

    folders = {method.name: method.videos or config.output / "videos" / method.name for method in config.methods}
    methods = {
        name: [video for identity in config.identities for video in _videos(folder / identity)]
        for name, folder in folders.items()
    }
    features = Features(config.fvd["weights"], config.output / "fvd.safetensors", say)
    return distances(features, _videos(config.fvd["real"]), methods)


def _videos(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in READABLE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        config = read_config(arguments.config)
    except ValueError as error:
        parser.error(str(error))
    problem, distances = None, {}
    try:
        run(config)
        distances = fvd(config)
    except PromptError as error:
        problem = f"{error.node_type or 'ComfyUI'}: {error}"
    except (ValueError, RuntimeError, TimeoutError, requests.RequestException) as error:
        problem = str(error)
    except KeyboardInterrupt:
        problem = "Stopped; start it again to go on."
    finally:
        rows = [row for row in Results(config.output / "rows.jsonl").rows.values() if row["key"][1] in config.identities]
        text = table(rows, [method.name for method in config.methods], distances)
        (config.output / "table1.md").write_text(text, encoding="utf-8")
    print(text)
    if problem:
        parser.exit(1, f"{problem}\n")


if __name__ == "__main__":
    main()
