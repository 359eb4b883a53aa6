"""ONNX files with random weights in the layout of insightface's packs, for tests and benchmarks.

write_arcface(path, blocks=(3, 4, 14, 3))       # a ResNet-50 recognizer
write_detector(path, faces=[(box, landmarks)])  # a detector that always sees these faces
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RESNET_18, RESNET_50, RESNET_100 = (2, 2, 2, 2), (3, 4, 14, 3), (3, 13, 30, 3)
STRIDES, ANCHORS = (8, 16, 32), 2


class _Graph:
    """Collects nodes and weights; each method adds some and returns the name of its output."""

    def __init__(self, seed: int):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights = [], []

    def weight(self, values) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes) -> str:
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def conv(self, x: str, wide: int, out: int, size: int = 3, stride: int = 1, gain: float = 1.0) -> str:
        spread = gain / np.sqrt(wide * size * size)
        weight = self.weight(self.random.normal(0, spread, (out, wide, size, size)))
        bias = self.weight(self.random.normal(0, 0.1, out))
        return self.node(
            "Conv",
            x,
            weight,
            bias,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
            dilations=[1, 1],
            group=1,
        )

    def norm(self, x: str, wide: int) -> str:
        scale, bias = self.random.uniform(0.8, 1.2, wide), self.random.normal(0, 0.1, wide)
        mean, variance = self.random.normal(0, 0.1, wide), self.random.uniform(0.8, 1.2, wide)
        return self.node("BatchNormalization", x, *map(self.weight, (scale, bias, mean, variance)), epsilon=1e-5, momentum=0.9)

    def prelu(self, x: str, wide: int) -> str:
        return self.node("PRelu", x, self.weight(self.random.uniform(0.1, 0.4, (wide, 1, 1))))


def write_arcface(path: Path, blocks: tuple[int, ...], width: int = 64, embedding: int = 512, seed: int = 0) -> None:
    """Write an ArcFace ResNet, which turns crops [N, 3, 112, 112] in -1..1 into embeddings [N, ``embedding``]."""
    graph = _Graph(seed)
    gain = 1.5 / np.sqrt(sum(blocks))  # embeddings of trained networks have a length of about 20
    wide = width
    x = graph.prelu(graph.conv("input.1", 3, wide, gain=1.5), wide)
    for stage, count in enumerate(blocks):
        for index in range(count):
            out, stride = width * 2**stage, 2 if index == 0 else 1
            inner = graph.prelu(graph.conv(graph.norm(x, wide), wide, out), out)
            inner = graph.conv(inner, out, out, stride=stride, gain=gain)
            x = graph.node("Add", inner, graph.conv(x, wide, out, 1, stride) if index == 0 else x)
            wide = out
    flat = graph.node("Flatten", graph.norm(x, wide), axis=1)
    features = wide * 7 * 7
    matrix = graph.weight(graph.random.normal(0, 1 / np.sqrt(features), (embedding, features)))
    x = graph.node("Gemm", flat, matrix, graph.weight(np.zeros(embedding)), alpha=1.0, beta=1.0, transB=1)
    output = graph.norm(x, embedding)
    _save(path, graph, [("input.1", ["None", 3, 112, 112])], [(output, [1, embedding])])


def write_detector(path: Path, faces: list, size: int = 640) -> None:
    """Write a detector with SCRFD's nine outputs that sees the same ``faces`` in every picture.

    faces: pairs of a box (left, top, right, bottom) and five landmarks, in pixels of the ``size`` x ``size`` input.
    """
    graph = _Graph(0)
    nothing = graph.node("Mul", graph.node("GlobalAveragePool", "input.1"), graph.weight([0.0]))
    nothing = graph.node("ReduceMean", nothing, axes=[0, 1, 2, 3], keepdims=0)
    outputs = []
    for part, wide in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            values = np.zeros(((size // stride) ** 2 * ANCHORS, wide))
            for box, landmarks in faces if stride == 8 else []:
                column, row = int((box[0] + box[2]) / 2 // 8), int((box[1] + box[3]) / 2 // 8)
                centre = np.array([column, row]) * 8.0
                anchor = (row * (size // 8) + column) * ANCHORS
                values[anchor] = {
                    "score": [0.9],
                    "bbox": np.concatenate([centre - box[:2], box[2:] - centre]) / 8,
                    "kps": (np.asarray(landmarks) - centre).ravel() / 8,
                }[part]
            outputs.append((graph.node("Add", graph.weight(values), nothing), list(values.shape)))
    _save(path, graph, [("input.1", [1, 3, size, size])], outputs)


def write_network(path: Path, nodes: list, shape: list, outputs: list, weights: dict | None = None) -> None:
    """Write any graph.

    nodes: those of onnx. shape: that of its input, "input.1". outputs: (name, shape) of each. weights: arrays by name.
    """
    graph = _Graph(0)
    graph.nodes = nodes
    graph.weights = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    _save(path, graph, [("input.1", shape)], outputs)


def _save(path: Path, graph: _Graph, inputs: list, outputs: list) -> None:
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side] for side in (inputs, outputs)
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "network", *values, graph.weights),
        opset_imports=[helper.make_opsetid("", 11)],
        ir_version=6,
    )
    onnx.save(model, str(path))
