"""Motion modules as guests of the host: beside other patches, under gradients, and gone afterwards."""

import comfy.lora
import comfy.samplers
import folder_paths
import pytest
import torch
from comfy.patcher_extension import PatcherInjection

from devkit.motion_world import core_lora, motion_loader, noise, sample, text, tiny_sd15


@pytest.fixture(scope="module")
def sd15():
    return tiny_sd15()


@pytest.fixture
def load(pack):
    with motion_loader(pack) as load:
        yield load


def test_base_is_untouched_after_use_and_after_an_error_inside_the_sampler(sd15, load):
    expected = sample(sd15)
    weights = {name: value.clone() for name, value in sd15.model.state_dict().items()}
    modules = [name for name, _ in sd15.model.named_modules()]
    keys = comfy.lora.model_lora_keys_unet(sd15.model, {})
    model = load(sd15)
    sample(model)
    while_loaded = comfy.lora.model_lora_keys_unet(sd15.model, {})
    assert {key: while_loaded[key] for key in keys} == keys  # no layer of the UNet changed its name

    def fail(step, x0, x, total):
        raise RuntimeError("in the sampler")

    with pytest.raises(RuntimeError, match="in the sampler"):
        sample(model, callback=fail)
    assert torch.equal(sample(sd15), expected)
    assert [name for name, _ in sd15.model.named_modules()] == modules
    after = sd15.model.state_dict()
    assert list(after) == list(weights) and all(torch.equal(after[name], weights[name]) for name in weights)


def test_clone_of_a_used_model_keeps_the_module(sd15, load):
    model = load(sd15)
    expected = sample(model)
    clone = model.clone()
    assert torch.equal(sample(clone), expected)
    del clone
    assert torch.equal(sample(model), expected)


def test_lora_before_or_after_gives_the_same_video(sd15, load):
    plain = sample(load(sd15))
    before, after = sample(load(core_lora(sd15))), sample(core_lora(load(sd15)))
    assert torch.equal(before, after) and (before - plain).abs().max() > 1e-2


def test_lora_on_the_base_finds_every_layer_while_the_modules_are_in_place(sd15, load):
    expected = sample(core_lora(sd15))
    model = load(sd15)
    sample(model)  # leaves the modules in the UNet until another model is loaded
    assert torch.equal(sample(core_lora(sd15)), expected)


def test_late_step_adapter_acts_beside_the_motion_module(pack, sd15, load):
    late_step, low_rank = pack.adapters.late_step, pack.adapters.low_rank
    name = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q"
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 64, generator=generator) * 0.3, torch.randn(64, 4, generator=generator) * 0.3
    model = load(sd15)
    late = model.clone()
    late_step.LateStepInjection({name: low_rank.LowRank(down, up, 1.0)}, 0.5, 1.0).attach(late)

    def predictions(of):
        seen = []
        return sample(of, callback=lambda step, x0, x, total: seen.append(x0.clone())), seen

    (_, base), (_, adapted) = predictions(model), predictions(late)
    same = [torch.equal(a, b) for a, b in zip(base, adapted)]
    assert same[0] and not same[-1]


@pytest.mark.parametrize(
    "weights, compute, expected", [(torch.bfloat16, None, torch.bfloat16), (torch.float8_e4m3fn, torch.float32, torch.float32)]
)
def test_modules_compute_in_the_dtype_of_the_model(load, weights, compute, expected):
    model = load(tiny_sd15(weights=weights, compute=compute), dtype=torch.float16)
    modules = model.get_additional_models()[0].model
    assert {parameter.dtype for parameter in modules.parameters()} == {expected}
    assert torch.isfinite(sample(model)).all()


def test_model_of_animatediff_evolved_is_refused_before_and_after(sd15, load):
    def evolve(model):
        model = model.clone()
        model.set_injections("ADE", [PatcherInjection(lambda patcher: None, lambda patcher: None)])
        return model

    with pytest.raises(ValueError, match="model: AnimateDiff-Evolved has put a motion module on it; use either"):
        load(evolve(sd15))
    expected = sample(sd15)
    with pytest.raises(ValueError, match="model: AnimateDiff-Evolved has put a motion module on it; use either"):
        sample(evolve(load(sd15)))
    assert torch.equal(sample(sd15), expected)


def test_gradients_through_the_modules_agree_with_finite_differences(pack, sd15, load):
    autograd = pack.host.autograd
    model = load(sd15)
    sample(model)  # weights that the host has moved under inference mode
    x = noise(4) * 10
    with autograd.training_mode():
        x, weights = autograd.as_normal_tensors(x), autograd.as_normal_tensors(noise(4, seed=6))
        for patcher in (model, *model.get_nested_additional_models()):
            autograd.make_tensors_normal(patcher.model)

        class Slope(comfy.samplers.Sampler):
            def sample(self, guider, sigmas, extra_args, callback, start, *args):
                at, towards = x.to(start.device), noise(4, seed=5).to(start.device)

                def value(x):
                    return (guider(x, sigmas[:1].expand(len(x)), **extra_args) * weights.to(x)).double().sum()

                with autograd.frozen(guider.inner_model):
                    leaf = at.clone().requires_grad_(True)
                    value(leaf).backward()
                direction = leaf.grad / leaf.grad.std() + towards
                with torch.no_grad():
                    coarse, fine = (
                        (value(at + step * direction) - value(at - step * direction)) / (2 * step) for step in (0.04, 0.02)
                    )
                self.exact, self.numeric = (leaf.grad * direction).sum(), (4 * fine - coarse) / 3
                return torch.zeros_like(start)

        guider, slope = comfy.samplers.CFGGuider(model), Slope()
        guider.set_conds(text(1), text(2))
        guider.set_cfg(3.0)
        guider.sample(torch.zeros_like(x), torch.zeros_like(x), slope, torch.tensor([8.0, 0.0]), seed=0)
        model.detach(unpatch_all=False)
    assert abs(slope.exact - slope.numeric) < 1e-3 * abs(slope.numeric)


@pytest.mark.parametrize("known", [True, False])
def test_folder_joins_what_other_packs_registered(pack, monkeypatch, known):
    registry = {"animatediff_models": (["/elsewhere"], {".ckpt"})} if known else {}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", registry)
    for _ in range(2):
        pack.nodes.load_motion_module.register_folder()
    paths, extensions = registry["animatediff_models"]
    ours = f"{folder_paths.models_dir}/animatediff_models"
    assert paths == (["/elsewhere", ours] if known else [ours])
    assert extensions == ({".ckpt"} if known else folder_paths.supported_pt_extensions)
