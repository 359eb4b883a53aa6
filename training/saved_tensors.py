"""Autograd through blocks that change in place what backward needs."""

import weakref
from contextlib import contextmanager

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
        for argument, value in zip(func._schema.arguments, args):
            self._keep(argument, value)
        for argument in func._schema.arguments:
            if argument.name in kwargs:
                self._keep(argument, kwargs[argument.name])
        return func(*args, **kwargs)

    def _keep(self, argument, value) -> None:
        if argument.alias_info is None or not argument.alias_info.is_write:
            return
        for tensor in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(tensor, Tensor):
                copies = {}
                for saved in self.saved.pop(_address(tensor), ()):
                    copy, original = copies.setdefault(id(saved.tensor), (saved.tensor.clone(), saved.tensor))
                    saved.tensor = copy


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

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda entry: entry.tensor), _CopyBeforeWriting(saved):
        yield


def _address(tensor: Tensor) -> int:
    """Of the storage. Tensors that wrap others (8-bit weights) have no data of their own, and nothing writes to them."""
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        return -id(tensor)
    return tensor.untyped_storage().data_ptr()
