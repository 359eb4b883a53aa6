"""Small gradients in half precision, and weights that the host would rather stream than hold."""

import comfy.model_management
import comfy.sampler_helpers
import pytest
import torch

from devkit.demo_world import PROMPTS


def gradients(run):
    return torch.cat([parameter.grad.flatten() for parameter in run.adapter.parameters()])


def test_half_precision_models_get_a_scaled_loss_and_unscaled_gradients(demo, tmp_path, monkeypatch):
    plain = demo.train(tmp_path / "a.safetensors", steps=1)
    backward = []
    original = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss, *args: (backward.append(loss.item()), original(loss, *args)))
    monkeypatch.setattr(demo.pack.training.rollout.Rollout, "dtype", torch.float16)
    scaled = demo.train(tmp_path / "b.safetensors", steps=1)
    assert backward[-1] == 2.0**14 * scaled.state.history[0].loss
    assert (gradients(scaled) - gradients(plain)).norm() < 1e-5 * gradients(plain).norm()


class Overflowing:
    """A run in half precision whose gradient is infinite in the steps ``at``, and the scale that each step uses."""

    def __init__(self, pack, monkeypatch, at):
        self.scales = []
        backward = pack.training.memory.memory.Memory.backward

        def overflow(memory, loss):
            step = len(self.scales)
            self.scales.append(loss.item())
            backward(memory, loss * float("inf") if step in at else loss)

        monkeypatch.setattr(pack.training.rollout.Rollout, "dtype", torch.float16)
        monkeypatch.setattr(pack.training.memory.memory.Memory, "backward", overflow)

    def factors(self, run):
        return [scaled / record.loss for scaled, record in zip(self.scales, run.state.history)]


def test_a_step_that_overflows_is_left_out_and_the_scale_halved(demo, tmp_path, pack, monkeypatch):
    overflowing = Overflowing(pack, monkeypatch, at=(1,))
    weights = []

    def remember(record, preview):
        weights.append(torch.cat([parameter.detach().flatten() for parameter in run.adapter.parameters()]))

    run = demo.run(tmp_path / "a.safetensors", steps=4)
    with torch.inference_mode():
        run.execute(remember)
    assert torch.equal(weights[1], weights[0]) and not torch.equal(weights[2], weights[1])
    assert overflowing.factors(run) == pytest.approx([2.0**14, 2.0**14, 2.0**13, 2.0**13])


def test_a_resumed_run_goes_on_with_the_scale(demo, tmp_path, pack, monkeypatch):
    path = tmp_path / "a.safetensors"
    Overflowing(pack, monkeypatch, at=(0,))
    demo.train(path, steps=2)
    monkeypatch.undo()
    again = Overflowing(pack, monkeypatch, at=())
    run = demo.train(path, resume=True, steps=3)
    assert again.scales[0] / run.state.history[2].loss == pytest.approx(2.0**13)


def test_ten_overflows_in_a_row_end_the_run_and_nine_do_not(demo, tmp_path, pack, monkeypatch):
    prompts = [PROMPTS[0], PROMPTS[-1]]
    Overflowing(pack, monkeypatch, at=range(9))
    assert demo.train(tmp_path / "a.safetensors", steps=10, gradient_steps=1, prompts=prompts).state.step == 10
    monkeypatch.undo()
    Overflowing(pack, monkeypatch, at=range(10))
    with pytest.raises(pack.training.trainer.TrainingFailure, match="no longer a number at step 10; lower learning_rate"):
        demo.train(tmp_path / "b.safetensors", steps=12, gradient_steps=1, prompts=prompts)


def test_training_loads_the_whole_model(demo, tmp_path, monkeypatch):
    asked = []
    original = comfy.model_management.load_models_gpu

    def load(models, *args, **options):
        asked.append(options.get("force_full_load", False))
        return original(models, *args, **options)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", load)
    demo.train(tmp_path / "a.safetensors", steps=1, semantic_weight=0.0)
    assert asked[-1] is True
    demo.sample(demo.model)
    assert asked[-1] is False
