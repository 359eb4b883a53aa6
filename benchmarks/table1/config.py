"""The contents of the Table 1 runner's TOML file."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    ValidationError,
    model_validator,
)

READABLE = (".mp4", ".webm", ".mov", ".mkv")  # the core's Load Video reads these

Inputs = dict[str, dict[str, Any]]
"""Changes to a workflow, by node type and input."""


def _photos(folders: dict[str, Path]) -> dict[str, Path]:
    for name, folder in folders.items():
        if not folder.is_dir():
            raise ValueError(f"identities: the photos of {name} are not in {folder}")
    return folders


def _prompts(file: Any) -> list[str]:
    if not (isinstance(file, str) and Path(file).is_file()):
        raise ValueError(f"prompts: there is no file {file}")
    return [line.strip() for line in Path(file).read_text(encoding="utf-8").splitlines() if line.strip()]


class _Table(BaseModel):
    """A table of the file, which may have no unknown entries and is never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Table):
    """A node that loads a model, with its inputs. output: the number of the output that is the model."""

    node: str = Field(description="the type of the node that loads the model")
    output: int = 0
    inputs: dict[str, Any] = {}


class Fvd(_Table):
    """What FVD is measured with: real videos and the weights of the network."""

    real: DirectoryPath = Field(description="a folder of real videos")
    weights: FilePath = Field(description="torchvision's file of S3D")


class Method(_Table):
    """A method of the table; without ``train`` it is the base model.

    videos: a folder of finished ones to use instead, as <person>/<number of the prompt>....mp4.
    """

    name: str = Field(description="what the table calls the method")
    train: FilePath | None = Field(None, description="a workflow that trains an identity")
    sample: FilePath | None = Field(None, description="a workflow that samples a video")
    videos: Path | None = None
    train_inputs: Inputs = {}
    sample_inputs: Inputs = {}

    @model_validator(mode="after")
    def _samples_or_has_videos(self) -> "Method":
        if (self.sample is None) == (self.videos is None):
            raise ValueError(f"method {self.name} needs either a sample workflow or finished videos")
        return self


class Config(_Table):
    """The whole TOML file, see example.toml, with the prompts from the file that it names."""

    output: Path = Field(description="the folder of all results")
    servers: list[str] = Field(min_length=1, description="addresses of running ComfyUI servers")
    prompts: Annotated[list[str], BeforeValidator(_prompts)] = Field(description="a file with a prompt a line")
    seeds: list[int] = [0]
    identities: Annotated[dict[str, Path], AfterValidator(_photos)] = Field(description="a folder of photos for each person")
    methods: list[Method] = Field(min_length=1, description="what is compared")
    reward: Source = Field(description="the face model that training rewards")
    judge: Source = Field(description="another face model, which judges")
    clip: Source | None = None
    fvd: Fvd | None = None

    @model_validator(mode="after")
    def _methods_are_distinct_and_their_videos_there(self) -> "Config":
        names = [method.name for method in self.methods]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two methods are named {twice[0]}; give one of them another name")
        for method in self.methods:
            for name in self.identities if method.videos is not None else ():
                folder = method.videos / name
                if not folder.is_dir():
                    raise ValueError(f"method {method.name}: the videos of {name} are not in {folder}")
                for video in videos_in(folder):
                    if not 1 <= _leading_number(video.name) <= len(self.prompts):
                        raise ValueError(
                            f"{video}: its name has to start with the number of its prompt, 1 to {len(self.prompts)}"
                        )
        return self

    @property
    def sources(self) -> dict[str, dict]:
        """The sources of the reward, of the judge, and of clip if the file has one."""
        sources = {"reward": self.reward, "judge": self.judge, "clip": self.clip}
        return {name: source.model_dump(exclude_unset=True) for name, source in sources.items() if source is not None}

    def keys(self, method: Method, identity: str) -> list[tuple]:
        """The keys of the videos that a method has to have of a person.

        They are (method, person, number of the prompt, seed), or (method, person, file name, 0) for finished videos.
        """
        if method.videos is not None:
            return [(method.name, identity, path.name, 0) for path in videos_in(method.videos / identity)]
        numbers = range(1, len(self.prompts) + 1)
        return [(method.name, identity, number, seed) for number in numbers for seed in self.seeds]

    def place(self, key: tuple) -> Path:
        """The path of a sampled video, without suffix; its prompt is beside it as .txt."""
        method, identity, number, seed = key
        return self.output / "videos" / method / identity / f"{number:03}-{seed}"

    def video(self, method: Method, key: tuple) -> Path | None:
        """The file of a video, or None if it is not there."""
        if method.videos is not None:
            return method.videos / key[1] / key[2]
        place = self.place(key)
        return next((path for path in sorted(place.parent.glob(f"{place.name}.*")) if path.suffix in READABLE), None)

    def prompt(self, method: Method, key: tuple) -> str:
        """The prompt of a video."""
        number = key[2] if method.videos is None else _leading_number(key[2])
        return self.prompts[number - 1]


def videos_in(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.suffix.lower() in READABLE)


def _leading_number(name: str) -> int:
    """The number with which ``name`` begins, or 0 if there is none."""
    return int(re.match(r"\d*", name)[0] or 0)


def read_config(path: Path) -> Config:
    """The configuration in a file, whose paths are relative to the current folder.

    Raises ValueError, in one sentence, if it cannot work.
    """
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file.") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name}: {error}.") from None
    try:
        return Config.model_validate(said)
    except ValidationError as error:
        raise ValueError(f"{path.name}: {_sentence(error.errors()[0], said)}.") from None


TABLES = {"methods": Method, "reward": Source, "judge": Source, "clip": Source, "fvd": Fvd}


def _sentence(error: dict[str, Any], said: dict[str, Any]) -> str:
    """One of pydantic's errors about the file, put for whoever wrote it."""
    kind, where = error["type"], error["loc"]
    if kind == "value_error":
        return str(error["ctx"]["error"])
    fields = (TABLES.get(where[0], Config) if len(where) > 1 else Config).model_fields
    field = fields.get(where[-1])
    what = f" ({field.description})" if field and field.description else ""
    if where[0] == "methods" and len(where) > 2:
        where = (f"method {said['methods'][where[1]].get('name', where[1] + 1)}", *where[2:])
    place = ": ".join(map(str, where))
    if kind == "missing":
        return f"{place} is missing{what}"
    if kind == "extra_forbidden":
        return f"{place} is unknown; what can stand there is {', '.join(fields)}"
    if kind in ("path_not_file", "path_not_directory"):
        return f"{place}: there is no {'file' if kind == 'path_not_file' else 'folder'} {error['input']}{what}"
    return f"{place}: {error['msg'][0].lower()}{error['msg'][1:]}, not {error['input']!r}{what}"
