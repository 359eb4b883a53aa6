"""Autograd through blocks that change in place what backward needs."""

import weakref
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _Saved:
    """One tensor that backward needs, as it was when it was saved."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor


class _CopyBeforeWriting(TorchDispatchMode):
    """saved: what backward needs, by the address of its storage, which nobody else can get while it is saved."""

    def __init__(self, saved: dict[int, weakref.WeakSet]):
        super().__init__()
        self.saved = saved

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for place, name in _written(func):
            self._keep(args[place] if place < len(args) else kwargs.get(name))
        return func(*args, **kwargs)

    def _keep(self, value) -> None:
        for tensor in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(tensor, Tensor):
                copies = {}
                for saved in self.saved.pop(_address(tensor), ()):
                    copy, original = copies.setdefault(id(saved.tensor), (saved.tensor.clone(), saved.tensor))
                    saved.tensor = copy


@cache
def _written(func) -> list[tuple[int, str]]:
    """Place and name of the arguments that an operation changes."""
    arguments = enumerate(func._schema.arguments)
    return [(place, about.name) for place, about in arguments if about.alias_info is not None and about.alias_info.is_write]


# What keeps saved tensors now, innermost last: hooks of PyTorch replace each other where these are nested.
_keepers: list[Callable[[Tensor], object]] = []


@contextmanager
def saved_tensors_survive():
    """For forward and backward together: what backward needs is copied before it is changed in place.

    Unlike ``torch.autograd.graph.allow_mutation_on_saved_tensors`` (PyTorch 2.11), which knows a
    saved tensor by an address that may belong to another tensor later, and misses changes made
    through another view.
    """
    saved: dict[int, weakref.WeakSet] = {}

    def pack(tensor: Tensor) -> _Saved:
        entry = _Saved(tensor)
        saved.setdefault(_address(tensor), weakref.WeakSet()).add(entry)
        return entry

    _keepers.append(pack)
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda entry: entry.tensor), _CopyBeforeWriting(saved):
            yield
    finally:
        _keepers.pop()


@contextmanager
def kept_on_cpu(tensors: Sequence[Tensor]):
    """What is saved inside of ``tensors`` waits in CPU memory; everything else is saved as it would be outside."""
    addresses = {_address(tensor) for tensor in tensors}
    keep = _keepers[-1] if _keepers else lambda tensor: tensor

    def pack(tensor: Tensor):
        return _OnCpu(tensor) if _address(tensor) in addresses else keep(tensor)

    def unpack(entry):
        if isinstance(entry, _OnCpu):
            return entry.restored()
        return entry.tensor if isinstance(entry, _Saved) else entry

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield


class _OnCpu:
    """A copy in CPU memory (pinned for a GPU, so that copying does not hold up the computation)."""

    def __init__(self, tensor: Tensor):
        self.device = tensor.device
        self.copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
        self.copy.copy_(tensor, non_blocking=tensor.is_cuda)

    def restored(self) -> Tensor:
        return self.copy.to(self.device, non_blocking=self.copy.is_pinned())


def _address(tensor: Tensor) -> int:
    """Of the storage. Tensors that wrap others (8-bit weights) have no data of their own, and nothing writes to them."""
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        return -id(tensor)
    return tensor.untyped_storage().data_ptr()
