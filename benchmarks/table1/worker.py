"""One ComfyUI server's part of Table 1: training the LoRAs of its people, sampling their videos and measuring them.

A LoRA or video that was made from other photos, prompts or workflows than today's is refused, so that no table mixes the
two; figures are measured again if anything that they were made from has changed.
"""

import re
from collections.abc import Callable
from pathlib import Path

import requests

from benchmarks.table1 import graphs
from benchmarks.table1.config import READABLE, Config, Method
from benchmarks.table1.results import Records, changed, digest, folder_digest
from devkit.comfy_client import ComfyClient

DAY = 24 * 3600


class Worker:
    """Works on one server. Raises ValueError if it does not answer, or if a workflow cannot be used."""

    def __init__(self, config: Config, url: str, records: Records, say: Callable[[str], None] = print):
        self.config, self.records, self.say = config, records, say
        self.client = ComfyClient(url)
        try:
            self.info = self.client.object_info()
        except requests.ConnectionError:
            raise ValueError(f"servers: no ComfyUI answers at {url}; start it, or correct its address.") from None
        self.photos = {identity: folder_digest(folder) for identity, folder in config.identities.items()}
        sampled = [method for method in config.methods if method.videos is None]
        self.training = {method.name: self._training_graph(method) for method in sampled if method.train}
        self.sampling = {method.name: self._sampling_graph(method) for method in sampled}

    def check(self, identity: str) -> None:
        """Raise ValueError if something of this person was made from what the configuration no longer says."""
        for method in self.config.methods:
            for key in self.config.keys(method, identity) if method.videos is None else ():
                if self.config.video(method, key):
                    sampled = self.records.sampled.rows.get(key)
                    self._check(sampled, self._sampled_from(method, identity, key[2]), method, identity)
            if method.train:
                trained = self.records.trained.rows.get((method.name, identity))
                self._check(trained, self._trained_from(method, identity), method, identity)

    def person(self, identity: str) -> None:
        """Train, sample and measure everything of one person."""
        folder = f"table1 {identity} {self.photos[identity]}"
        self.client.upload_folder(self.config.identities[identity], folder)
        for method in self.config.methods:
            keys = self.config.keys(method, identity)
            videos = {key: self.config.video(method, key) for key in keys}
            lora = self._lora(method, identity, folder) if method.train and None in videos.values() else None
            for key, video in videos.items():
                self._measure(video or self._sample(method, key, lora), method, key, folder)

    def _training_graph(self, method: Method) -> dict:
        what = method.train.name
        graph = graphs.with_inputs(graphs.load_graph(method.train, self.info), method.train_inputs, what)
        return graphs.training(graph, "folder", "prefix", what)

    def _sampling_graph(self, method: Method) -> dict:
        what = method.sample.name
        graph = graphs.with_inputs(graphs.load_graph(method.sample, self.info), method.sample_inputs, what)
        graphs.sampling(graph, "prompt", 0, "lora" if method.train else None, what)
        return graph

    def _trained_from(self, method: Method, identity: str) -> dict[str, str]:
        return {"the photos": self.photos[identity], "the training workflow": digest(self.training[method.name])}

    def _sampled_from(self, method: Method, identity: str, number: int) -> dict[str, str]:
        own = {f"prompt {number}": self.config.prompts[number - 1], "the sampling workflow": digest(self.sampling[method.name])}
        return own | (self._trained_from(method, identity) if method.train else {})

    def _check(self, row: dict | None, origin: dict[str, str], method: Method, identity: str) -> None:
        if what := changed(row, origin):
            raise ValueError(
                f"method {method.name}: {what} changed after {identity} was begun; put that back, or choose another output."
            )

    def _lora(self, method: Method, identity: str, folder: str) -> str:
        """The name of the person's LoRA on this server, which is trained if it is not there."""
        row = self.records.trained.rows.get((method.name, identity), {})
        if row.get("server") == self.client.url and row["lora"] in self._loras():
            return row["lora"]
        self.say(f"{self.client.url}: {method.name} learns {identity}")
        prefix = f"table1/{method.name} {identity}"
        graph = graphs.training(self.training[method.name], folder, prefix, method.train.name)
        run = self.client.run(graph, timeout=30 * DAY)
        named = re.compile(re.escape(prefix) + r"_\d+_\.safetensors")
        lora = max(name for name in self._loras() if named.fullmatch(name.replace("\\", "/")))
        made = {"server": self.client.url, "lora": lora, "seconds": round(run.seconds, 1)}
        self.records.trained.add((method.name, identity), made | {"from": self._trained_from(method, identity)})
        return lora

    def _loras(self) -> list[str]:
        info = self.client.get(f"/object_info/{graphs.APPLY}").json()[graphs.APPLY]
        spec = info["input"]["required"]["lora_name"]
        return spec[0] if isinstance(spec[0], list) else spec[1]["options"]

    def _sample(self, method: Method, key: tuple, lora: str | None) -> Path:
        """Sample a video, and return its file; its prompt is beside it."""
        _, identity, number, seed = key
        what, prompt, place = method.sample.name, self.config.prompts[number - 1], self.config.place(key)
        run = self.client.run(graphs.sampling(self.sampling[method.name], prompt, seed, lora, what), timeout=DAY)
        videos = [file for file in run.files() if Path(file["filename"]).suffix in READABLE]
        if not videos:
            raise ValueError(f"{what}: it saves no video; add a Save Video node.")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.with_suffix(".txt").write_text(prompt, encoding="utf-8")
        part = place.with_suffix(".part")
        part.write_bytes(self.client.view(videos[0]))
        self.records.sampled.add(key, {"from": self._sampled_from(method, identity, number)})
        return part.replace(place.with_suffix(Path(videos[0]["filename"]).suffix))

    def _measure(self, video: Path, method: Method, key: tuple, folder: str) -> None:
        """Measure a video by its file, as for all methods."""
        prompt = self.config.prompt(method, key)
        origin = {"folder": folder, "prompt": prompt, "models": digest(self.config.sources), "video": digest(video.read_bytes())}
        row = self.records.measured.rows.get(key)
        if row and not changed(row, origin):
            return
        place = f"{folder}/{method.name}"
        self.client.upload(video, place)
        graph = graphs.evaluation(self.config.sources, folder, prompt, f"{place}/{video.name}")
        values, how = graphs.figures(self.client.run(graph, timeout=DAY).outputs[graphs.EVALUATE]["text"][0])
        self.records.measured.add(key, {"figures": values, "how": how, "from": origin})
        self.say(f"{self.client.url}: {' '.join(map(str, key))}: face similarity {values.get('Face Similarity', 0):.2f}")
