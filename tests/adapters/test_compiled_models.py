"""The adapter acts on compiled models, whatever was traced before it, and costs one more graph."""

import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_torch_compile import skip_torch_compile_dict


class Counting:
    """A backend that runs what it is given as it is, and counts it."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, example_inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture(autouse=True)
def nothing_traced():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(model, backend="eager", **options):
    """As the core's TorchCompileModel does it, which lists no backend that needs no compiler."""
    with torch.inference_mode():
        patched = model.clone(disable_dynamic=True)
        set_torch_compile_wrapper(patched, backend=backend, options={"guard_filter_fn": skip_torch_compile_dict}, **options)
    return patched


@pytest.fixture(scope="module")
def clips(demo):
    """What models that are not compiled make: the base, two LoRAs, and the first one at half strength."""
    lora, other = demo.random_lora(0), demo.random_lora(1)
    return {
        "base": demo.sample(demo.model),
        "lora": demo.sample(demo.apply(demo.model, lora)),
        "other": demo.sample(demo.apply(demo.model, other)),
        "half": demo.sample(demo.apply(demo.model, lora, strength=0.5)),
    }


def assert_close(clip, expected):
    assert (clip - expected).abs().max() < 1e-3


def test_clips_of_the_oracle_differ(clips):
    names = list(clips)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            assert (clips[name] - clips[other]).abs().max() > 1e-2, (name, other)


@pytest.mark.parametrize("compile_first", [True, False])
@pytest.mark.parametrize("base_first", [True, False])
def test_lora_acts_in_either_order_of_the_nodes_and_says_nothing_else(demo, clips, compile_first, base_first, caplog):
    lora, base = demo.random_lora(0), compiled(demo.model)
    late = demo.apply(base, lora) if compile_first else compiled(demo.apply(demo.model, lora))
    if base_first:
        assert_close(demo.sample(base), clips["base"])
    assert_close(demo.sample(late), clips["lora"])
    assert_close(demo.sample(base), clips["base"])
    assert_close(demo.sample(late), clips["lora"])
    assert "effect" not in " ".join(record.getMessage() for record in caplog.records if record.name == "root")


def test_everything_on_one_compiled_model_needs_one_graph_more_than_the_base(demo, clips):
    counting = Counting()
    base, lora, other = compiled(demo.model, counting), demo.random_lora(0), demo.random_lora(1)
    assert_close(demo.sample(base), clips["base"])
    alone = counting.graphs
    for model, name in [
        (demo.apply(base, lora, strength=0.0), "base"),
        (demo.apply(base, lora), "lora"),
        (base, "base"),
        (demo.apply(base, lora), "lora"),
        (demo.apply(base, other), "other"),
        (demo.apply(base, lora, strength=0.5), "half"),
        (base, "base"),
    ]:
        assert_close(demo.sample(model), clips[name])
    assert counting.graphs == alone + 1


def test_outside_the_window_a_compiled_model_gives_the_same_bits(demo):
    base = compiled(demo.model)
    late = demo.apply(base, demo.random_lora())
    before = {"start_step": 0, "last_step": 6}
    assert torch.equal(demo.sample(late, **before), demo.sample(base, **before))


def test_lora_acts_in_a_block_that_inductor_compiled(demo, clips):
    """One block of the model, as other packs' compile nodes take them; a whole model takes inductor minutes."""
    base = compiled(demo.model, "inductor", keys=["diffusion_model.blocks.1"])
    assert_close(demo.sample(base), clips["base"])
    assert_close(demo.sample(demo.apply(base, demo.random_lora(0))), clips["lora"])
