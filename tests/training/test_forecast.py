"""The estimate before the wait: it keeps its word, and leaves no trace."""

import re

import pytest
import torch

from devkit.demo_world import PROMPTS


def weights(run):
    return [parameter.detach().clone() for parameter in run.adapter.parameters()]


def history(run):
    return [record.loss for record in run.state.history]


def tensors(run):
    run.state.tensors.pop("", None)
    return run.state.tensors


def assert_same(run, other):
    assert history(run) == history(other)
    assert all(torch.equal(one, two) for one, two in zip(weights(run), weights(other), strict=True))
    assert tensors(run).keys() == tensors(other).keys()
    assert all(torch.equal(value, tensors(other)[name]) for name, value in tensors(run).items())


def estimated(run, say=lambda line: None):
    with torch.inference_mode():
        return run.estimate(say)


@pytest.fixture
def without_estimate(pack, monkeypatch):
    """``train(path, **options)`` that never times a step."""

    def train(demo, path, **options):
        with monkeypatch.context() as context:
            context.setattr(pack.training.run, "timed", lambda *arguments: pack.training.forecast.Timing(0.0, 0.0))
            return demo.train(path, **options)

    return train


def test_timed_steps_change_nothing_bit_for_bit(demo, tmp_path, without_estimate):
    expected = without_estimate(demo, tmp_path / "a.safetensors")
    assert_same(demo.train(tmp_path / "b.safetensors"), expected)


def test_timed_steps_of_a_resumed_run_change_nothing_bit_for_bit(demo, tmp_path, without_estimate):
    for name in ("a", "b"):
        demo.train(tmp_path / f"{name}.safetensors", steps=2)
    expected = without_estimate(demo, tmp_path / "a.safetensors", resume=True, steps=5)
    assert_same(demo.train(tmp_path / "b.safetensors", resume=True, steps=5), expected)


def test_timed_step_is_a_real_one(demo, tmp_path, pack, monkeypatch):
    moved = []
    update = pack.training.trainer.Trainer._update

    def watch(trainer, loss):
        before = weights(trainer)
        update(trainer, loss)
        moved.append(any(not torch.equal(one, two) for one, two in zip(before, weights(trainer))))

    monkeypatch.setattr(pack.training.trainer.Trainer, "_update", watch)
    estimated(demo.run(tmp_path / "a.safetensors"))
    assert moved and all(moved)


def test_estimate_leaves_no_trace(demo, tmp_path):
    run = demo.run(tmp_path / "a.safetensors")
    before = weights(run)
    estimated(run)
    assert all(torch.equal(one, two) for one, two in zip(before, weights(run), strict=True))
    assert all(parameter.grad is None for parameter in run.adapter.parameters())
    assert run.state.step == 0 and not run.state.tensors and not run.state.history
    assert list(tmp_path.iterdir()) == []


def test_estimate_counts_the_clips_and_steps_that_are_to_come(demo, tmp_path):
    known = {}
    demo.train(tmp_path / "a.safetensors", teacher_clips=known, steps=2)
    fresh = estimated(demo.run(tmp_path / "b.safetensors", steps=40))
    assert (fresh.clips, fresh.steps) == (len(PROMPTS), 40)
    assert fresh.seconds == pytest.approx(fresh.clips * fresh.timing.clip + 40 * fresh.timing.step)
    resumed = estimated(demo.run(tmp_path / "a.safetensors", resume=True, steps=5, teacher_clips=known))
    assert resumed.steps == 3 and resumed.clips <= len(PROMPTS) - 1


def test_estimate_of_a_finished_run_says_what_to_raise(demo, tmp_path):
    path = tmp_path / "a.safetensors"
    demo.train(path)
    with pytest.raises(ValueError, match=r"^steps: a.safetensors already has 3 steps; raise steps to go on\.$"):
        estimated(demo.run(path, resume=True))


def test_run_says_what_it_will_take_before_the_first_clip(demo, tmp_path):
    lines = []
    run = demo.run(tmp_path / "a.safetensors")
    with torch.inference_mode():
        result = run.execute(lambda record, frames: None, lines.append)
    said = [
        line for line in lines if re.match(r"Estimate: about .*; .* for 3 clips .*, .* for 3 training steps; .* of memory", line)
    ]
    assert said == [str(result.forecast)]
    assert lines.index(said[0]) < next(number for number, line in enumerate(lines) if line.startswith("Original model's clips"))


def test_estimate_keeps_its_word(demo, tmp_path, pack, monkeypatch):
    """With model calls that take half a second each, whatever else the machine does."""
    import time

    denoise = pack.training.rollout.Rollout._denoise

    def slow(rollout, x, sigma):
        time.sleep(0.5 * len(x))
        return denoise(rollout, x, sigma)

    monkeypatch.setattr(pack.training.rollout.Rollout, "_denoise", slow)
    monkeypatch.setattr(pack.training.forecast, "SHORT", 0.0)
    marks = []
    run = demo.run(tmp_path / "a.safetensors", steps=4)
    with torch.inference_mode():
        result = run.execute(lambda record, frames: marks.append(time.monotonic()), lambda line: marks.append(time.monotonic())
                             if line.startswith("Original model's clips: 0 of") else None)  # fmt: skip
    assert result.forecast.seconds == pytest.approx(marks[-1] - marks[0], rel=0.25)


def test_memory_that_does_not_suffice_is_found_before_the_first_clip(demo, tmp_path):
    lines = []

    def fail_once(executor, *args, **kwargs):
        if torch.is_grad_enabled() and not failed:
            failed.append(1)
            raise torch.OutOfMemoryError("out of memory")
        return executor(*args, **kwargs)

    failed = []
    model = demo.model.clone()
    model.add_wrapper_with_key("diffusion_model", "fail", fail_once)
    run = demo.run(tmp_path / "a.safetensors", model=model, gradient_checkpointing="off")
    with torch.inference_mode():
        run.execute(lambda record, frames: None, lines.append)
    ran_out = next(number for number, line in enumerate(lines) if line.startswith("Memory ran out"))
    assert ran_out < next(number for number, line in enumerate(lines) if line.startswith("Original model's clips"))
    assert run.memory.option.mode == "steps" and run.state.step == 3
