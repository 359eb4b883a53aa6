"""Small gradients in half precision, and weights that the host would rather stream than hold."""

import comfy.model_management
import comfy.sampler_helpers
import torch


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
