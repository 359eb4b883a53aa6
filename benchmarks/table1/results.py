"""What the Table 1 runner has made, in lines of JSON that a kill cannot spoil; each says what its content was made from."""

import hashlib
import json
import threading
from pathlib import Path


class Results:
    """Keeps rows by key; threads may share it."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.rows: dict[tuple, dict] = {}
        self._lock = threading.Lock()
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # a line that a kill has cut off
                continue
            self.rows[tuple(row["key"])] = row

    def add(self, key: tuple, row: dict) -> None:
        """Keep ``row`` in place of any older one of its key."""
        with self._lock, open(self.path, "a", encoding="utf-8") as file:
            self.rows[key] = {"key": list(key), **row}
            file.write("\n" * (file.tell() > 0) + json.dumps(self.rows[key]))


class Records:
    """What was made: LoRAs by (method, person), videos and figures by (method, person, number or file, seed)."""

    def __init__(self, output: Path):
        self.trained = Results(output / "trained.jsonl")
        self.sampled = Results(output / "sampled.jsonl")
        self.measured = Results(output / "rows.jsonl")


def changed(row: dict | None, origin: dict[str, str]) -> str | None:
    """The first thing that ``row`` was made from and that ``origin`` has otherwise; None without one or without a row."""
    made_from = (row or {}).get("from", origin)
    return next((what for what, digest in origin.items() if made_from.get(what) != digest), None)


def digest(content: bytes | str | dict) -> str:
    """Eight digits that stand for a content, the same on every computer."""
    if isinstance(content, dict):
        content = json.dumps(content, sort_keys=True)
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:8]


def folder_digest(folder: Path) -> str:
    """The digest of the names and contents of a folder's files, without hidden ones."""
    return digest({path.name: digest(path.read_bytes()) for path in folder.iterdir() if path.is_file() and path.name[0] != "."})
