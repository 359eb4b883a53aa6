"""The baseline that the paper argues against: DreamBooth-LoRA, trained to reconstruct the reference photos.

The adapter, its layers and its file are those of our own training. The loss is the one that flow-matching models are
trained with, on the photos as videos of one frame, at the noise levels of the sampling steps in which the adapter acts,
which are usually all of them.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

WARMUP_STEPS = 10


@dataclass(frozen=True)
class ReconstructionSettings:
    """The settings of a reconstruction.

    steps: how many optimizer steps there are, each on all photos at one noise level. prompt: what the photos are said to
    show. sampling_steps, scheduler: they give the noise levels, of which those after ``start_percent`` are learnt. The
    learning rate rises for WARMUP_STEPS and falls to zero over the second half, as in our training.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    rank: int
    alpha: float
    seed: int
    sampling_steps: int
    scheduler: str
    prompt: str
    start_percent: float = 0.0

    def rate(self, step: int) -> float:
        """The share of the learning rate that step ``step``, counted from 0, has."""
        return min(1.0, (step + 1) / WARMUP_STEPS) * min(1.0, 2 * (1 - step / self.steps))


def flow_matching_loss(rollout, clean: Tensor, noise: Tensor, step: int) -> Tensor:
    """The mean squared error of the velocity that the model predicts at the noise level of sampling step ``step``.

    clean: latents as the model sees them, [N, ...]. noise: standard normal, of the same shape. The straight line between
    both is (1 - sigma) clean + sigma noise, and its velocity is noise - clean.
    """
    sigma, next_sigma = rollout.sigmas[step], rollout.sigmas[step + 1]
    noisy = (1 - sigma) * clean + sigma * noise
    velocity = (rollout.run(noisy, step, step + 1) - noisy) / (next_sigma - sigma)
    return F.mse_loss(velocity, noise - clean)


def encode_photos(vae, photos: Tensor) -> Tensor:
    """The VAE's latents [N, C, 1, h, w] of photos [N, 3, H, W] in 0..1, which have the size of the video."""
    with torch.inference_mode():
        return torch.cat([vae.encode(photo[None].movedim(1, -1)) for photo in photos])


def train_reconstruction(
    pack,
    model,
    clip,
    latents: Tensor,
    targets: list,
    settings: ReconstructionSettings,
    path: Path,
    after_step: Callable[[float], None],
) -> None:
    """Train a LoRA on ``latents`` (of ``encode_photos``) and save it at ``path``; ``after_step`` gets each loss.

    pack: the package, see comfy_process. model: a MODEL of a flow-matching family, which is not changed. targets: the
    linears that get a residual.
    """
    import comfy.samplers

    as_normal_tensors = pack.host.autograd.as_normal_tensors
    model = pack.host.autograd.static_clone(model, "model")
    schedule = model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(schedule, settings.scheduler, settings.sampling_steps)
    with torch.inference_mode(False):
        adapter = pack.adapters.low_rank.LowRankAdapter.create(targets, settings.rank, settings.alpha, settings.seed)
    pack.adapters.late_step.LateStepInjection(adapter.residuals(), settings.start_percent, 1.0).attach(model)
    window = pack.adapters.late_step.SigmaWindow.from_percent(schedule, settings.start_percent, 1.0)
    first = pack.training.schedule.first_late_step(sigmas, window, settings.start_percent, settings.scheduler)
    with torch.inference_mode():
        positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (settings.prompt, ""))

    def body(rollout) -> None:
        clean = rollout.guider.inner_model.process_latent_in(as_normal_tensors(latents).to(rollout.latent))
        generator = torch.Generator().manual_seed(settings.seed)
        optimizer = torch.optim.AdamW(adapter.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, settings.rate)
        rollout.use_prompt(0)
        for _ in range(settings.steps):
            step = int(torch.randint(first, rollout.steps, (1,), generator=generator))
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            loss = flow_matching_loss(rollout, clean, noise, step)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
            optimizer.step()
            falling.step()
            after_step(loss.item())

    pack.training.rollout.with_rollout(model, [positive], negative, 1.0, sigmas, latents[:1] * 0, body)
    _save(pack, model, adapter, targets, settings, window.start, path)


def _save(pack, model, adapter, targets, settings: ReconstructionSettings, switch_sigma: float, path: Path) -> None:
    info = pack.adapters.lora_file.AdapterInfo(
        base_model=pack.adapters.architectures.architecture_of(model.model).name, end_percent=1.0,
        start_percent=settings.start_percent, switch_sigma=switch_sigma,
        rank=adapter.rank, alpha=adapter.alpha, trigger_word="sks", steps=settings.steps, settings=asdict(settings),
    )  # fmt: skip
    keys = pack.adapters.host_lora.file_keys(model.model, [target.name for target in targets])
    tensors = pack.adapters.lora_file.to_state_dict(adapter, targets, keys)
    pack.adapters.lora_file.save_lora(path, pack.adapters.lora_file.LateStepLora(tensors, info))
