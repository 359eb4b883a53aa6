"""Where the window lies on every schedule, and what the Apply node says of it."""

import logging

import comfy.sd
import pytest
import torch
from comfy_extras.nodes_model_advanced import ModelSamplingSD3

from devkit.predictions import acts, predictions, schedule

SHIFT = 8.0  # of the demo model
SWITCH = SHIFT * 0.25 / (1 + (SHIFT - 1) * 0.25)


def trained(demo, late_steps=2, start_percent=0.75, switch_sigma=SWITCH, **settings):
    """A LoRA as the Train node hands it on, trained in the last 2 of 8 steps."""
    lora_file = demo.pack.adapters.lora_file
    info = lora_file.AdapterInfo(
        base_model="wan", start_percent=start_percent, end_percent=1.0, switch_sigma=switch_sigma, rank=4, alpha=4.0,
        trigger_word="sks", steps=1, settings={"sampling_steps": 8, "cfg": 2.0, "scheduler": "simple"} | settings,
        late_steps=late_steps,
    )  # fmt: skip
    return lora_file.LateStepLora(demo.random_lora(), info)


def apply(demo, model, lora, start=-1.0, end=-1.0, **options):
    node = demo.pack.nodes.apply_late_step_lora.ApplyLateStepLora
    with torch.inference_mode():
        return node.execute(model, "unused", 1.0, start, end, lora, **options).args[0]


def shifted(model, shift):
    return ModelSamplingSD3().patch(model, shift)[0]


def late_sigmas(demo, model, base, scheduler, steps):
    sigmas = schedule(model, scheduler, steps)
    return [sigma for sigma, late in zip(sigmas.tolist(), acts(demo, model, base, sigmas)) if late]


@pytest.mark.parametrize("shift", [12.0, 8.0, 5.0, 3.0])
@pytest.mark.parametrize("scheduler, steps", [("simple", 8), ("normal", 12), ("beta", 8)])
def test_opens_at_the_trained_noise_level_with_any_shift(demo, shift, scheduler, steps):
    base = shifted(demo.model, shift)
    late = apply(demo, base, trained(demo))
    expected = [sigma for sigma in schedule(base, scheduler, steps)[:-1].tolist() if sigma <= SWITCH * 1.0001]
    assert late_sigmas(demo, late, base, scheduler, steps) == expected


@pytest.mark.parametrize(
    "scheduler, steps", [("simple", 1), ("simple", 2), ("simple", 3), ("simple", 4), ("sgm_uniform", 4),
                         ("linear_quadratic", 4), ("normal", 4), ("karras", 1), ("simple", 8)],
)  # fmt: skip
@pytest.mark.parametrize("with_info", [True, False])
def test_always_holds_the_last_step(demo, scheduler, steps, with_info):
    late = apply(demo, demo.model, trained(demo) if with_info else demo.random_lora())
    sigmas = schedule(demo.model, scheduler, steps)
    expected = [sigma <= SWITCH * 1.0001 for sigma in sigmas[:-1].tolist()]
    assert acts(demo, late, demo.model, sigmas) == [*expected[:-1], True]


def test_first_part_of_a_split_schedule_has_no_last_step(demo):
    late, sigmas = apply(demo, demo.model, trained(demo)), schedule(demo.model, "sgm_uniform", 4)
    assert acts(demo, late, demo.model, sigmas[:3]) == [False, False]
    assert acts(demo, late, demo.model, sigmas[2:]) == [False, True]


def test_inside_the_window_it_is_the_core_lora(demo):
    lora, sigmas = trained(demo), schedule(demo.model, "sgm_uniform", 4)
    with torch.inference_mode():
        core = comfy.sd.load_lora_for_models(demo.model, None, dict(lora), 1.0, 0.0)[0]
    ours = predictions(demo, apply(demo, demo.model, lora), sigmas)[-1]
    assert (ours - predictions(demo, core, sigmas)[-1]).abs().max() < 1e-4


@pytest.mark.parametrize("options", [{"start": 0.75, "end": 1.0}, {"start": 0.75}, {"window": "percent"}])
@pytest.mark.parametrize("shift", [8.0, 3.0])
def test_percents_follow_the_schedule_of_the_model(demo, options, shift):
    base = shifted(demo.model, shift)
    late = apply(demo, base, trained(demo), **options)
    assert acts(demo, late, base, schedule(base, "simple", 8)) == [False] * 6 + [True] * 2
    assert acts(demo, late, base, schedule(base, "sgm_uniform", 4)) == [False] * 4


def test_window_that_closes_early_does_not_hold_the_last_step(demo):
    late = apply(demo, demo.model, trained(demo), end=0.85)
    assert acts(demo, late, demo.model, schedule(demo.model, "simple", 8)) == [False] * 6 + [True, False]
    assert acts(demo, late, demo.model, schedule(demo.model, "sgm_uniform", 4)) == [False] * 4


@pytest.mark.parametrize("switch_sigma", [0.0, -1.0, float("nan"), float("inf"), None, "0.7"])
def test_file_with_an_impossible_noise_level_falls_back_to_percent(demo, switch_sigma):
    late = apply(demo, demo.model, trained(demo, switch_sigma=switch_sigma))
    assert acts(demo, late, demo.model, schedule(demo.model, "simple", 8)) == [False] * 6 + [True] * 2


def said(demo, caplog, model, sigmas, cfg=None):
    """What is logged of a sampling."""
    world = demo
    caplog.clear()
    with caplog.at_level(logging.INFO):
        before, world.cfg = world.cfg, cfg or world.cfg
        try:
            predictions(world, model, sigmas)
        finally:
            world.cfg = before
    return [record.getMessage() for record in caplog.records if "LoRA" in record.getMessage()]


def test_nothing_is_said_where_all_is_as_trained(demo, caplog):
    late = apply(demo, demo.model, trained(demo))
    for scheduler, steps in [("simple", 8), ("simple", 4), ("beta", 10)]:
        assert said(demo, caplog, late, schedule(demo.model, scheduler, steps)) == []
    assert said(demo, caplog, late, schedule(demo.model, "simple", 8)[4:]) == []


def test_says_that_its_window_never_opened(demo, caplog):
    late = apply(demo, demo.model, trained(demo), start=0.75, end=1.0)
    sentence = said(demo, caplog, late, schedule(demo.model, "sgm_uniform", 4))
    assert sentence == [
        "the connected LoRA: The LoRA did not act: none of the 4 steps lies in its window (noise levels 0.727 to 0); "
        "set start_percent and end_percent to -1, or take more steps."
    ]


def test_says_that_the_sampling_stopped_before_its_window(demo, caplog):
    late = apply(demo, demo.model, trained(demo))
    (sentence,) = said(demo, caplog, late, schedule(demo.model, "simple", 8)[:4])
    assert "stopped at noise level 0.93" in sentence and "low-noise" in sentence
    assert caplog.records[-1].levelno == logging.INFO


@pytest.mark.parametrize("scheduler, late", [("karras", 7), ("exponential", 7)])
@pytest.mark.parametrize("window, meant", [({}, "it was trained for 2 of 8"), ({"start": 0.75}, "its window means 2")])
def test_says_that_it_acts_in_far_more_steps(demo, caplog, scheduler, late, window, meant):
    model = apply(demo, demo.model, trained(demo), **window)
    sigmas = schedule(demo.model, scheduler, 8)
    late = sum(acts(demo, model, demo.model, sigmas))
    (sentence,) = said(demo, caplog, model, sigmas)
    assert f"acted in {late} of 8 steps, {meant}" in sentence and late > 4


def test_whole_range_on_demand_is_no_surprise(demo, caplog):
    model = apply(demo, demo.model, trained(demo), start=0.0)
    assert said(demo, caplog, model, schedule(demo.model, "karras", 8)) == []


def test_says_that_cfg_and_steps_are_far_from_the_trained_ones(demo, caplog):
    model = apply(demo, demo.model, trained(demo))
    (sentence,) = said(demo, caplog, model, schedule(demo.model, "simple", 3), cfg=7.0)
    assert sentence.endswith("It was trained at steps 8, cfg 2 and sampled at steps 3, cfg 7: the likeness may be weaker.")


@pytest.fixture
def bypassed(demo):
    """``bypassed(names)``: the named linears are computed without a call of their forward, as some quantised formats do."""
    touched = []

    def bypass(names):
        for name in names:
            module = demo.model.get_model_object(name)
            weight, bias = module.weight, module.bias
            kind = type(module)
            touched.append((module, kind))
            without = staticmethod(lambda x, weight=weight, bias=bias: torch.nn.functional.linear(x, weight.to(x), bias.to(x)))
            module.__class__ = type(kind.__name__, (kind,), {"__call__": without})

    yield bypass
    for module, kind in reversed(touched):
        module.__class__ = kind


def test_says_that_the_model_never_called_its_layers(demo, caplog, bypassed):
    names = [target.name for target in demo.pack.adapters.architectures.find_targets(demo.model.model)]
    late, sigmas = apply(demo, demo.model, trained(demo)), schedule(demo.model, "simple", 8)
    bypassed(names)
    (sentence,) = said(demo, caplog, late, sigmas)
    assert "had no effect: this model computes the layers" in sentence


def test_says_that_the_model_left_out_some_of_its_layers(demo, caplog, bypassed):
    names = [target.name for target in demo.pack.adapters.architectures.find_targets(demo.model.model)]
    late, sigmas = apply(demo, demo.model, trained(demo)), schedule(demo.model, "simple", 8)
    bypassed(names[:2])
    (sentence,) = said(demo, caplog, late, sigmas)
    assert f"2 of the LoRA's {len(names)} layers had no effect" in sentence and names[0] in sentence
