"""Recomputation in backward: where it is needed, what it must not change, and what it leaves behind."""

import weakref
from dataclasses import replace

import comfy.model_management
import pytest
import torch

from devkit.families import FAMILIES, family_case, load_family
from devkit.gradients import gradient


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


MUTATING = ["hunyuan_video", "hunyuan_video_15", "ltxv"]


@pytest.mark.parametrize("family", MUTATING)
def test_blocks_that_add_in_place_need_the_context_that_keeps_saved_tensors(pack, folder, family, monkeypatch):
    architecture = pack.adapters.architectures.architecture_of(family_case(pack, family, folder).model.model)
    assert architecture.mutates_saved_tensors
    monkeypatch.setattr(pack.host.checkpointing, "mutations_allowed", lambda architecture: torch.enable_grad())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradient(pack, family_case(pack, family, folder), "off")


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(MUTATING)))
def test_other_families_do_without_it(pack, folder, family, monkeypatch):
    expected = gradient(pack, family_case(pack, family, folder), "off")
    monkeypatch.setattr(
        pack.host.checkpointing, "mutations_allowed", lambda architecture: pack.host.saved_tensors.saved_tensors_survive()
    )
    assert torch.equal(gradient(pack, family_case(pack, family, folder), "off"), expected)


def weaken_by_block(*given, **options):
    """A patch on self-attention that acts on each block differently; Wan hands it the result, HunyuanVideo q, k and v."""
    state = options.get("extra_options") or given[0]["transformer_options"]
    scale = 1 / (1 + state["block_index"])
    return {"q": given[0] * scale} if options else given[0]["x"] * scale


@pytest.mark.parametrize("family", ["wan21", "hunyuan_video"])
def test_recomputed_block_sees_the_options_it_saw_before(pack, folder, family):
    case = family_case(pack, family, folder)
    unpatched = gradient(pack, case, "off")
    case.model.set_model_attn1_patch(weaken_by_block)
    expected = gradient(pack, case, "off")
    assert (gradient(pack, case, "blocks") - expected).norm() < 1e-5 * expected.norm()
    assert (unpatched - expected).norm() > 1e-2 * expected.norm()


@pytest.mark.parametrize("family", ["animatediff", "hunyuan_video"])
def test_block_checkpointing_leaves_no_trace(pack, folder, family):
    case = family_case(pack, family, folder)
    gradient(pack, case, "blocks")
    assert not [name for name, module in case.model.model.named_modules() if "forward" in vars(module)]


def test_blocks_of_every_model_that_holds_the_injection_are_recomputed(pack, folder):
    models = [load_family(pack, "wan21", folder, seed=seed) for seed in (0, 1)]
    blocks = pack.host.checkpointing.BlockCheckpointing(pack.adapters.architectures.architecture_of(models[0].model))

    def recomputed(model):
        return sum("forward" in vars(module) for module in model.model.diffusion_model.blocks)

    for model in models:
        blocks.attach(model)
        model.inject_model()
    assert [recomputed(model) for model in models] == [2, 2]
    models[0].eject_model()
    assert [recomputed(model) for model in models] == [0, 2]
    models[1].eject_model()
    assert recomputed(models[1]) == 0


def test_offloading_computes_with_and_without_prompt_one_after_the_other(pack, folder):
    case = family_case(pack, "wan21", folder)
    calls = {"blocks": [], "offload": []}
    for mode, found in calls.items():

        def note(executor, x, *args, found=found, **kwargs):
            marks = next(value["cond_or_uncond"] for value in args if isinstance(value, dict))
            found.append((len(x), marks, comfy.model_management.in_training))
            return executor(x, *args, **kwargs)

        model = case.model.clone()
        model.add_wrapper_with_key("diffusion_model", "note", note)
        gradient(pack, replace(case, model=model), mode)
    assert {size for size, _, training in calls["offload"] if training} == {1}
    assert [marks for _, marks, training in calls["offload"] if training][:2] == [[0], [1]]
    assert {size for size, _, training in calls["offload"] if not training} == {2}
    assert {size for size, _, _ in calls["blocks"]} == {2}


def test_what_waits_in_cpu_memory_is_let_go_everywhere_else(pack, folder):
    architecture = pack.adapters.architectures.architecture_of(load_family(pack, "wan21", folder).model)
    weight = torch.ones(5, requires_grad=True)
    for mode, held in (("blocks", True), ("offload", False)):
        block = pack.host.checkpointing.BlockCheckpointing(architecture, mode)._recomputing(lambda x, scale: (x * scale).sin())
        hidden = weight * 2
        storage = weakref.ref(hidden.untyped_storage())
        loss = block(hidden, scale=3.0).sum()
        del hidden
        assert (storage() is not None) == held
        weight.grad = None
        loss.backward()
        assert torch.allclose(weight.grad, 6 * torch.full((5,), 6.0).cos())


def test_what_waits_in_cpu_memory_is_as_it_was_when_it_was_saved(pack):
    weight = torch.ones(3, requires_grad=True)
    waiting, other = torch.arange(3.0), torch.arange(3.0)
    with pack.host.saved_tensors.saved_tensors_survive():
        with pack.host.saved_tensors.kept_on_cpu([waiting]):
            loss = (weight * waiting).sum() + (weight * other).sum()
        waiting.mul_(10)
        other.mul_(10)
        loss.backward()
    assert torch.equal(weight.grad, 2 * torch.arange(3.0))


def test_recomputed_function_of_constants_still_reaches_what_it_closes_over(pack):
    recomputed = pack.host.checkpointing.recomputed
    weight = torch.tensor(3.0, requires_grad=True)
    first, second = recomputed(lambda x: (x * weight, x + 1), torch.tensor(2.0))
    (first * 5).backward()
    assert weight.grad == 10
    assert recomputed(lambda x: x * weight, torch.tensor(2.0)) == 6


def test_activations_are_not_kept(pack):
    recomputed = pack.host.checkpointing.recomputed
    weight = torch.ones(1000, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor):
        recomputed(lambda x: (x * weight).sin().exp(), torch.ones(1000))
    assert sum(kept) == 1000


def test_change_through_another_view_does_not_reach_what_was_saved(pack):
    weight = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with pack.host.saved_tensors.saved_tensors_survive():
        whole = weight.clone()
        loss = whole[:, 4:].sin().sum()
        whole.mul_(3)
        loss.backward()
    assert torch.allclose(weight.grad[:, 4:], weight.detach()[:, 4:].cos())


def test_address_that_is_given_away_again_is_no_saved_tensor(pack):
    for trial in range(50):
        generator = torch.Generator().manual_seed(trial)
        first = torch.randn(1000, generator=generator, requires_grad=True)
        rest = torch.randn(40, 1000, generator=generator, requires_grad=True)
        with pack.host.saved_tensors.saved_tensors_survive():
            hidden = first.clone()
            loss = hidden.sin().sum()
            hidden.mul_(2)
            loss = loss + hidden.sum()
            del hidden
            copies = []
            for row in rest.unbind():
                copies.append(row.clone())
                loss = loss + copies[-1].sin().sum()
            loss.backward()
        assert torch.allclose(first.grad, first.detach().cos() + 2, atol=1e-5)
        assert torch.allclose(rest.grad, rest.detach().cos(), atol=1e-5)
