"""The paper's user study for anyone: an HTML page that shows the videos of two or more methods in pairs, blindly.

    python -m benchmarks.user_study.blind_page ours=videos/ours dreambooth=videos/dreambooth --references photos --out study.html
    python -m benchmarks.user_study.blind_tally "answers Ann.json" "answers Bob.json"

Videos with one name in several folders belong to one prompt and seed and are compared: `anna/03.mp4` with `anna/03.mp4`.
The prompt is read from `anna/03.txt` beside any of them. The photos of a person are in the folder of the same name among
the references (`photos/anna`) or, if there is none, among the references themselves. Everything is inside the page, which
can be sent to anyone; it names methods only in a coded form, which the answers file spells out again.
"""

import argparse
import base64
import hashlib
import json
import random
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

TEMPLATE = Path(__file__).parent / "blind_page.html"
KINDS = {
    ".mp4": "video/mp4", ".webm": "video/webm", ".webp": "image/webp", ".gif": "image/gif", ".png": "image/png",
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg",
}  # fmt: skip
VIDEOS, PHOTOS = (".mp4", ".webm", ".webp", ".gif"), (".png", ".jpg", ".jpeg", ".webp")
QUESTIONS = (  # section 5.4 of the paper
    {"name": "Identity Fidelity", "text": "In which video does the person look more like the one in the photos?"},
    {"name": "Text Alignment", "text": "Which video fits the text better?"},
    {"name": "Dynamic Degree", "text": "In which video is there more motion?"},
    {"name": "Overall Quality", "text": "Which video do you like better, all in all?"},
)


@dataclass(frozen=True)
class Clip:
    """The videos of one prompt and seed. name: their path below the folders, without suffix. files: theirs by method."""

    name: str
    prompt: str
    references: tuple[Path, ...]
    files: dict[str, Path]


def find_clips(folders: dict[str, Path], references: Path | None) -> list[Clip]:
    """The clips that at least two methods have. Raises ValueError, in one sentence, if there are none."""
    found: dict[str, dict[str, Path]] = {}
    for method, folder in folders.items():
        if not folder.is_dir():
            raise ValueError(f"{method}: there is no folder {folder}.")
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in VIDEOS:
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), {})[method] = path
    clips = [
        Clip(name, _prompt(files), tuple(_photos(references, name)), files)
        for name, files in sorted(found.items())
        if len(files) > 1
    ]
    if not clips:
        raise ValueError(f"No two of the folders have a video ({', '.join(VIDEOS)}) of the same name.")
    return clips


def _prompt(files: dict[str, Path]) -> str:
    texts = [path.with_suffix(".txt") for path in files.values()]
    return next((text.read_text(encoding="utf-8").strip() for text in texts if text.exists()), "")


def _photos(references: Path | None, name: str) -> list[Path]:
    if references is None:
        return []
    own = references / name.split("/")[0]
    folder = own if own.is_dir() else references
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTOS)
    if not photos:
        raise ValueError(f"references: there is no photo ({', '.join(PHOTOS)}) in {folder}.")
    return photos


def page(clips: list[Clip], most: int | None = None, seed: int = 0) -> str:
    """The HTML. Every two methods of a clip make a pair; the page has all pairs, or ``most`` of them, drawn by ``seed``."""
    pairs = [(clip, two) for clip in clips for two in combinations(sorted(clip.files), 2)]
    draw = random.Random(seed)
    draw.shuffle(pairs)
    pairs = pairs[:most]
    methods = sorted({method for _, two in pairs for method in two})
    draw.shuffle(methods)
    media: dict[Path, int] = {}

    def place(path: Path) -> int:
        return media.setdefault(path, len(media))

    listed = [
        {
            "clip": _coded(clip.name), "prompt": clip.prompt, "references": [place(photo) for photo in clip.references],
            "sides": [{"method": methods.index(method), "media": place(clip.files[method])} for method in two],
        }
        for clip, two in pairs
    ]  # fmt: skip
    data = {
        "questions": QUESTIONS, "methods": [_coded(method) for method in methods], "pairs": listed,
        "media": [_data_uri(path) for path in media],
    }  # fmt: skip
    data["id"] = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
    text = json.dumps(data, ensure_ascii=False).replace("</", "<\\/")
    return TEMPLATE.read_text(encoding="utf-8").replace("__DATA__", text)


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _data_uri(path: Path) -> str:
    return f"data:{KINDS[path.suffix.lower()]};base64,{base64.b64encode(path.read_bytes()).decode()}"


def folders_of(arguments: list[str]) -> dict[str, Path]:
    """The folders by method, from ``name=folder``, or ``folder`` named like its method. Raises ValueError for fewer than two."""
    folders = {}
    for argument in arguments:
        name, separator, folder = argument.rpartition("=")
        path = Path(folder)
        folders[name if separator else path.resolve().name] = path
    if len(folders) < 2:
        raise ValueError("Two folders of videos or more are needed, with different names (name=folder).")
    return folders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="name=folder", help="videos of one method")
    parser.add_argument("--references", type=Path, help="photos, in a folder for each person or of a single one")
    parser.add_argument("--out", type=Path, default=Path("blind.html"))
    parser.add_argument("--pairs", type=int, help="show only so many pairs, drawn by lot")
    parser.add_argument("--seed", type=int, default=0, help="of that lot")
    arguments = parser.parse_args()
    try:
        clips = find_clips(folders_of(arguments.folders), arguments.references)
    except ValueError as error:
        parser.error(str(error))
    arguments.out.write_text(page(clips, arguments.pairs, arguments.seed), encoding="utf-8")
    print(f"{arguments.out}: {len(clips)} clips, {arguments.out.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
