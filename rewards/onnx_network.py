"""A network of an ONNX file as a torch module, so that a gradient can pass through it.

Covers what face recognizers (ArcFace ResNets, SFace) and the YuNet detector consist of. Weights are
buffers and batch normalisation is always in evaluation mode: nothing here can be trained by mistake.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INSTALL_ONNX = "pip install onnx"
SELF_CHECK_TOLERANCE = 1e-3  # of the largest output; float32 kernels differ by about 1e-5


class OnnxNetwork(nn.Module):
    """The graph of ``path``: one input [N, C, H, W], the outputs in the file's order.

    input_size: (height, width) that the file states, None where it leaves them open.
    embeds_normalisation: whether the graph itself subtracts a mean and scales (insightface's rule:
    Sub and Mul among its first 8 nodes), so that it takes 0..255.
    Raises ValueError, naming the file, if it is damaged or has an operator that is not known here,
    and ImportError with the install line if ``onnx`` is missing.
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        graph = _read(self.path)
        weights = _weights(graph, self.path)
        inputs = [value for value in graph.input if value.name not in weights]
        if len(inputs) != 1:
            raise ValueError(f"{self.path.name}: it has {len(inputs)} inputs, and a face network has one.")
        self.input_name = inputs[0].name
        self.input_size = _stated_size(inputs[0])
        self.output_names = [value.name for value in graph.output]
        self._steps = _plan(graph, weights, self.path.name)
        self._operators = [node.op_type for node in graph.node]
        self.embeds_normalisation = {"Sub", "Mul"} <= set(self._operators[:8])
        self._constants = {}
        used = {name for step in self._steps for name in step[1]}
        for name, value in weights.items():
            if name not in used:
                continue
            if value.is_floating_point():
                self.register_buffer(_buffer_name(name), value)
            else:
                self._constants[name] = value

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """pictures [N, C, H, W] in the weights' dtype -> all outputs, the batch first. Differentiable."""
        values = {self.input_name: pictures}
        for operator, inputs, output, attributes in self._steps:
            values[output] = operator(attributes, *(self._value(name, values) for name in inputs))
        return [values[name] for name in self.output_names]

    def count(self, operator: str) -> int:
        """How often the graph has an operator."""
        return self._operators.count(operator)

    def _value(self, name: str, values: dict[str, Tensor]) -> Tensor | None:
        if not name:
            return None  # an optional input that is left out
        if name in values:
            return values[name]
        if name in self._constants:
            return self._constants[name]
        return getattr(self, _buffer_name(name))

    def check(self, open_size: tuple[int, int] = (112, 112)) -> None:
        """Compare with onnxruntime, where it is installed, on one random picture of 0..255.

        open_size: (height, width) of the picture if the file leaves it open.
        Raises ValueError, naming the file, if the outputs differ.
        """
        try:
            import onnxruntime
        except ImportError:
            return
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        picture = 255 * torch.rand(1, 3, *(self.input_size or open_size), generator=torch.Generator().manual_seed(0))
        try:
            session = onnxruntime.InferenceSession(str(self.path), options, providers=["CPUExecutionProvider"])
            expected = session.run(self.output_names, {self.input_name: picture.numpy()})
        except Exception as error:  # onnxruntime's errors have no common class
            raise _unreadable(self.path, error) from error
        with torch.no_grad():
            own = self(picture)
        for name, there, here in zip(self.output_names, map(torch.from_numpy, expected), own):
            difference = (there - here).abs().max().item()
            if not difference <= SELF_CHECK_TOLERANCE * there.abs().max().item():
                raise ValueError(
                    f"{self.path.name}: its output {name} differs by {difference:.3g} from onnxruntime's; choose another file."
                )


def describe(path: Path) -> tuple[tuple[int, int] | None, int]:
    """The stated input size (height, width) and the number of outputs of a file. Raises as OnnxNetwork."""
    graph = _read(path)
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    return _stated_size(inputs[0]) if inputs else None, len(graph.output)


def _read(path: Path):
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f"{path.name}: reading it needs the package onnx; run `{INSTALL_ONNX}` in ComfyUI's Python and restart."
        ) from error
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # protobuf and onnx each have errors of their own for a damaged file
        raise _unreadable(path, error) from error
    if not graph.node:
        raise _unreadable(path, "there is no operator in it")
    return graph


def _weights(graph, path: Path) -> dict[str, Tensor]:
    from onnx import numpy_helper

    try:
        return {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    except Exception as error:  # as above
        raise _unreadable(path, error) from error


def _unreadable(path: Path, reason: Exception | str) -> ValueError:
    line = (str(reason).splitlines() or [type(reason).__name__])[0][:120].rstrip(".")
    return ValueError(f"{path.name}: it is no readable ONNX file ({line}); download it again.")


def _plan(graph, weights: dict[str, Tensor], file: str) -> list[tuple[Callable, list[str], str, dict]]:
    """The graph's operators in order: function, input names, output name, attributes.

    What depends on no input is computed here and added to ``weights``.
    """
    import onnx

    steps = []
    for node in graph.node:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type == "Constant":
            weights[node.output[0]] = torch.from_numpy(onnx.numpy_helper.to_array(attributes["value"]).copy())
            continue
        operator = OPERATORS.get(node.op_type)
        if operator is None:
            raise ValueError(
                f"{file}: its operator {node.op_type} is not known here; choose another export (known: {', '.join(OPERATORS)})."
            )
        inputs = list(node.input)
        if all(name in weights for name in inputs if name):
            weights[node.output[0]] = operator(attributes, *(weights.get(name) for name in inputs))
        else:
            steps.append((operator, inputs, node.output[0], attributes))
    return steps


def _stated_size(value) -> tuple[int, int] | None:
    sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    return (sizes[2], sizes[3]) if len(sizes) == 4 and sizes[2] > 0 and sizes[3] > 0 else None


def _buffer_name(name: str) -> str:
    return "onnx_" + name.replace(".", "_dot_")


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
    "Transpose": lambda attributes, x: x.permute(attributes["perm"]),
}
