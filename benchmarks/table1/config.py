"""What the TOML file of the Table 1 runner says."""

import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

READABLE = (".mp4", ".webm", ".mov", ".mkv")  # by the core's Load Video


@dataclass(frozen=True)
class Method:
    """train and sample: workflow files; a method without ``train`` shows the base model. videos: finished ones instead,
    as <person>/<number of the prompt>....mp4. train_inputs, sample_inputs: changes by node type."""

    name: str
    train: Path | None = None
    sample: Path | None = None
    videos: Path | None = None
    train_inputs: dict = field(default_factory=dict)
    sample_inputs: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """What the TOML file says, see table1.example.toml. sources: reward, judge and perhaps clip. fvd: real, weights."""

    output: Path
    servers: list[str]
    prompts: list[str]
    seeds: list[int]
    identities: dict[str, Path]
    methods: list[Method]
    sources: dict[str, dict]
    fvd: dict[str, Path] = field(default_factory=dict)

    def keys(self, method: Method, identity: str) -> list[tuple]:
        """Of the videos that a method has to have of a person: (method, person, number of the prompt, seed), or
        (method, person, file name, 0) of finished ones."""
        if method.videos is not None:
            return [(method.name, identity, path.name, 0) for path in videos_in(method.videos / identity)]
        numbers = range(1, len(self.prompts) + 1)
        return [(method.name, identity, number, seed) for number in numbers for seed in self.seeds]

    def place(self, key: tuple) -> Path:
        """Of a sampled video, without suffix; its prompt is beside it as .txt."""
        method, identity, number, seed = key
        return self.output / "videos" / method / identity / f"{number:03}-{seed}"

    def video(self, method: Method, key: tuple) -> Path | None:
        """The file, if it is there."""
        if method.videos is not None:
            return method.videos / key[1] / key[2]
        place = self.place(key)
        return next((path for path in sorted(place.parent.glob(f"{place.name}.*")) if path.suffix in READABLE), None)

    def prompt(self, method: Method, key: tuple) -> str:
        """What the video shows."""
        number = key[2] if method.videos is None else _leading_number(key[2])
        return self.prompts[number - 1]


def videos_in(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.suffix.lower() in READABLE)


def _leading_number(name: str) -> int:
    """0 if there is none."""
    return int(re.match(r"\d*", name)[0] or 0)


def read_config(path: Path) -> Config:
    """Paths in it count from the current folder. Raises ValueError, in one sentence, for what cannot work."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file.") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name}: {error}.") from None
    missing = {"output", "servers", "prompts", "identities", "methods", "reward", "judge"} - set(said)
    if missing:
        raise ValueError(f"{path.name}: {sorted(missing)[0]} is missing.")
    identities = {name: Path(folder) for name, folder in said["identities"].items()}
    for name, folder in identities.items():
        if not folder.is_dir():
            raise ValueError(f"{path.name}: identities: the photos of {name} are not in {folder}.")
    methods = [_method(each, identities, path.name) for each in said["methods"]]
    names = [method.name for method in methods]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{path.name}: two methods are named {twice[0]}; give one of them another name.")
    fvd = {name: Path(place) for name, place in said.get("fvd", {}).items()}
    if fvd and not (set(fvd) == {"real", "weights"} and fvd["real"].is_dir() and fvd["weights"].is_file()):
        raise ValueError(f"{path.name}: fvd needs real, a folder of real videos, and weights, torchvision's file of S3D.")
    prompts = Path(said["prompts"])
    if not prompts.is_file():
        raise ValueError(f"{path.name}: prompts: there is no file {prompts}.")
    lines = [line.strip() for line in prompts.read_text(encoding="utf-8").splitlines() if line.strip()]
    finished = [method.videos / name for method in methods if method.videos is not None for name in identities]
    for folder in finished:
        for video in videos_in(folder):
            if not 1 <= _leading_number(video.name) <= len(lines):
                raise ValueError(f"{path.name}: {video}: its name has to start with the number of its prompt, 1 to {len(lines)}.")
    sources = {name: said[name] for name in ("reward", "judge", "clip") if name in said}
    return Config(Path(said["output"]), said["servers"], lines, said.get("seeds", [0]), identities, methods, sources, fvd)


def _method(said: dict, identities: dict[str, Path], file: str) -> Method:
    known = {each.name for each in fields(Method)}
    if "name" not in said or set(said) - known:
        raise ValueError(f"{file}: a method needs a name, and may have {', '.join(sorted(known - {'name'}))}; it says {said}.")
    method = Method(**{key: Path(value) if key in ("train", "sample", "videos") else value for key, value in said.items()})
    if (method.sample is None) == (method.videos is None):
        raise ValueError(f"{file}: method {method.name} needs either a sample workflow or finished videos.")
    for workflow in (method.train, method.sample):
        if workflow is not None and not workflow.is_file():
            raise ValueError(f"{file}: method {method.name}: there is no workflow {workflow}.")
    for name in identities if method.videos is not None else ():
        if not (method.videos / name).is_dir():
            raise ValueError(f"{file}: method {method.name}: the videos of {name} are not in {method.videos / name}.")
    return method
