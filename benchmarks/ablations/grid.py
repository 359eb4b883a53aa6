"""The grid of an ablation study on disk, which knows which jobs are done and who is working on the others.

Any number of processes may work on one folder. A process that is killed loses the job that it was doing and nothing else,
as the operating system releases its lock.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A row that is to be made: an arm, a person and a seed."""

    arm: str
    identity: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.seed} {self.identity} {self.arm}"


def jobs(arms: Sequence[str], identities: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """All jobs, seed by seed, then person by person, then arm by arm, so that those done first are balanced."""
    return [Job(arm, identity, seed) for seed in seeds for identity in identities for arm in arms]


class Grid:
    """Keeps the rows of finished jobs in ``folder/rows.jsonl`` and the locks of running ones in ``folder/locks``."""

    def __init__(self, folder: Path, wanted: Sequence[Job]):
        self.folder = folder
        self.wanted = list(wanted)
        (folder / "locks").mkdir(parents=True, exist_ok=True)

    def lora(self, job: Job) -> Path:
        """The path at which the job's LoRA is kept."""
        return self.folder / "loras" / f"{job.name}.safetensors"

    def videos(self, job: Job) -> Path:
        """The path at which the job's first held-out videos are kept."""
        return self.folder / "videos" / f"{job.name}.safetensors"

    def rows(self) -> list[dict]:
        """The rows of those wanted jobs that are done, in order. A line that a kill left unfinished does not count."""
        found = {}
        path = self.folder / "rows.jsonl"
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[Job(row["arm"], row["identity"], row["seed"])] = row
        return [found[job] for job in self.wanted if job in found]

    def done(self) -> set[Job]:
        return {Job(row["arm"], row["identity"], row["seed"]) for row in self.rows()}

    def add(self, row: dict) -> None:
        """Append a finished row on a line of its own, whatever the file ends with and whoever else writes to it."""
        with open(self.folder / "rows.jsonl", "a") as file:
            file.write(f"\n{json.dumps(row)}")
            file.flush()
            os.fsync(file.fileno())

    def adopt(self, rows: Sequence[dict]) -> None:
        """Count the rows of an earlier run, perhaps on another computer, as done."""
        done = self.done()
        for row in rows:
            if Job(row["arm"], row["identity"], row["seed"]) not in done:
                self.add(row)

    def claims(self) -> Iterator[Job]:
        """The jobs that are left, one by one, each locked while the caller works on it."""
        for job in self.wanted:
            if job in self.done():
                continue
            with self._locked(job) as mine:
                if mine and job not in self.done():
                    yield job

    @contextmanager
    def _locked(self, job: Job) -> Iterator[bool]:
        with open(self.folder / "locks" / f"{job.name}.lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
