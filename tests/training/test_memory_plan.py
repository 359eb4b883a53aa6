"""The memory plan: its estimate against counted bytes, and what it chooses."""

from dataclasses import replace

import pytest
import torch

from benchmarks.memory.counting import Sample, counted_peak
from benchmarks.memory.decoders import counted_frames
from devkit.tiny_vaes import VAES, hunyuan15

# Models of other depth, width and resolution than those that the costs were counted on.
OTHERS = {
    "wan21": Sample("wan21", (1, 16, 3, 16, 24), dict(dim=384, num_heads=3, ffn_dim=1024, num_layers=3)),
    "hunyuan_video": Sample("hunyuan_video", (1, 16, 4, 16, 20), dict(depth=1, depth_single_blocks=4)),
    "hunyuan_video_15": Sample("hunyuan_video_15", (1, 32, 3, 8, 12), dict(depth=4)),
    "ltxv": Sample("ltxv", (1, 128, 4, 8, 12), dict(num_layers=3)),
    "cogvideox": Sample("cogvideox", (1, 16, 3, 16, 20), dict(num_layers=3)),
    "sd15": Sample("sd15", (3, 4, 16, 8), {}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def plan(pack):
    return pack.training.memory.plan


def demand_of_blocks(plan, family, layers, guided, steps):
    """Of the sampling steps alone."""
    nothing = plan.Decoder("TAESD", 0, 0)
    return plan.Demand(
        weights=0,
        cast=0,
        family=family,
        layers=layers,
        number=4,
        heads=0,
        guided=guided,
        gradient_steps=steps,
        frames=1,
        fewest=1,
        clip=1,
        pixels=0,
        decoder=nothing,
        tiny=None,
        frame_reward=0,
        step_reward=0,
    )


@pytest.mark.parametrize("mode", ["off", "steps", "blocks"])
@pytest.mark.parametrize("family", OTHERS)
def test_estimate_is_within_a_quarter_of_the_counted_peak(pack, plan, folder, family, mode):
    layers, counted = counted_peak(pack, OTHERS[family], folder, mode)
    name = "wan" if family == "wan21" else family
    estimated = plan.peak(demand_of_blocks(plan, name, layers, False, 2), plan.Option(mode, 1))
    assert 0.75 < estimated / counted < 1.3


# Other clips than those that the costs were counted on, and the frames wanted of them.
CLIPS = {
    "image": ((6, 4, 8, 12), [1, 4, 5]), "wan 2.1": ((1, 16, 12, 4, 6), [9, 43]), "wan 2.2": ((1, 48, 12, 2, 4), [44]),
    "hunyuan 1.5": ((1, 32, 12, 2, 4), [10, 44]), "taehv wan 2.1": ((1, 16, 8, 4, 6), [3, 27]), "taesd": ((4, 4, 6, 8), [0, 3]),
}  # fmt: skip


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("name", CLIPS)
def test_estimate_of_decoding_is_near_the_counted_peak(pack, plan, name, recomputed):
    shape, frames = CLIPS[name]
    vae = hunyuan15(layers=2, channels=(16, 32, 64, 128, 128)) if name == "hunyuan 1.5" else VAES[name].build()
    decoder = pack.training.decoding.frame_decoder.FrameDecoder(vae, torch.device("cpu"), None, recomputed)
    counted = counted_frames(pack, decoder, shape, frames)
    kind = plan.Decoder(pack.training.memory.demand.decoder_kind(decoder), 1, 1)
    demand = replace(demand_of_blocks(plan, "wan", (), False, 1), decoder=kind, pixels=1, clip=decoder.count(torch.zeros(shape)))
    estimated = plan._decoded(demand, plan.Option("steps" if recomputed else "off", len(frames)))
    assert 0.7 < estimated / counted < 1.4


BIG = dict(
    weights=13e9, cast=26e9, family="hunyuan_video", number=2, heads=0, guided=False, gradient_steps=4, frames=4, fewest=2,
    clip=61, frame_reward=400e6, step_reward=100e6, pixels=512 * 768,
)  # fmt: skip


@pytest.fixture
def hunyuan(plan):
    """HunyuanVideo in 8 bits at 61 x 512 x 768, with a tiny VAE at hand."""
    tokens = 16 * 32 * 48 + 256
    layers = [plan.Layer("hunyuan_video.double_blocks", tokens, 3072)] * 20
    layers += [plan.Layer("hunyuan_video.single_blocks", tokens, 3072)] * 40
    return plan.Demand(
        layers=tuple(layers), decoder=plan.Decoder("HunyuanFrames", 128, 2), tiny=plan.Decoder("TinyVideoFrames", 64, 2), **BIG
    )


def budget(plan, gigabytes, cpu=64):
    return plan.Budget(int(gigabytes * 1e9), int(cpu * 1e9))


def test_less_memory_never_means_more_of_it_or_less_loss(plan, hunyuan):
    order = plan.options(hunyuan)
    chosen = [plan.choose(hunyuan, budget(plan, size)) for size in (1000, 400, 200, 120, 80, 60, 48, 40, 32, 24)]
    places = [order.index(found.option) for found in chosen if found]
    assert chosen[0].option == plan.Option("off", 4)
    assert len(set(places)) > 3 and places == sorted(places)
    for size, found in zip((1000, 400, 200, 120, 80, 60, 48, 40, 32, 24), chosen):
        assert found is None or plan.peak(hunyuan, found.option) <= size * 1e9
    assert plan.choose(hunyuan, budget(plan, 14)) is None


def test_each_mode_is_smaller_than_the_one_before(plan, hunyuan):
    steps = replace(hunyuan, pixels=1)  # what decoding takes does not hide what the steps take
    peaks = [plan.peak(steps, plan.Option(mode, 4)) for mode in plan.MODES]
    assert peaks == sorted(peaks, reverse=True) and len(set(peaks)) == 4


def test_what_waits_in_cpu_memory_has_to_fit_there(plan, hunyuan):
    steps = replace(hunyuan, pixels=1)
    assert plan.choose(steps, budget(plan, 24)).option.mode == "offload"
    assert plan.choose(steps, budget(plan, 24, cpu=8)) is None
    shared = plan.Budget(int(24e9), None)
    assert plan.choose(steps, shared) is None and plan.cpu_bytes(steps, plan.Option("offload", 4)) > 8e9


def test_sentence_says_what_and_why(plan, hunyuan):
    text = plan.choose(hunyuan, budget(plan, 1000)).sentence
    assert text.endswith(" of 1000.0 GB; nothing is computed twice.")
    less = plan.choose(hunyuan, budget(plan, 100))
    refused = plan.options(hunyuan)[plan.options(hunyuan).index(less.option) - 1]
    assert f"because less would take {plan.peak(hunyuan, refused) / 1e9:.1f} GB." in less.sentence


def test_estimate_grows_with_everything_that_costs(plan, hunyuan):
    option = plan.Option("steps", 4)
    base = plan.peak(hunyuan, option)
    for change in (dict(guided=True), dict(heads=24), dict(cast=40 * 10**9), dict(weights=20 * 10**9)):
        assert plan.peak(replace(hunyuan, **change), option) > base
    off = plan.Option("off", 4)
    assert plan.peak(replace(hunyuan, gradient_steps=8), off) > plan.peak(hunyuan, off)
    assert plan.peak(hunyuan, plan.Option("off", 2)) <= plan.peak(hunyuan, off)
