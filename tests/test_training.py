"""The loop of section 4 on the demo model: exact gradients, a bank that only saves time, runs that never lose work."""

import comfy.model_management
import comfy.sd
import pytest
import torch
from demo_world import PROMPTS


def losses(run):
    return [record.loss for record in run.state.history]


def parameters(run):
    return torch.cat([parameter.detach().flatten() for parameter in run.adapter.parameters()])


def test_rollout_equals_late_step_lora_in_the_core_sampler(demo, tmp_path):
    run = demo.train(tmp_path / "a.safetensors", steps=5)
    late = demo.apply(demo.model, run.lora(), start=-1.0, end=-1.0)

    def video(model):
        return demo.vae.decode(demo.sample(model, PROMPTS[-1], run.settings.seed))[0].movedim(-1, 1)

    assert (video(late) - run.after).abs().max() < 1e-4
    assert (video(demo.model) - run.before).abs().max() < 1e-4
    assert (run.after - run.before).abs().max() > 1e-2


def test_bank_changes_speed_only(demo, tmp_path):
    with_bank = demo.train(tmp_path / "a.safetensors", steps=6)
    without = demo.train(tmp_path / "b.safetensors", steps=6, remember_teacher=False)
    assert losses(without) == pytest.approx(losses(with_bank), rel=1e-6)
    assert torch.allclose(parameters(without), parameters(with_bank), atol=1e-7)


def test_checkpointing_changes_memory_only(demo, tmp_path):
    plain = demo.train(tmp_path / "a.safetensors")
    checkpointed = demo.train(tmp_path / "b.safetensors", gradient_checkpointing=True)
    assert losses(checkpointed) == pytest.approx(losses(plain), rel=1e-6)
    assert torch.allclose(parameters(checkpointed), parameters(plain), atol=1e-7)


def test_cancelled_run_resumes_bit_for_bit(demo, tmp_path):
    whole = demo.train(tmp_path / "whole.safetensors", steps=5)

    def cancel_after_two(record, frames):
        if cancelled.state.step == 2:
            comfy.model_management.interrupt_current_processing()

    path = tmp_path / "cancelled.safetensors"
    cancelled = demo.run(path, steps=5)
    with torch.inference_mode(), pytest.raises(comfy.model_management.InterruptProcessingException):
        cancelled.execute(cancel_after_two)
    assert cancelled.state.step == 2 and path.exists()

    resumed = demo.train(path, resume=True, steps=5)
    assert losses(resumed) == losses(whole)
    assert torch.equal(parameters(resumed), parameters(whole))
    assert torch.equal(resumed.after, whole.after)


def test_cancel_takes_effect_within_one_model_call(demo, tmp_path):
    calls = []

    def count_and_cancel(executor, *args, **kwargs):
        calls.append(1)
        if len(calls) == 5:
            comfy.model_management.interrupt_current_processing()
        return executor(*args, **kwargs)

    model = demo.model.clone()
    model.add_wrapper_with_key("diffusion_model", "count", count_and_cancel)
    run = demo.run(tmp_path / "a.safetensors", model=model)
    with torch.inference_mode(), pytest.raises(comfy.model_management.InterruptProcessingException):
        run.execute(lambda record, frames: None)
    assert len(calls) == 5


def test_training_leaves_model_and_host_as_they_were(demo, tmp_path):
    weights = {name: value.clone() for name, value in demo.model.model.state_dict().items()}
    expected = demo.sample(demo.model)

    def fail(record, frames):
        raise RuntimeError("in the callback")

    with pytest.raises(RuntimeError, match="in the callback"):
        demo.train(tmp_path / "a.safetensors", after_step=fail)
    demo.train(tmp_path / "b.safetensors")
    assert comfy.model_management.in_training is False
    assert torch.equal(demo.sample(demo.model), expected)
    for name, value in demo.model.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_error_in_a_callback_keeps_the_finished_step(demo, tmp_path, pack):
    def fail(record, frames):
        raise RuntimeError("in the callback")

    path = tmp_path / "a.safetensors"
    with pytest.raises(RuntimeError, match="in the callback"):
        demo.train(path, after_step=fail)
    assert pack.adapters.lora_file.load_info(path).steps == 1
    assert [entry.suffix for entry in sorted(tmp_path.iterdir())] == [".pvstate", ".safetensors"]


def test_loss_that_is_no_number_stops_and_keeps_the_last_good_step(demo, tmp_path, pack):
    def poison(record, frames):
        if run.state.step == 2:
            run.identity.embeddings.fill_(float("nan"))

    path = tmp_path / "a.safetensors"
    run = demo.run(path, steps=5)
    run.identity = type(run.identity)(run.identity.embeddings.clone(), run.identity.crops, demo.face_model, ())
    with torch.inference_mode(), pytest.raises(pack.training.trainer.TrainingFailure, match="lower learning_rate"):
        run.execute(poison)
    assert pack.adapters.lora_file.load_info(path).steps == 2
    assert all(torch.isfinite(value).all() for value in pack.adapters.lora_file.load_lora(path).values())


def test_window_without_a_step_is_refused(demo, tmp_path):
    with pytest.raises(ValueError, match="start_percent: none of the 8 sampling steps lies after 0.99"):
        demo.run(tmp_path / "a.safetensors", start_percent=0.99)


def test_seed_decides_everything(demo, tmp_path):
    first, again = demo.train(tmp_path / "a.safetensors"), demo.train(tmp_path / "b.safetensors")
    other = demo.train(tmp_path / "c.safetensors", seed=8)
    assert losses(again) == losses(first) != losses(other)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("style", [False, True])
def test_gradient_of_the_whole_loss_equals_finite_differences(demo, tmp_path, checkpointing, style, monkeypatch):
    """Along the gradient itself; the face boxes are held still, as the gradient holds them."""
    model = demo.model
    if style:
        with torch.inference_mode():
            model = comfy.sd.load_lora_for_models(model, None, demo.random_lora(1), 1.0, 0.0)[0]
    run = demo.run(tmp_path / "a.safetensors", model=model, gradient_checkpointing=checkpointing, augmentation="paper")
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for parameter in run.adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)

    trainer_class, results = demo.pack.training.trainer.Trainer, {}

    still = demo.pack.demo.faces.head_face(torch.tensor([0.0, -0.1, 0.6]), 64, 64, 1.0)
    monkeypatch.setattr(demo.face_model, "find", lambda frames: [[still]] * len(frames))

    def measure(trainer, after_step):
        def loss():
            return trainer.loss(torch.Generator().manual_seed(0))[0]

        loss().backward()
        gradient = [parameter.grad.clone() for parameter in trainer.adapter.parameters()]
        norm = torch.sqrt(sum((g.double() ** 2).sum() for g in gradient)).item()
        step = 2e-2

        def move(distance):
            with torch.no_grad():
                for parameter, g in zip(trainer.adapter.parameters(), gradient):
                    parameter.add_(g, alpha=distance / norm)

        with torch.no_grad():
            move(step)
            above = loss().double()
            move(-2 * step)
            below = loss().double()
        results["relative"] = abs((above - below).item() / (2 * step) - norm) / norm

    monkeypatch.setattr(trainer_class, "train", measure)
    with torch.inference_mode():
        run.execute(lambda record, frames: None)
    assert results["relative"] < 1e-3
