"""The operators of face networks, as ONNX defines them: each takes its attributes and its inputs, and gives its first output."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _padded(x: Tensor, attributes: dict, value: float = 0.0) -> Tensor:
    pads = attributes.get("pads", [0, 0, 0, 0])
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise ValueError("auto_pad is not known here; choose an export with explicit padding.")
    top, left, bottom, right = pads
    return F.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def _conv(attributes, x, weight, bias=None):
    return F.conv2d(
        _padded(x, attributes),
        weight,
        bias,
        attributes.get("strides", 1),
        0,
        attributes.get("dilations", 1),
        attributes.get("group", 1),
    )


def _batch_norm(attributes, x, scale, bias, mean, variance):
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, attributes.get("epsilon", 1e-5))


def _max_pool(attributes, x):
    return F.max_pool2d(
        _padded(x, attributes, -math.inf),
        attributes["kernel_shape"],
        attributes.get("strides", 1),
        0,
        attributes.get("dilations", 1),
        bool(attributes.get("ceil_mode", 0)),
    )


def _gemm(attributes, a, b, c=None):
    a = a.mT if attributes.get("transA") else a
    b = b.mT if attributes.get("transB") else b
    product = attributes.get("alpha", 1.0) * (a @ b)
    return product if c is None else product + attributes.get("beta", 1.0) * c


def _reshape(attributes, x, shape):
    """A leading 1 of an export for single pictures stands for the batch."""
    sizes = [x.shape[index] if size == 0 else size for index, size in enumerate(shape.tolist())]
    if sizes[0] == 1 and len(sizes) > 1:
        sizes[0] = x.shape[0]
    return x.reshape(sizes)


def _resize(attributes, x, *others):
    """Enlarging by whole numbers with repeated pixels, as feature pyramids do."""
    scales = others[1].tolist() if len(others) > 1 and others[1] is not None and others[1].numel() else []
    whole = len(scales) == 4 and scales[:2] == [1, 1] and all(scale == int(scale) for scale in scales)
    if attributes.get("mode", b"nearest") != b"nearest" or not whole:
        raise ValueError("Resize is known here only for whole-number enlargement with nearest pixels; choose another export.")
    return x.repeat_interleave(int(scales[2]), 2).repeat_interleave(int(scales[3]), 3)


def _transpose(attributes, x):
    return x.permute(attributes.get("perm", list(range(x.ndim))[::-1]))


def _prelu(attributes, x, slope):
    return F.prelu(x, slope.flatten())


OPERATORS: dict[str, Callable] = {
    "Add": lambda attributes, a, b: a + b,
    "BatchNormalization": _batch_norm,
    "Concat": lambda attributes, *parts: torch.cat(parts, attributes["axis"]),
    "Conv": _conv,
    "Div": lambda attributes, a, b: a / b,
    "Dropout": lambda attributes, x, *_: x,
    "Flatten": lambda attributes, x: x.flatten(attributes.get("axis", 1)),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda attributes, x: x.mean(dim=(2, 3), keepdim=True),
    "Identity": lambda attributes, x: x,
    "MatMul": lambda attributes, a, b: a @ b,
    "MaxPool": _max_pool,
    "Mul": lambda attributes, a, b: a * b,
    "PRelu": _prelu,
    "Relu": lambda attributes, x: F.relu(x),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": lambda attributes, x: x.sigmoid(),
    "Sub": lambda attributes, a, b: a - b,
    "Transpose": _transpose,
}
READ_BY_VALUE = {"Reshape": (1,), "Resize": (1, 2, 3)}  # inputs whose numbers, not only shapes, decide the result's shape
