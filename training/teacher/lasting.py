"""Clips that took long to make, where a restart of ComfyUI leaves them, and the end of those that nobody uses any more."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic

from .clip import ClipKey
from .stores import DiskStore, Store, Value

LONG = 10 * 60.0
"""Seconds of work that a restart must not take away."""
UNUSED = 14 * 24 * 3600.0
"""Seconds after which clips that no run has used are removed."""


class LastingStore(Generic[Value]):
    """Keeps values in ``brief`` until they have taken LONG to make; from then on all of them are in ``lasting``.

    Where an earlier run has left values in ``lasting``, it is used from the beginning. If its disk has no room for them,
    they stay where they are. clock: in seconds.
    """

    remembers = True

    def __init__(self, brief: Store[Value], lasting: DiskStore[Value], clock: Callable[[], float] = time.monotonic):
        self._brief, self._lasting = brief, lasting
        self._store: Store[Value] = brief if lasting.empty else lasting
        self._clock, self._started = clock, clock()
        self._has_room = True
        self._kept: list[ClipKey] = []
        self._size = 0

    @property
    def own(self) -> bool:
        return self._store.own

    @property
    def place(self) -> str:
        return self._store.place

    @property
    def stays(self) -> bool:
        return self._store.stays

    def find(self, key: ClipKey) -> Value | None:
        known = self._store.find(key)
        return self._brief.find(key) if known is None else known

    def keep(self, key: ClipKey, value: Value) -> None:
        self._store.keep(key, value)
        self._kept.append(key)
        if self._store is self._brief and self._has_room and self._clock() - self._started > LONG:
            self._move()

    def __contains__(self, key: ClipKey) -> bool:
        return key in self._store or key in self._brief

    def forget(self) -> None:
        self._lasting.forget()
        self._brief.forget()

    def check_space(self, size: int) -> None:
        self._size = size
        self._store.check_space(size)

    def _move(self) -> None:
        try:
            self._lasting.check_space(self._size)
            for key in self._kept:
                if (value := self._brief.find(key)) is not None:
                    self._lasting.keep(key, value)
        except ValueError:
            self._lasting.forget()
            self._has_room = False
            return
        self._store = self._lasting
        if self._brief.own:
            self._brief.forget()


def used(folder: Path) -> None:
    """Note that a run uses the clips in ``folder``."""
    if folder.exists():
        os.utime(folder)


def sweep_unused(folder: Path) -> None:
    """Remove the clips of every bank in ``folder``, which is the pack's own, that no run has used for UNUSED."""
    for bank in folder.glob("*/"):
        if time.time() - bank.stat().st_mtime <= UNUSED:
            continue
        for path in (*bank.glob("*.pvclip"), *bank.glob("*.pvearly"), *bank.glob(".*.tmp")):
            path.unlink(missing_ok=True)
        if not any(bank.iterdir()):
            bank.rmdir()
