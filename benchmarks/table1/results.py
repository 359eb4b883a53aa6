"""What the Table 1 runner has made: lines of JSON that a kill cannot spoil, each with what its content follows from."""

import hashlib
import json
import threading
from pathlib import Path


class Results:
    """Rows by key; safe between threads."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rows: dict[tuple, dict] = {}
        self._lock = threading.Lock()
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # the line a kill has cut off
                continue
            self.rows[tuple(row["key"])] = row

    def add(self, key: tuple, row: dict) -> None:
        """Instead of an older one of the key."""
        with self._lock, open(self.path, "a", encoding="utf-8") as file:
            self.rows[key] = {"key": list(key), **row}
            file.write("\n" * (file.tell() > 0) + json.dumps(self.rows[key]))


class Records:
    """trained: LoRAs by (method, person). sampled: videos, and measured: figures, by (method, person, number or file, seed)."""

    def __init__(self, output: Path):
        self.trained = Results(output / "trained.jsonl")
        self.sampled = Results(output / "sampled.jsonl")
        self.measured = Results(output / "rows.jsonl")


def changed(row: dict | None, origin: dict[str, str]) -> str | None:
    """The first thing that ``row`` was made from otherwise than ``origin`` says, or None; also if there is no row."""
    made_from = (row or {}).get("from", origin)
    return next((what for what, digest in origin.items() if made_from.get(what) != digest), None)


def digest(content: bytes | str | dict) -> str:
    """Eight digits of a content, the same on every computer."""
    if isinstance(content, dict):
        content = json.dumps(content, sort_keys=True)
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:8]


def folder_digest(folder: Path) -> str:
    """Of the names and contents of a folder's files; hidden ones do not count."""
    return digest({path.name: digest(path.read_bytes()) for path in folder.iterdir() if path.is_file() and path.name[0] != "."})
