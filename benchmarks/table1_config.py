"""What the TOML file of the Table 1 runner says."""

import hashlib
import json
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path


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


def fingerprints(config: Config) -> dict[tuple[str, str], str]:
    """What decides the figures, by kind and name, in short: another one is another experiment."""
    found = {("the models that measure", ""): _digest(json.dumps(config.sources, sort_keys=True))}
    for name, folder in config.identities.items():
        found["the photos of", name] = photos_digest(folder)
    for method in config.methods:
        if method.videos is None:
            workflows = [path.read_bytes() for path in (method.train, method.sample) if path is not None]
            changes = json.dumps([method.train_inputs, method.sample_inputs], sort_keys=True)
            found["the workflows or inputs of", method.name] = _digest(*workflows, changes)
    return found


def photos_digest(folder: Path) -> str:
    """Of the names and contents of a folder's files."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return _digest(*(part for path in files for part in (path.name, path.read_bytes())))


def _digest(*parts: str | bytes) -> str:
    """Of parts in their order: eight digits, the same on every computer."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return whole.hexdigest()[:8]


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
    fvd = {name: Path(place) for name, place in said.get("fvd", {}).items()}
    if fvd and not (set(fvd) == {"real", "weights"} and fvd["real"].is_dir() and fvd["weights"].is_file()):
        raise ValueError(f"{path.name}: fvd needs real, a folder of real videos, and weights, torchvision's file of S3D.")
    prompts = Path(said["prompts"])
    if not prompts.is_file():
        raise ValueError(f"{path.name}: prompts: there is no file {prompts}.")
    lines = [line.strip() for line in prompts.read_text(encoding="utf-8").splitlines() if line.strip()]
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
