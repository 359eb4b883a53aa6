"""The adapter acts inside its window and nowhere else, next to everything else on the model."""

import comfy.sample
import comfy.samplers
import comfy.sd
import pytest
import torch

SWITCH = 6  # of 8 steps: the last quarter


def core_lora(model, lora):
    with torch.inference_mode():
        return comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)[0]


@pytest.mark.parametrize("options", [{"strength": 0.0}, {"start": 0.75, "end": 0.75}])
def test_strength_zero_or_empty_window_gives_the_base_model_itself(demo, options):
    assert demo.apply(demo.model, demo.random_lora(), **options) is demo.model


@pytest.mark.parametrize("strength, start, end", [(0.0, 0.0, 1.0), (1.0, 0.5, 0.5)])
def test_injected_but_without_effect_is_bit_identical_to_the_base(demo, strength, start, end):
    late_step = demo.pack.adapters.late_step
    with torch.inference_mode():
        residuals = demo.pack.adapters.host_lora.residuals_for(demo.model, demo.random_lora(), strength, "random")
        late = demo.model.clone()
        late_step.LateStepInjection(residuals, start, end).attach(late)
    assert torch.equal(demo.sample(late), demo.sample(demo.model))


def test_window_after_the_last_step_is_bit_identical_to_the_base(demo):
    late = demo.apply(demo.model, demo.random_lora(), start=0.999)
    assert torch.equal(demo.sample(late), demo.sample(demo.model))


def test_window_equals_core_lora_in_a_second_pass(demo):
    lora = demo.random_lora()
    late = demo.sample(demo.apply(demo.model, lora))
    early = demo.sample(demo.model, start_step=0, last_step=SWITCH)
    reference = demo.sample(
        core_lora(demo.model, lora), noise=torch.zeros_like(demo.latent), latent=early, start_step=SWITCH, disable_noise=True
    )
    assert (late - reference).abs().max() < 1e-4
    assert (late - demo.sample(demo.model)).abs().max() > 1e-2


def test_whole_range_equals_core_lora(demo):
    lora = demo.random_lora()
    late = demo.sample(demo.apply(demo.model, lora, start=0.0))
    assert (late - demo.sample(core_lora(demo.model, lora))).abs().max() < 1e-3


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "euler_ancestral", "uni_pc", "dpmpp_2m_sde", "lcm"])
def test_every_sampler_predicts_the_same_until_the_window_opens(demo, sampler):
    def predictions(model):
        seen = []
        demo.sample(model, sampler=sampler, callback=lambda step, x0, x, total: seen.append(x0.clone()))
        return seen

    base, late = predictions(demo.model), predictions(demo.apply(demo.model, demo.random_lora()))
    same = [torch.equal(a, b) for a, b in zip(base, late)]
    assert all(same[: SWITCH - 1])  # heun looks one step ahead
    assert not same[-1]


def test_window_follows_sigma_when_the_schedule_is_truncated(demo):
    late = demo.apply(demo.model, demo.random_lora())
    early = demo.sample(late, start_step=0, last_step=4)
    rest = demo.sample(late, noise=torch.zeros_like(demo.latent), latent=early, start_step=4, disable_noise=True)
    assert torch.equal(early, demo.sample(demo.model, start_step=0, last_step=4))
    assert (rest - demo.sample(late)).abs().max() < 1e-4


def test_style_lora_before_or_after_gives_the_same_video(demo):
    identity, style = demo.random_lora(0), demo.random_lora(1)
    before = demo.apply(core_lora(demo.model, style), identity)
    after = core_lora(demo.apply(demo.model, identity), style)
    assert torch.equal(demo.sample(before), demo.sample(after))


def test_two_adapters_add_up(demo):
    first, second = demo.random_lora(0), demo.random_lora(1)
    both = {}
    for key in first:
        dim = 0 if "lora_A" in key else 1
        both[key] = torch.cat([first[key], second[key]], dim=dim)
    stacked = demo.sample(demo.apply(demo.apply(demo.model, first), second))
    assert (stacked - demo.sample(demo.apply(demo.model, both))).abs().max() < 1e-4


def test_model_cloned_from_a_used_one_keeps_its_adapter(demo):
    late = demo.apply(demo.model, demo.random_lora())
    expected = demo.sample(late)
    assert torch.equal(demo.sample(late.clone()), expected)
    assert torch.equal(demo.sample(late), expected)


def test_base_is_untouched_after_use_and_after_an_error_inside_the_sampler(demo):
    weights = {name: value.clone() for name, value in demo.model.model.state_dict().items()}
    expected = demo.sample(demo.model)
    late = demo.apply(demo.model, demo.random_lora())

    def fail(step, x0, x, total):
        if step == SWITCH:
            raise RuntimeError("in the window")

    with pytest.raises(RuntimeError, match="in the window"):
        demo.sample(late, callback=fail)
    assert torch.equal(demo.sample(demo.model), expected)
    for name, value in demo.model.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_adjoining_windows_share_no_step_whatever_the_rounding(demo):
    window = demo.pack.adapters.late_step.SigmaWindow
    switch = 8 * 0.25 / (1 + 7 * 0.25)
    for sigma in (switch * (1 - 1e-6), switch, switch * (1 + 1e-6)):
        assert not window(1e9, switch).contains(sigma)
        assert window(switch, 0.0).contains(sigma)


def test_window_follows_a_schedule_that_a_later_node_sets(demo):
    import comfy_extras.nodes_model_advanced

    shifted = comfy_extras.nodes_model_advanced.ModelSamplingSD3()
    before = shifted.patch(demo.apply(demo.model, demo.random_lora()), 3.0)[0]
    after = demo.apply(shifted.patch(demo.model, 3.0)[0], demo.random_lora())
    assert torch.equal(demo.sample(before), demo.sample(after))
    assert not torch.equal(demo.sample(after), demo.sample(shifted.patch(demo.model, 3.0)[0]))
