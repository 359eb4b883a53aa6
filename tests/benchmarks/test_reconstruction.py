"""The DreamBooth-LoRA baseline: its loss is the one the model was trained with, and it learns."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from benchmarks.ablations.arms import BY_NAME
from benchmarks.ablations.reconstruction import ReconstructionSettings, encode_photos, flow_matching_loss, train_reconstruction
from benchmarks.ablations.world import SUBJECT, AblationWorld

SETTINGS = ReconstructionSettings(
    steps=12,
    learning_rate=5e-3,
    weight_decay=0.0,
    rank=4,
    alpha=4.0,
    seed=3,
    sampling_steps=8,
    scheduler="simple",
    prompt=SUBJECT,
)


@pytest.fixture(scope="module")
def world(pack):
    return AblationWorld(pack)


@pytest.fixture(scope="module")
def latents(world):
    return encode_photos(world.vae, F.interpolate(world.photos("Bina"), (64, 64), mode="area"))


def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_its_square():
    clean, noise = torch.randn(2, 4, 1, 3, 3), torch.randn(2, 4, 1, 3, 3)
    sigmas = torch.tensor([1.0, 0.7, 0.2, 0.0])

    def follow(error):
        def run(x, first, last):
            return x + (noise - clean + error) * (sigmas[last] - sigmas[first])

        return SimpleNamespace(sigmas=sigmas, run=run)

    for step in range(3):
        assert flow_matching_loss(follow(0.0), clean, noise, step) < 1e-10
        assert flow_matching_loss(follow(0.5), clean, noise, step).item() == pytest.approx(0.25, rel=1e-4)


def test_loss_is_the_error_of_what_the_network_itself_puts_out(world, latents):
    generator = torch.Generator().manual_seed(1)
    found = {}

    def body(rollout):
        rollout.use_prompt(0)
        clean = rollout.guider.inner_model.process_latent_in(latents.clone().to(rollout.latent))
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        sigma = rollout.sigmas[5]
        context = positive[0][0].clone().to(clean)
        with torch.no_grad():
            found["loss"] = flow_matching_loss(rollout, clean, noise, 5).item()
            network = rollout.guider.inner_model.diffusion_model
            put_out = network(
                clean + sigma * (noise - clean), (1000 * sigma).expand(len(clean)), context.expand(len(clean), -1, -1)
            )
        found["expected"] = F.mse_loss(put_out, noise - clean).item()

    import comfy.samplers

    with torch.inference_mode():
        positive = world.clip.encode_from_tokens_scheduled(world.clip.tokenize(SUBJECT))
        model = world.model.clone()
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 8)
        world.pack.training.rollout.with_rollout(model, [positive], positive, 1.0, sigmas, latents[:1] * 0, body)
    assert found["loss"] == pytest.approx(found["expected"], rel=1e-4)


def test_training_lowers_the_loss_and_leaves_a_lora_for_all_steps(world, latents, tmp_path):
    before = {name: weight.clone() for name, weight in world.model.model.state_dict().items()}
    losses = []
    train_reconstruction(
        world.pack,
        world.model,
        world.clip,
        latents,
        world.targets(BY_NAME["reconstruction"]),
        SETTINGS,
        tmp_path / "lora.safetensors",
        losses.append,
    )
    assert len(losses) == SETTINGS.steps
    info = world.pack.adapters.lora_file.load_info(tmp_path / "lora.safetensors")
    assert (info.start_percent, info.end_percent, info.steps) == (0.0, 1.0, SETTINGS.steps)
    assert all(torch.equal(weight.cpu(), before[name].cpu()) for name, weight in world.model.model.state_dict().items())

    again = []
    train_reconstruction(
        world.pack,
        world.model,
        world.clip,
        latents,
        world.targets(BY_NAME["reconstruction"]),
        SETTINGS,
        tmp_path / "again.safetensors",
        again.append,
    )
    assert losses == again


def test_learning_rate_rises_and_falls_to_zero():
    rates = [SETTINGS.rate(step) for step in range(SETTINGS.steps + 1)]
    assert rates[0] == 0.1 and max(rates) == rates[6] == 0.7 and rates[-1] == 0


def test_only_the_noise_levels_of_its_steps_are_learnt(world, latents, tmp_path, monkeypatch):
    seen, loss = [], flow_matching_loss
    monkeypatch.setattr(
        "benchmarks.ablations.reconstruction.flow_matching_loss", lambda *given: (seen.append(given[-1]), loss(*given))[1]
    )
    for start in (0.0, 0.75):
        train_reconstruction(
            world.pack,
            world.model,
            world.clip,
            latents[:1],
            world.targets(BY_NAME["reconstruction"])[:1],
            replace(SETTINGS, steps=30, start_percent=start),
            tmp_path / "lora.safetensors",
            lambda loss: None,
        )
        info = world.pack.adapters.lora_file.load_info(tmp_path / "lora.safetensors")
        assert info.start_percent == start
    assert set(seen[:30]) > {6, 7} and set(seen[30:]) == {6, 7}
