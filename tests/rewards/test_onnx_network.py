"""Networks from ONNX files: onnxruntime's numbers, onnx2torch's gradients, and a sentence for what cannot be read."""

import sys

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper
from onnx2torch import convert

from devkit.face_material import SFACE, YUNET
from devkit.face_networks import write_arcface, write_network


@pytest.fixture(scope="module")
def onnx_network(pack):
    return pack.rewards.onnx_network


@pytest.fixture(scope="module")
def small_arcface(tmp_path_factory):
    path = tmp_path_factory.mktemp("networks") / "w600k_small.onnx"
    write_arcface(path, (2, 1, 1, 1), width=8, embedding=64)
    return path


def run_onnxruntime(path, pictures):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    [picture] = [value.name for value in session.get_inputs()][:1]
    singles = [session.run(None, {picture: single[None].numpy()}) for single in pictures]
    return [torch.cat([torch.from_numpy(value) for value in values]) for values in zip(*singles)]


def random_pictures(count, height, width, top=1.0):
    return top * torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "side", "top"), [("arcface", 112, 1.0), ("sface", 112, 255.0), ("yunet", 640, 255.0)])
def test_a_batch_gives_what_onnxruntime_gives_for_each_picture(onnx_network, small_arcface, name, side, top):
    path = {"arcface": small_arcface, "sface": SFACE, "yunet": YUNET}[name]
    pictures = random_pictures(2, side, side, top)
    with torch.no_grad():
        outputs = onnx_network.OnnxNetwork(path)(pictures)
    expected = run_onnxruntime(path, pictures)
    assert len(outputs) == len(expected)
    for own, there in zip(outputs, expected):
        assert own.shape == there.shape
        assert (own - there).abs().max() <= 1e-4


def node(operator, inputs, **attributes):
    return helper.make_node(operator, inputs, ["y"], **attributes)


def weights(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


CONV = {"w": weights(4, 3, 3, 2), "b": weights(4)}
OPERATORS = {
    "conv": ([node("Conv", ["input.1", "w", "b"], pads=[2, 0, 1, 1], strides=[2, 1], dilations=[1, 2])], CONV, 4),
    "grouped conv": ([node("Conv", ["input.1", "w"], group=3, pads=[1, 1, 1, 1])], {"w": weights(6, 1, 3, 3)}, 4),
    "max pool": ([node("MaxPool", ["input.1"], kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])], {}, 4),
    "max pool, ceil": ([node("MaxPool", ["input.1"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], {}, 4),
    "resize": (
        [
            node(
                "Resize", ["input.1", "r", "s"], mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
            )
        ],
        {"r": weights(0), "s": np.array([1, 1, 2, 3], np.float32)},
        4,
    ),
    "transpose": ([node("Transpose", ["input.1"], perm=[0, 2, 3, 1])], {}, 4),
    "reshape": ([node("Reshape", ["input.1", "s"])], {"s": np.array([1, 0, -1], np.int64)}, 3),
    "concat": ([node("Concat", ["input.1", "input.1"], axis=1)], {}, 4),
    "prelu": ([node("PRelu", ["input.1", "s"])], {"s": weights(3, 1, 1)}, 4),
    "global average": ([node("GlobalAveragePool", ["input.1"])], {}, 4),
    "gemm": (
        [helper.make_node("Flatten", ["input.1"], ["f"]), node("Gemm", ["f", "w", "b"], alpha=0.5, beta=2.0)],
        {"w": weights(105, 6), "b": weights(6)},
        2,
    ),
    "matmul": ([node("MatMul", ["input.1", "w"])], {"w": weights(5, 2)}, 4),
    "arithmetic": (
        [
            helper.make_node("Sub", ["input.1", "a"], ["c"]),
            helper.make_node("Div", ["c", "b"], ["d"]),
            helper.make_node("Sigmoid", ["d"], ["e"]),
            node("Mul", ["e", "c"]),
        ],
        {"a": weights(1), "b": 3 + weights(3, 1, 1) ** 2},
        4,
    ),
    "constants": (
        [helper.make_node("Mul", ["a", "a"], ["c"]), helper.make_node("Add", ["c", "b"], ["d"]), node("Add", ["d", "input.1"])],
        {"a": weights(1), "b": weights(3, 1, 1)},
        4,
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_is_onnxruntimes(onnx_network, tmp_path, name):
    nodes, arrays, dimensions = OPERATORS[name]
    path = tmp_path / "one.onnx"
    write_network(path, nodes, [1, 3, 7, 5], [("y", [None] * dimensions)], arrays)
    pictures = random_pictures(1, 7, 5) - 0.5
    [own] = onnx_network.OnnxNetwork(path)(pictures)
    [there] = run_onnxruntime(path, pictures)
    assert own.shape == there.shape and (own - there).abs().max() < 1e-5


def check_gradient(network, path, pictures):
    """The gradient of the sum of the squared outputs in the pictures, in float64 except for folded constants."""

    def gradient(network):
        x = pictures.double().requires_grad_(True)
        outputs = network.double().eval()(x)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else outputs
        return torch.autograd.grad(sum(output.square().sum() for output in outputs), x)[0]

    own, there = gradient(network), gradient(convert(str(path)))
    assert there.abs().max() > 0 and (own - there).abs().max() <= 1e-7 * there.abs().max()


@pytest.mark.parametrize(("name", "side", "top"), [("arcface", 112, 1.0), ("sface", 112, 255.0), ("yunet", 320, 255.0)])
def test_the_gradient_of_a_face_network_is_onnx2torchs(onnx_network, small_arcface, name, side, top):
    path = {"arcface": small_arcface, "sface": SFACE, "yunet": YUNET}[name]
    check_gradient(onnx_network.OnnxNetwork(path), path, random_pictures(1, side, side, top))


@pytest.mark.parametrize("name", OPERATORS)
def test_the_gradient_of_each_operator_is_onnx2torchs(onnx_network, tmp_path, name):
    nodes, arrays, dimensions = OPERATORS[name]
    path = tmp_path / "one.onnx"
    write_network(path, nodes, [1, 3, 7, 5], [("y", [None] * dimensions)], arrays)
    check_gradient(onnx_network.OnnxNetwork(path), path, random_pictures(1, 7, 5) - 0.5)


def test_the_gradient_agrees_with_finite_differences(onnx_network, small_arcface):
    network = onnx_network.OnnxNetwork(small_arcface).double()
    pictures = random_pictures(1, 112, 112).double().requires_grad_(True)
    direction = random_pictures(1, 112, 112).double() - 0.5

    def value(x):
        return network(x)[0].square().sum()

    value(pictures).backward()
    step = 1e-7
    with torch.no_grad():
        measured = (value(pictures + step * direction) - value(pictures - step * direction)) / (2 * step)
    assert (pictures.grad * direction).sum().item() == pytest.approx(measured.item(), rel=1e-5)


def test_weights_are_buffers_and_training_mode_changes_nothing(onnx_network, small_arcface):
    network = onnx_network.OnnxNetwork(small_arcface)
    assert not list(network.parameters()) and len(list(network.buffers())) > 20
    pictures = random_pictures(2, 112, 112)
    before = {name: buffer.clone() for name, buffer in network.state_dict().items()}
    [evaluated] = network.eval()(pictures)
    [trained] = network.train()(pictures)
    assert torch.equal(evaluated, trained)
    assert all(torch.equal(before[name], buffer) for name, buffer in network.state_dict().items())


def test_the_input_convention_is_read_from_the_graph(onnx_network, small_arcface):
    assert onnx_network.OnnxNetwork(SFACE).embeds_normalisation
    assert not onnx_network.OnnxNetwork(small_arcface).embeds_normalisation


def test_the_check_against_onnxruntime_finds_a_wrong_weight(onnx_network, small_arcface):
    network = onnx_network.OnnxNetwork(small_arcface)
    network.check()
    next(network.buffers())[0] += 1
    with pytest.raises(ValueError, match="w600k_small.onnx: its output .* differs by .* from onnxruntime's"):
        network.check()


def test_without_onnxruntime_there_is_no_check(onnx_network, small_arcface, monkeypatch):
    network = onnx_network.OnnxNetwork(small_arcface)
    next(network.buffers())[0] += 1
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    network.check()


def test_an_unknown_operator_is_named(onnx_network, tmp_path):
    path = tmp_path / "strange.onnx"
    write_network(path, [node("Softplus", ["input.1"])], [1, 3, 8, 8], [("y", [1, 3, 8, 8])])
    with pytest.raises(ValueError, match="strange.onnx: its operator Softplus is not known here"):
        onnx_network.OnnxNetwork(path)


@pytest.mark.parametrize("name", ["empty", "text", "cut", "cut weights"])
def test_a_damaged_file_is_named(onnx_network, small_arcface, tmp_path, name):
    whole = small_arcface.read_bytes()
    content = {"empty": b"", "text": b"<!DOCTYPE html><html>", "cut": whole[: len(whole) // 2]}
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content.get(name, whole))
    if name == "cut weights":
        import onnx

        model = onnx.load(str(path))
        model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
        onnx.save(model, str(path))
    with pytest.raises(ValueError, match=r"damaged.onnx: it is no readable ONNX file \(.+\); download it again"):
        onnx_network.OnnxNetwork(path)


def test_two_inputs_are_refused(onnx_network, tmp_path):
    path = tmp_path / "swapper.onnx"
    nodes = [node("Add", ["input.1", "input.1"])]
    write_network(path, nodes, [1, 3, 8, 8], [("y", [1, 3, 8, 8])])
    import onnx

    model = onnx.load(str(path))
    model.graph.input.append(helper.make_tensor_value_info("source", onnx.TensorProto.FLOAT, [1, 512]))
    onnx.save(model, str(path))
    with pytest.raises(ValueError, match="swapper.onnx: it has 2 inputs, and a face network has one"):
        onnx_network.OnnxNetwork(path)


def test_without_onnx_the_error_has_the_install_line(onnx_network, small_arcface, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="w600k_small.onnx: reading it needs the package onnx; run `pip install onnx`"):
        onnx_network.OnnxNetwork(small_arcface)
