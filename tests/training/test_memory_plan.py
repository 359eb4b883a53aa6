"""The memory plan: its estimate against counted bytes, and what it chooses."""

import json
from dataclasses import replace
from pathlib import Path

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


@pytest.fixture
def estimate(pack):
    return pack.training.memory.estimate


def demand_of_blocks(estimate, family, layers, guided, steps):
    """The peak of the sampling steps alone."""
    nothing = estimate.Decoder("TAESD", 0, 0)
    return estimate.Demand(
        weights=0,
        dequantised_bytes=0,
        family=family,
        layers=layers,
        element_size=4,
        heads=0,
        guided=guided,
        gradient_steps=steps,
        frames=1,
        fewest_frames=1,
        clip=1,
        pixels=0,
        decoder=nothing,
        tiny=None,
        frame_reward=0,
        step_reward=0,
    )


@pytest.mark.parametrize("mode", ["off", "steps", "blocks"])
@pytest.mark.parametrize("family", OTHERS)
def test_estimate_is_within_a_quarter_of_the_counted_peak(pack, estimate, folder, family, mode):
    layers, counted = counted_peak(pack, OTHERS[family], folder, mode)
    name = "wan" if family == "wan21" else family
    estimated = estimate.peak(demand_of_blocks(estimate, name, layers, False, 2), estimate.Option(mode, 1))
    assert 0.75 < estimated / counted < 1.3


# Other clips than those that the costs were counted on, and the frames wanted of them.
CLIPS = {
    "image": ((6, 4, 8, 12), [1, 4, 5]), "wan 2.1": ((1, 16, 12, 4, 6), [9, 43]), "wan 2.2": ((1, 48, 12, 2, 4), [44]),
    "hunyuan 1.5": ((1, 32, 12, 2, 4), [10, 44]), "taehv wan 2.1": ((1, 16, 8, 4, 6), [3, 27]), "taesd": ((4, 4, 6, 8), [0, 3]),
}  # fmt: skip


@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("name", CLIPS)
def test_estimate_of_decoding_is_near_the_counted_peak(pack, estimate, name, recomputed):
    shape, frames = CLIPS[name]
    vae = hunyuan15(layers=2, channels=(16, 32, 64, 128, 128)) if name == "hunyuan 1.5" else VAES[name].build()
    decoder = pack.training.decoding.frame_decoder.FrameDecoder(vae, torch.device("cpu"), None, recomputed)
    counted = counted_frames(pack, decoder, shape, frames)
    kind = estimate.Decoder(pack.training.memory.demand.decoder_kind(decoder), 1, 1)
    demand = replace(
        demand_of_blocks(estimate, "wan", (), False, 1), decoder=kind, pixels=1, clip=decoder.count(torch.zeros(shape))
    )
    estimated = estimate._decoding(demand, estimate.Option("steps" if recomputed else "off", len(frames)))
    assert 0.7 < estimated / counted < 1.4


BIG = dict(
    weights=13e9, dequantised_bytes=26e9, family="hunyuan_video", element_size=2, heads=0, guided=False, gradient_steps=4,
    frames=4, fewest_frames=2, clip=61, frame_reward=400e6, step_reward=100e6, pixels=512 * 768,
)  # fmt: skip


@pytest.fixture
def hunyuan(estimate):
    """HunyuanVideo in 8 bits at 61 x 512 x 768, with a tiny VAE at hand."""
    tokens = 16 * 32 * 48 + 256
    layers = [estimate.Layer("hunyuan_video.double_blocks", tokens, 3072)] * 20
    layers += [estimate.Layer("hunyuan_video.single_blocks", tokens, 3072)] * 40
    return estimate.Demand(
        layers=tuple(layers),
        decoder=estimate.Decoder("HunyuanFrames", 128, 2),
        tiny=estimate.Decoder("TinyVideoFrames", 64, 2),
        **BIG,
    )


def budget(plan, gigabytes, cpu=64):
    return plan.Budget(int(gigabytes * 1e9), int(cpu * 1e9))


SIZES = (1200, 400, 200, 120, 80, 60, 48, 40, 32, 24)


def test_less_memory_never_means_more_of_it_or_less_loss(plan, estimate, hunyuan):
    order = plan.options(hunyuan)
    chosen = [plan.choose(hunyuan, budget(plan, size)) for size in SIZES]
    places = [order.index(found.option) for found in chosen if found]
    assert chosen[0].option == estimate.Option("off", 4)
    assert len(set(places)) > 3 and places == sorted(places)
    assert plan.choose(hunyuan, budget(plan, 14)) is None


def test_first_way_that_fits_with_a_margin_of_15_percent_is_chosen(plan, estimate, hunyuan):
    peaks = {option: estimate.peak(hunyuan, option) for option in plan.options(hunyuan)}
    for size in (*(size * 1e9 for size in SIZES), *(1.1 * peak for peak in peaks.values())):
        fitting = [option for option, peak in peaks.items() if 1.15 * peak <= size]
        found = plan.choose(hunyuan, plan.Budget(int(size), 10**12))
        assert (found and found.option) == (fitting[0] if fitting else None)


def test_ladder_leads_from_the_fastest_way_to_the_tiny_vae_one_thing_at_a_time(plan, estimate, hunyuan):
    ladder = [estimate.Option("off", 4)]
    while option := plan.next_rung(hunyuan, ladder[-1]):
        ladder.append(option)
    assert [(option.mode, option.frames, option.tiny) for option in ladder] == [
        ("off", 4, False), ("steps", 4, False), ("blocks", 4, False), ("offload", 4, False),
        ("offload", 2, False), ("offload", 2, True),
    ]  # fmt: skip
    peaks = [estimate.peak(hunyuan, option) for option in ladder]
    assert peaks == sorted(peaks, reverse=True)
    without = replace(hunyuan, tiny=None)
    assert plan.next_rung(without, ladder[-2]) is None and plan.next_rung(without, ladder[-3]) == ladder[-2]
    for option in plan.options(hunyuan):
        while (below := plan.next_rung(hunyuan, option)) is not None:
            assert plan.MODES.index(below.mode) >= plan.MODES.index(option.mode)
            assert below.frames <= option.frames and below.tiny >= option.tiny
            option = below
        assert option == ladder[-1]


def known(estimate, table):
    return json.loads(Path(estimate.__file__).with_name("costs.json").read_text())[table]


def test_what_has_no_costs_is_planned_as_the_most_expensive_that_has(plan, estimate, hunyuan):
    def peaks(**change):
        changed = replace(hunyuan, **change)
        return [estimate.peak(changed, option) for option in plan.options(changed)]

    def of_kind(kind):
        return tuple(replace(layer, kind=kind) for layer in hunyuan.layers)

    for field, unknown, names in (
        ("family", "new", known(estimate, "families")),
        (
            "decoder",
            estimate.Decoder("NewFrames", 128, 2),
            [estimate.Decoder(kind, 128, 2) for kind in known(estimate, "decoders")],
        ),
        ("layers", of_kind("new.blocks"), [of_kind(kind) for kind in known(estimate, "blocks")]),
    ):
        most = [max(each) for each in zip(*(peaks(**{field: name}) for name in names))]
        assert all(peak >= other for peak, other in zip(peaks(**{field: unknown}), most))
        assert max(peaks(**{field: unknown})) < 1.5 * max(most)
    sizes = [peaks(element_size=size) for size in (2, 4)]
    assert peaks(element_size=1) == peaks(element_size=8) == [max(each) for each in zip(*sizes)]


def test_each_mode_is_smaller_than_the_one_before(plan, estimate, hunyuan):
    steps = replace(hunyuan, pixels=1)  # what decoding takes does not hide what the steps take
    peaks = [estimate.peak(steps, estimate.Option(mode, 4)) for mode in plan.MODES]
    assert peaks == sorted(peaks, reverse=True) and len(set(peaks)) == 4


def test_what_waits_in_cpu_memory_has_to_fit_there(plan, estimate, hunyuan):
    steps = replace(hunyuan, pixels=1)
    assert plan.choose(steps, budget(plan, 24)).option.mode == "offload"
    assert plan.choose(steps, budget(plan, 24, cpu=8)) is None
    shared = plan.Budget(int(24e9), None)
    assert plan.choose(steps, shared) is None and estimate.cpu_bytes(steps, estimate.Option("offload", 4)) > 8e9


def test_sentence_says_what_and_why(plan, hunyuan):
    text = plan.choose(hunyuan, budget(plan, 1200)).sentence
    assert text.endswith(" of 1200.0 GB; nothing is computed twice.")
    less = plan.choose(hunyuan, budget(plan, 100))
    refused = plan.options(hunyuan)[plan.options(hunyuan).index(less.option) - 1]
    assert f"because less would take {plan.needed(hunyuan, refused) / 1e9:.1f} GB." in less.sentence


def test_estimate_grows_with_everything_that_costs(estimate, hunyuan):
    option = estimate.Option("steps", 4)
    base = estimate.peak(hunyuan, option)
    for change in (dict(guided=True), dict(heads=24), dict(dequantised_bytes=40 * 10**9), dict(weights=20 * 10**9)):
        assert estimate.peak(replace(hunyuan, **change), option) > base
    off = estimate.Option("off", 4)
    assert estimate.peak(replace(hunyuan, gradient_steps=8), off) > estimate.peak(hunyuan, off)
    assert estimate.peak(hunyuan, estimate.Option("off", 2)) <= estimate.peak(hunyuan, off)
