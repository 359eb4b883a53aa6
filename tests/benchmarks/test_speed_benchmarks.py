"""What `make bench` and `benchmarks/gpu/gpu.py` compare.

The paper's loop is the same training, and the full sizes are the published ones.
"""

import sys

import pytest
import torch

from benchmarks.gpu import gpu
from benchmarks.speed import clock as speed_clock
from benchmarks.speed import speed
from benchmarks.speed.naive_loop import NaiveLoop
from benchmarks.speed.world import inside_training
from devkit.demo_world import DemoWorld
from devkit.gradients import step_gradient


@pytest.fixture
def gpu_run(pack, vae_approx):
    from benchmarks.gpu import run as gpu_run

    return gpu_run


def test_exponent_of_a_power_law_is_its_power():
    sizes = [5, 9, 17, 33]
    assert speed_clock.fitted_exponent(sizes, [3 * size**1.7 for size in sizes]) == pytest.approx(1.7)
    assert speed_clock.fitted_exponent(sizes, [2.0] * 4) == pytest.approx(0)
    with pytest.raises(ValueError, match="at least two different"):
        speed_clock.fitted_exponent([5, 5], [1, 2])


def test_jobs_take_turns_and_the_warm_up_does_not_count(monkeypatch):
    clock, calls = [0.0], []

    def job(name, seconds):
        def run():
            calls.append(name)
            clock[0] += seconds * (10 if len(calls) <= 2 else 1)

        return run

    monkeypatch.setattr(speed_clock.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(speed_clock.gc, "collect", lambda: 0)
    seconds = speed_clock.in_turns({"a": job("a", 2), "b": job("b", 1)}, rounds=2)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert seconds == {"a": [2, 2], "b": [1, 1]}
    assert speed_clock.ratio(seconds, "a", "b") == 2


def test_ratio_is_the_median_of_the_rounds_own():
    assert speed_clock.ratio({"a": [2, 30, 8], "b": [1, 10, 2]}, "a", "b") == 3


@pytest.mark.parametrize("preserve_weight, tolerance", [(0.0, 1e-5), (8.0, 0.1)])
def test_naive_loop_has_the_loss_and_the_gradient_of_ours(demo: DemoWorld, preserve_weight, tolerance):
    """The gradient reaches through the whole window. The bank keeps frames for the preservation loss in half precision."""
    found = {}

    def body(trainer, one_step) -> None:
        window = trainer.rollout.steps - trainer.first_late_step
        assert window == trainer.settings.gradient_steps == 2
        with torch.no_grad():
            for parameter in trainer.adapter.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)) * 0.02)
        naive = NaiveLoop(demo.pack, trainer, trainer.first_late_step, window)
        loss, gradient = step_gradient(trainer)
        found["ours"] = loss, torch.cat([part.flatten() for part in gradient])
        trainer.optimizer.zero_grad()
        value = naive.loss(trainer.draws.generator(trainer.state.step))
        value.backward()
        found["naive"] = value.item(), torch.cat([p.grad.flatten() for p in trainer.adapter.parameters()])

    inside_training(demo, body, gradient_checkpointing="steps", preserve_weight=preserve_weight)
    (ours, gradient), (naive, expected) = found["ours"], found["naive"]
    assert ours == pytest.approx(naive, rel=tolerance)
    assert expected.norm() > 0 and (gradient - expected).norm() < tolerance * expected.norm()


def test_one_step_of_the_benchmark_is_one_step_of_training(demo: DemoWorld):
    steps = []

    def body(trainer, one_step) -> None:
        before = torch.cat([p.detach().flatten().clone() for p in trainer.adapter.parameters()])
        one_step()
        steps.append(trainer.state.step)
        assert not torch.equal(before, torch.cat([p.detach().flatten() for p in trainer.adapter.parameters()]))

    train = demo.pack.training.trainer.Trainer.train
    inside_training(demo, body)
    assert steps == [1]
    assert demo.pack.training.trainer.Trainer.train is train


def test_summary_takes_the_worst_of_several_models():
    steps = [
        {"paper_schedule": {"naive_over_ours_step": step, "naive_over_ours_800_steps": run},
         "short_schedule": {"ours_over_floor": floor}}
        for step, run, floor in ((6.0, 5.0, 1.1), (5.0, 4.5, 1.2))
    ]  # fmt: skip
    figures = speed.summary({"steps": steps, "decode": [{"vae": "Wan", "growth_exponent": 0.5}], "bank": {"equal": True}})
    assert figures == {
        "naive_over_ours_step": 5.0, "naive_over_ours_800_steps": 4.5, "ours_over_floor": 1.2,
        "decode_growth_exponent": 0.5, "trained_adapter_equal_without_bank": True,
    }  # fmt: skip
    assert speed.verdict("naive_over_ours_step", 5.0).endswith("yes")
    assert speed.verdict("decode_growth_exponent", 0.5).endswith("NO")


@pytest.mark.parametrize("name, parameters", [
    ("AnimateDiff", 859_520_964), ("HunyuanVideo", 12_821_012_544),
    ("Wan 2.1 1.3B", 1_418_996_800), ("Wan 2.1 14B", 14_288_491_584),
])  # fmt: skip
def test_full_models_have_the_published_number_of_parameters(gpu_run, name, parameters):
    models = gpu_run.gpu_models
    model = models.unfilled(models.MODELS[name], torch.float8_e4m3fn, torch.bfloat16).model
    assert sum(parameter.numel() for parameter in model.diffusion_model.parameters()) == parameters
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_without_a_gpu_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="^There is no CUDA GPU here; --estimate and --tiny work without one.$"):
        gpu.main()


def test_settings_run_on_tiny_models(pack, gpu_run, monkeypatch):
    monkeypatch.setattr(gpu_run, "SETTINGS", gpu_run.SETTINGS | {"num_frames": 2})
    monkeypatch.setattr(gpu_run, "TIMED_STEPS", 1)
    setting = next(setting for setting in gpu.SETTINGS if setting.model == "HunyuanVideo")
    row = gpu_run.trained(pack, setting, tiny=True, sampling_steps=8)
    assert (
        (row["sampling_steps"], row["gradient_steps"]) == (8, 2)
        and row["seconds_per_step"] > 0
        and row["tera_operations_per_step"] > 0
    )
    assert row["plan"].startswith("Memory: ")


def test_every_setting_has_a_name_of_its_own():
    assert len({setting.name for setting in gpu.SETTINGS}) == len(gpu.SETTINGS)
    assert {"HunyuanVideo 61 x 512 x 768 fp8 in 24 GB", "HunyuanVideo 61 x 512 x 768 bf16 in 48 GB"} <= {
        setting.name for setting in gpu.SETTINGS
    }


def test_memory_of_a_setting_too_large_for_its_card_is_said(pack, gpu_run):
    setting = next(setting for setting in gpu.SETTINGS if setting.model == "Wan 2.1 1.3B")
    assert "does not fit: at least" in gpu_run.estimated(pack, setting, 1e9)["plan"]
