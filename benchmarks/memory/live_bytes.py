"""The most bytes of tensors that a piece of PyTorch code holds at a time, counted exactly and on any device.

What operations return is counted, in forward and backward. What a kernel needs internally is not seen.
"""

import weakref
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts in its context the bytes that are ``live`` and their ``peak`` so far; what existed before does not count."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for storage in _storages((args, kwargs)):
            self._sizes.setdefault(storage.data_ptr(), 0)  # older than the context
        output = func(*args, **kwargs or {})
        for storage in _storages(output):
            address = storage.data_ptr()
            if address not in self._sizes:
                self._sizes[address] = storage.nbytes()
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._gone, address).atexit = False
        return output

    def _gone(self, address: int) -> None:
        self.live -= self._sizes.pop(address, 0)


def saved_bytes(body: Callable[[], object], site: Callable[[], str | None] = lambda: "") -> dict[str, int]:
    """The bytes that ``body`` saves for backward, each storage once, by what ``site()`` returns at that moment."""
    seen: set[int] = set()
    sums: dict[str, int] = {}
    held = []

    def pack(tensor):
        held.append(tensor)  # if it were freed, its address could be used again
        if _plain(tensor) and not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in seen:
                seen.add(storage.data_ptr())
                sums[site()] = sums.get(site(), 0) + storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        body()
    return sums


def _storages(values):
    return [leaf.untyped_storage() for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor) and _plain(leaf)]


def _plain(tensor) -> bool:
    return type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
