"""Training in a host that is made for sampling: its faster kernels do not break gradients, and it is left as it was."""

from dataclasses import replace

import comfy.ldm.wan.model
import comfy.model_management
import pytest
import torch
from comfy.ldm.modules.attention import attention_pytorch, wrap_attn
from comfy_api.torch_helpers import set_torch_compile_wrapper

from devkit import gradients
from devkit.families import family_case
from devkit.gradients import gradient


@pytest.fixture(scope="module")
def case(pack, tmp_path_factory):
    return family_case(pack, "wan21", tmp_path_factory.mktemp("models"))


@wrap_attn
def attention_without_backward(*args, **options):
    """A kernel like the host's fast ones: its values are right, and asking for a gradient raises no error."""
    return attention_pytorch(*args, **options).detach()


@pytest.mark.parametrize("checkpointing", ["off", "blocks"])
def test_attention_that_has_no_backward_is_replaced_while_training(pack, case, checkpointing, monkeypatch):
    monkeypatch.setattr(comfy.ldm.wan.model, "optimized_attention", attention_pytorch)
    expected = gradient(pack, case, checkpointing)
    monkeypatch.setattr(comfy.ldm.wan.model, "optimized_attention", attention_without_backward)
    assert torch.equal(gradient(pack, case, checkpointing), expected)


@pytest.mark.parametrize("checkpointing", ["off", "steps", "blocks", "offload"])
def test_users_own_attention_makes_the_steps_without_gradient_and_only_those(pack, case, checkpointing):
    seen = []

    def users(func, *args, **options):
        seen.append(torch.is_grad_enabled())
        return attention_pytorch.__wrapped__(*args, **options).detach()

    model = case.model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = users
    expected = gradient(pack, case, "off")
    assert (gradient(pack, replace(case, model=model), checkpointing) - expected).norm() < 1e-5 * expected.norm()
    layers, attentions, prefix = 2, 2, gradients.STEPS - gradients.GRADIENT_STEPS
    assert seen == [False] * (prefix * layers * attentions)


def test_users_own_attention_is_theirs_again_after_training(demo, tmp_path):
    model = demo.model.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = users = lambda func, *args, **options: func(
        *args, **options
    )
    run = demo.train(tmp_path / "a.safetensors", model=model, steps=1)
    for patcher in (model, run.model):
        assert patcher.model_options["transformer_options"]["optimized_attention_override"] is users
    plain = demo.train(tmp_path / "b.safetensors", steps=1)
    assert "optimized_attention_override" not in plain.model.model_options["transformer_options"]


def test_compiled_model_is_trained_as_it_was_before_and_stays_compiled_for_its_user(demo, tmp_path):
    graphs = []
    with torch.inference_mode():
        model = demo.model.clone()
        set_torch_compile_wrapper(model, backend=lambda graph, inputs: graphs.append(graph) or graph.forward)
    runs = [
        demo.train(tmp_path / f"{number}.safetensors", model=kind, steps=1) for number, kind in enumerate((demo.model, model))
    ]
    assert not graphs
    weights = [torch.cat([weight.detach().flatten() for weight in run.adapter.parameters()]) for run in runs]
    assert torch.equal(*weights)
    demo.sample(model)
    assert graphs


def test_weight_that_asks_for_gradients_collects_none_and_still_asks(pack, case):
    expected = gradient(pack, case, "off")  # afterwards the weights are ordinary tensors, which can ask
    weight = case.model.model.diffusion_model.blocks[0].ffn[0].weight
    weight.requires_grad_(True)
    try:
        assert torch.equal(gradient(pack, case, "off"), expected)
        assert weight.grad is None and weight.requires_grad
    finally:
        weight.requires_grad_(False)


def replaced(model):
    """Modules that are not computed as the host made them."""

    def own(module) -> bool:  # the core's bypass LoRA leaves the original bound to the module
        return getattr(module.forward, "__func__", None) is type(module).forward and not module._forward_hooks

    return [name for name, module in model.model.named_modules() if not own(module)]


def test_adapter_is_on_the_model_in_calls_inside_its_window_alone(demo, tmp_path):
    def look(executor, *args, **kwargs):
        seen.append(replaced(demo.model))
        return executor(*args, **kwargs)

    seen, watched = [], demo.model.clone()
    watched.add_wrapper_with_key("diffusion_model", "look", look)
    run = demo.train(tmp_path / "a.safetensors", model=watched, after_step=lambda *step: seen.append(replaced(demo.model)))
    linears = frozenset(run.adapter.residuals())
    assert {linears.intersection(names) for names in seen} == {frozenset(), linears}
    assert not replaced(demo.model) and not run.model.is_injected


def test_finished_run_that_is_kept_leaves_no_reward_network_loaded(demo, tmp_path):
    run = demo.run(tmp_path / "a.safetensors")
    networks = [run.identity.face_model.networks, run.semantic_reward.networks]

    def loaded():
        return [entry.model.model for entry in comfy.model_management.current_loaded_models if entry.model is not None]

    seen = []
    with torch.inference_mode():
        run.execute(lambda record, frames: seen.append(loaded()))
    for network in networks:
        assert all(any(model is network for model in models) for models in seen)
        assert not any(model is network for model in loaded())
