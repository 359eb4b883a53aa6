"""How much of its memory a run takes, as people read it off their system."""

from typing import cast

import comfy.model_management
import psutil
import torch


def free_memory(device: torch.device) -> int:
    """Bytes of the device's memory that the host could still give away."""
    return cast(int, comfy.model_management.get_free_memory(device))


class MemoryUse:
    """Of the training device, which the run may share; on the CPU, of this process.

    peak: the most so far in bytes. Between two looks it is known exactly on CUDA devices only.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.peak = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def look(self) -> int:
        """Bytes in use now."""
        used = psutil.Process().memory_info().rss if self._own() else self._total() - free_memory(self.device)
        self.peak = max(self.peak, used)
        if self.device.type == "cuda":
            self.peak = max(self.peak, torch.cuda.max_memory_reserved(self.device))
        return used

    def __str__(self) -> str:
        return f"memory {self._of_total(self.look())}"

    @property
    def at_most(self) -> str:
        """The peak in words."""
        self.look()
        return f"{self._of_total(self.peak)} at most"

    def _own(self) -> bool:
        """Whether the device's memory is the computer's, which everything else uses too."""
        return self.device.type in ("cpu", "mps")

    def _total(self) -> int:
        return cast(int, comfy.model_management.get_total_memory(self.device))

    def _of_total(self, used: int) -> str:
        total = "" if self._own() else f" of {self._total() / 1e9:.1f}"
        return f"{used / 1e9:.1f}{total} GB"
