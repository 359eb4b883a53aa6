"""Models of two experts: the first makes the noisy steps, the second is trained, as the core samples them in two passes."""

import pytest
import torch

from devkit.demo_world import PROMPTS
from devkit.families import load_family
from devkit.family_world import FamilyWorld

FIRST_OF_SECOND_EXPERT = 5  # of 8 steps: noise levels 1, .98, .96, .93, .89 | .83, .73, .53


@pytest.fixture(scope="module")
def world(demo, tmp_path_factory):
    return FamilyWorld(demo, "wan22_14b", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def high_noise_model(world, tmp_path_factory):
    return load_family(world.pack, "wan22_14b", tmp_path_factory.mktemp("high"), seed=1)


def two_passes(world, high, low, seed):
    early = world.sample(high, PROMPTS[-1], seed, start_step=0, last_step=FIRST_OF_SECOND_EXPERT)
    return world.decode(world.sample(
        low, PROMPTS[-1], seed, noise=torch.zeros_like(world.latent), latent=early,
        start_step=FIRST_OF_SECOND_EXPERT, disable_noise=True,
    ))  # fmt: skip


def test_clips_are_those_of_two_core_samplers(world, high_noise_model, tmp_path):
    run = world.train(tmp_path / "a.safetensors", high_noise_model=high_noise_model, learning_rate=0.1)
    late = world.apply(world.model, run.lora(), start=-1.0, end=-1.0)
    base = two_passes(world, high_noise_model, world.model, run.settings.seed)
    after = two_passes(world, high_noise_model, late, run.settings.seed)
    assert (run.result.before - base).abs().max() < 1e-3  # the bank keeps half precision
    assert (run.result.after - after).abs().max() < 0.02 * (after - base).abs().max()
    assert (base - world.decode(world.sample(world.model, PROMPTS[-1], run.settings.seed))).abs().max() > 0.01


def test_bank_changes_speed_only(world, high_noise_model, tmp_path):
    losses = [
        [record.loss for record in world.train(
            tmp_path / f"{remember}.safetensors", high_noise_model=high_noise_model, remember_teacher=remember, steps=3
        ).state.history]
        for remember in (True, False)
    ]  # fmt: skip
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_resumed_run_repeats_an_uninterrupted_one(world, high_noise_model, tmp_path):
    whole = world.train(
        tmp_path / "whole.safetensors", high_noise_model=high_noise_model, steps=3, learning_rate_schedule="constant"
    )
    path = tmp_path / "parts.safetensors"
    options = dict(high_noise_model=high_noise_model, learning_rate_schedule="constant")
    world.train(path, steps=1, **options)
    resumed = world.train(path, resume=True, steps=3, **options)
    assert [record.loss for record in resumed.state.history] == [record.loss for record in whole.state.history]


def test_window_in_the_first_experts_steps_is_refused(world, high_noise_model, tmp_path):
    with pytest.raises(ValueError, match="start_percent: 0.5 lies in the steps of the high-noise model"):
        world.run(tmp_path / "a.safetensors", high_noise_model=high_noise_model, start_percent=0.5)


def test_first_steps_that_somebody_removed_are_named(pack, tmp_path):
    training = pack.training
    early = training.teacher.high_noise_expert.EarlySteps(1, training.teacher.stores.LatentFiles(tmp_path, PROMPTS))
    early.latents.keep((0, 7), torch.ones(1, 2))
    assert torch.equal(early.of((0, 7)), torch.ones(1, 2))
    early.latents.forget()
    with pytest.raises(ValueError, match="^bank_folder: files in it were removed while a run used them; start the run again"):
        early.of((0, 7))
