"""The host's step caches do not carry what they know across the border of the window."""

import copy

import pytest
import torch
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

from devkit.predictions import schedule

STEPS = 8
SWITCH = {EasyCacheNode: 6, LazyCacheNode: 5}  # a step that each of them leaves out on the base model
THRESHOLD = 3.0  # the highest there is: whatever may be reused is

cached = pytest.mark.parametrize("cache", [EasyCacheNode, LazyCacheNode])
either_order = pytest.mark.parametrize("cache_first", [True, False])


def with_cache(model, cache):
    with torch.inference_mode():
        return cache.execute(model, THRESHOLD, 0.0, 1.0, False).args[0]


def pair(demo, cache, cache_first, first=None, last=STEPS):
    """The base and the adapted model, both with the cache; the window holds the steps ``first`` .. ``last`` - 1."""
    start, end = (SWITCH[cache] if first is None else first) / STEPS, last / STEPS
    base, lora = with_cache(demo.model, cache), demo.random_lora()
    if cache_first:
        return base, demo.apply(base, lora, start=start, end=end)
    return base, with_cache(demo.apply(demo.model, lora, start=start, end=end), cache)


def computed(demo, model):
    """The clip, and the steps in which the model was really called."""
    sigmas, calls = schedule(demo.model, "simple", 8).tolist(), set()

    def probe(executor, *args, **kwargs):
        options = next(arg for arg in reversed([*args, *kwargs.values()]) if isinstance(arg, dict) and "sigmas" in arg)
        calls.add(sigmas.index(float(options["sigmas"][0])))
        return executor(*args, **kwargs)

    probed = model.clone()
    probed.add_wrapper_with_key("diffusion_model", "probe", probe)
    return demo.sample(probed), calls


@cached
@either_order
def test_first_step_in_the_window_is_a_fresh_one(demo, cache, cache_first):
    base, late = pair(demo, cache, cache_first)
    (plain, calls_of_base), (clip, calls) = computed(demo, base), computed(demo, late)
    switch = SWITCH[cache]
    assert switch not in calls_of_base  # else this would show nothing
    assert {step for step in calls if step <= switch} == {step for step in calls_of_base if step < switch} | {switch}
    assert (clip - plain).abs().max() > 1e-2


@cached
def test_first_step_after_the_window_is_a_fresh_one(demo, cache):
    switch = SWITCH[cache]
    base, late = pair(demo, cache, True, first=4, last=switch)
    assert {4, switch} <= computed(demo, late)[1] and not {4, switch} & computed(demo, base)[1]


@cached
@either_order
def test_before_the_window_the_cached_base_is_kept_bit_for_bit(demo, cache, cache_first):
    def predictions(model):
        seen = []
        demo.sample(model, callback=lambda step, x0, x, total: seen.append(x0.clone()))
        return seen

    base, late = (predictions(model) for model in pair(demo, cache, cache_first))
    switch = SWITCH[cache]
    assert [torch.equal(a, b) for a, b in zip(base, late)] == [True] * switch + [False] * (STEPS - switch)


@cached
@either_order
def test_nothing_of_the_cache_node_is_touched(demo, cache, cache_first):
    late = pair(demo, cache, cache_first)[1]
    options = late.model_options["transformer_options"]
    holder = copy.copy(vars(options["easycache"]))
    wrappers = {kind: {key: list(each) for key, each in keyed.items()} for kind, keyed in late.wrappers.items()}
    demo.sample(late)
    assert vars(options["easycache"]) == holder
    assert {kind: {key: list(each) for key, each in keyed.items()} for kind, keyed in late.wrappers.items()} == wrappers
    assert "predict_noise" not in options.get("wrappers", {})
