"""A network of an ONNX file as a torch module, so that a gradient can pass through it.

Covers what face recognizers (ArcFace ResNets, SFace) and the YuNet detector consist of. Weights are
buffers and batch normalisation is always in evaluation mode: nothing here can be trained by mistake.
A file may come from anywhere. Before anything is computed the shapes of all results are known, from a rehearsal
without values, so that no file can ask for more memory than a face network needs.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..sentences import one_line, quoted, reason
from .onnx_operators import OPERATORS, READ_BY_VALUE

INSTALL_ONNX = "pip install onnx"
OPEN_SIZE = (112, 112)  # height and width of a picture where the file leaves them open
MOST_CONSTANT_BYTES = 2**29  # that constants of a file are computed to; the largest recognizers hold half of it in all
MOST_BYTES_A_PICTURE = 2**31  # of all results together; a ResNet-100 has a tenth of it
SELF_CHECK_TOLERANCE = 1e-3  # of the largest output; float32 kernels differ by about 1e-5


class OnnxNetwork(nn.Module):
    """The graph of ``path``: one input [N, C, H, W], the outputs in the file's order.

    input_size: (height, width) that the file states, None where it leaves them open.
    embeds_normalisation: whether the graph itself subtracts a mean and scales (insightface's rule:
    Sub and Mul among its first 8 nodes), so that it takes 0..255.
    Raises ValueError, naming the file, if it is damaged, has an operator that is not known here or
    needs more memory than a face network, and ImportError with the install line if ``onnx`` is missing.
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
        self._steps = _plan(graph, weights, self.input_name, self.path.name)
        self._operators = [node.op_type for node in graph.node]
        self.embeds_normalisation = {"Sub", "Mul"} <= set(self._operators[:8])
        self._constants, self._buffer_names = {}, {}
        used = {name for step in self._steps for name in step.inputs}.union(self.output_names)
        for name, value in weights.items():
            if name not in used:
                continue
            if value.is_floating_point():
                self._buffer_names[name] = f"weight_{len(self._buffer_names)}"
                self.register_buffer(self._buffer_names[name], value)
            else:
                self._constants[name] = value
        self._rehearse()

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """pictures [N, C, H, W] in the weights' dtype -> all outputs, the batch first. Differentiable."""
        values = {self.input_name: pictures}
        for step in self._steps:
            values[step.output] = step.run(self._inputs(step.inputs, values))
        return [self._value(name, values) for name in self.output_names]

    def count(self, operator: str) -> int:
        """How often the graph has an operator."""
        return self._operators.count(operator)

    def _inputs(self, names: list[str], values: dict[str, Tensor]) -> list[Tensor | None]:
        return [self._value(name, values) if name else None for name in names]

    def _value(self, name: str, values: dict[str, Tensor]) -> Tensor:
        if name in values:
            return values[name]
        if name in self._constants:
            return self._constants[name]
        return getattr(self, self._buffer_names[name])

    def _rehearse(self) -> None:
        """Find out the shapes of all results for one picture, without computing them."""
        dtype = next((weight.dtype for weight in self.buffers()), torch.float32)
        values = {self.input_name: torch.empty(1, 3, *(self.input_size or OPEN_SIZE), dtype=dtype, device="meta")}
        room = MOST_BYTES_A_PICTURE
        for step in self._steps:
            result = step.rehearse(self._inputs(step.inputs, values), self.path.name)
            room -= result.nbytes
            if room < 0:
                raise ValueError(
                    f"{self.path.name}: a picture needs more than {MOST_BYTES_A_PICTURE / 2**30:g} GiB in it (at {step.title}), "
                    "and no face network does; choose another file."
                )
            values[step.output] = result

    def check(self, open_size: tuple[int, int] = OPEN_SIZE) -> None:
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


def _unreadable(path: Path, error: Exception | str) -> ValueError:
    line = error if isinstance(error, str) else reason(error)
    return ValueError(f"{path.name}: it is no readable ONNX file ({line}); download it again.")


@dataclass(frozen=True)
class _Step:
    """One operator of a graph: what it takes, by name (empty: an optional input that is left out), and what it makes."""

    kind: str
    inputs: list[str]
    output: str
    attributes: dict

    @property
    def title(self) -> str:
        return f"{self.kind} {quoted(self.output)}"

    def run(self, values: list[Tensor | None]) -> Tensor:
        return OPERATORS[self.kind](self.attributes, *values)

    def rehearse(self, values: list[Tensor | None], file: str) -> Tensor:
        """The result without its numbers. ValueError: it cannot be computed from such values."""
        by_value = READ_BY_VALUE.get(self.kind, ())
        shapes = [value if value is None or place in by_value else value.to("meta") for place, value in enumerate(values)]
        return self.tried(shapes, file)

    @torch.no_grad()
    def tried(self, values: list[Tensor | None], file: str) -> Tensor:
        """As ``run``, with ValueError, naming the file, for whatever goes wrong."""
        try:
            return self.run(values)
        except Exception as error:  # a file from anywhere makes an operator raise nearly anything
            raise ValueError(f"{file}: its {self.title} cannot be computed ({reason(error)}); choose another file.") from error


def _plan(graph, weights: dict[str, Tensor], picture: str, file: str) -> list[_Step]:
    """The graph's operators in order. What depends on no input is computed here and added to ``weights``."""
    import onnx

    steps, known, room = [], {picture, *weights}, MOST_CONSTANT_BYTES
    for node in graph.node:
        kind = node.op_type
        if kind not in OPERATORS and kind != "Constant":
            raise ValueError(
                f"{file}: its operator {one_line(kind)} is not known here; choose another export (known: {', '.join(OPERATORS)})."
            )
        if not node.output or node.output[0] in known:
            raise ValueError(f"{file}: its {kind} makes nothing new; choose another file.")
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        step = _Step(kind, list(node.input), node.output[0], attributes)
        stranger = next((name for name in step.inputs if name and name not in known), None)
        if stranger is not None:
            raise ValueError(
                f"{file}: its {step.title} takes {quoted(stranger)}, which nothing before it makes; choose another file."
            )
        known.add(step.output)
        if kind == "Constant":
            weights[step.output] = _constant(step, file)
            continue
        values = [weights.get(name) for name in step.inputs]
        if any(name and value is None for name, value in zip(step.inputs, values)):
            steps.append(step)
            continue
        room -= step.rehearse(values, file).nbytes
        if room < 0:
            raise ValueError(
                f"{file}: its constants grow beyond {MOST_CONSTANT_BYTES / 2**20:g} MiB (at {step.title}), and those of no face "
                "network do; choose another file."
            )
        weights[step.output] = step.tried(values, file)
    missing = next((value.name for value in graph.output if value.name not in known), None)
    if missing is not None or not graph.output:
        raise ValueError(f"{file}: nothing in it makes its output {quoted(missing)}; choose another file.")
    return steps


def _constant(step: _Step, file: str) -> Tensor:
    from onnx import numpy_helper

    try:
        return torch.from_numpy(numpy_helper.to_array(step.attributes["value"]).copy())
    except Exception as error:  # as above
        raise ValueError(f"{file}: its {step.title} holds no numbers ({reason(error)}); choose another file.") from error


def _stated_size(value) -> tuple[int, int] | None:
    sizes = [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
    return (sizes[2], sizes[3]) if len(sizes) == 4 and sizes[2] > 0 and sizes[3] > 0 else None
