"""Exact gradients: the loss of section 4 against finite differences, through the host and through the rewards."""

import copy
from dataclasses import replace

import comfy.sd
import pytest
import torch

from devkit.gradients import step_gradient


def smooth_recognizer() -> torch.nn.Module:
    """Finite differences of a network with kinks are off by more than what is tested here."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(300, 32), torch.nn.Tanh(), torch.nn.Linear(32, 16)
    ).requires_grad_(False)


@pytest.mark.parametrize("checkpointing", ["off", "steps", "blocks"])
@pytest.mark.parametrize("style", [False, True])
def test_gradient_of_the_whole_loss_equals_finite_differences(demo, tmp_path, checkpointing, style, monkeypatch):
    """The slope is compared along the whole gradient and that of each block, with face boxes as constants, as in training."""
    model = demo.model
    if style:
        with torch.inference_mode():
            model = comfy.sd.load_lora_for_models(model, None, demo.random_lora(1), 1.0, 0.0)[0]
    still = demo.pack.demo.faces.head_face(torch.tensor([0.0, -0.1, 0.6]), 64, 64, 1.0)
    monkeypatch.setattr(demo.face_model, "find", lambda frames: [[still]] * len(frames))
    monkeypatch.setitem(demo.face_model.networks._modules, "recognizer", smooth_recognizer())

    run = demo.run(
        tmp_path / "a.safetensors", model=model, gradient_checkpointing=checkpointing, augmentation="paper", preserve_weight=0.0
    )
    run.identity = replace(run.identity, embeddings=torch.eye(16)[:3])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in run.adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    errors, block_errors = [], []

    def measure(trainer, after_step):
        parameters = list(trainer.adapter.parameters())
        start = [parameter.detach().clone() for parameter in parameters]
        gradient = [part.clone() for part in step_gradient(trainer)[1]]
        names = list(trainer.adapter.named_weights())

        def loss_at(distance, direction):
            with torch.no_grad():
                for parameter, origin, part in zip(parameters, start, direction):
                    parameter.copy_(origin + distance * part)
            return step_gradient(trainer)[0]

        def relative_error(chosen):
            parts = [part if name in chosen else torch.zeros_like(part) for name, part in zip(names, gradient)]
            norm = torch.sqrt(sum(part.double().square().sum() for part in parts)).item()
            unit = [part / norm for part in parts]
            slopes = [(loss_at(step, unit) - loss_at(-step, unit)) / (2 * step) for step in (0.01, 0.015, 0.02, 0.025)]
            return abs(sum(slopes) / len(slopes) - norm) / norm

        assert all(part.norm() > 0 for part in gradient)
        errors.append(relative_error(names))
        block_errors.extend(relative_error([name for name in names if f".blocks.{block}." in name]) for block in range(4))

    monkeypatch.setattr(demo.pack.training.trainer.Trainer, "train", measure)
    with torch.inference_mode():
        run.execute(lambda record, frames: None)
    assert errors[0] < 1e-3
    assert max(block_errors) < 5e-3  # smaller slopes in the same float32 noise


@pytest.mark.parametrize("augmentation", ["robust", "paper", "none"])
def test_gradient_of_the_identity_loss_reaches_the_pixels_exactly(demo, augmentation):
    """The gradient in the pixels of the real recognizer, crop and augmentation, in double precision."""
    face_model = copy.copy(demo.face_model)
    face_model.networks = copy.deepcopy(demo.face_model.networks).double()
    embeddings = torch.nn.functional.normalize(demo.identity.embeddings.double().clone(), dim=-1)
    identity = replace(demo.identity, embeddings=embeddings, face_model=face_model)
    face = demo.pack.demo.faces.head_face(torch.tensor([0.0, -0.1, 0.6]), 64, 64, 1.0)
    frames = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    score = demo.pack.rewards.identity.identity_consistency_loss

    def loss(pixels):
        return score(pixels, [face, face], identity, augmentation, torch.Generator().manual_seed(1)).loss

    pixels = frames.clone().requires_grad_(True)
    loss(pixels).backward()
    direction = pixels.grad / pixels.grad.norm()
    step = 1e-4
    slope = (loss(frames + step * direction) - loss(frames - step * direction)) / (2 * step)
    assert slope.item() == pytest.approx(pixels.grad.norm().item(), rel=1e-3)
