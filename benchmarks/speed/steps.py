"""What a training step costs in the paper's loop and in ours, and what no loop can do without."""

from collections.abc import Callable

import torch

from benchmarks.speed.clock import in_turns, medians, ratio, rounded
from benchmarks.speed.naive_loop import NaiveLoop
from benchmarks.speed.world import inside_training

RUN_STEPS = 800  # the paper's for AnimateDiff
RUN_CLIPS = 50  # one for each of the bundled prompts
SHORT = 16  # sampling steps, whose window is as long as the gradient is deep


def training_steps(world, rounds: int) -> dict:
    """The processor seconds of a step at 50 sampling steps, and how many of our steps one of the paper's takes."""
    found = {}

    def body(trainer, one_step) -> None:
        window = trainer.rollout.steps - trainer.first_late_step
        depth = trainer.settings.gradient_steps
        loops = [NaiveLoop(world.pack, trainer, trainer.first_late_step, reach) for reach in (window, depth)]
        naive, shallow = (lambda loop=loop: loop.step(torch.Generator().manual_seed(0)) for loop in loops)
        clip = next(iter(trainer.bank.store.values))
        one_step()
        jobs = {"naive": naive, "ours": one_step, "clip": lambda: resampled(trainer, clip)}
        turns = in_turns(jobs, rounds, warm_up=0)
        seconds = medians(turns) | medians(in_turns({"naive, same depth": shallow}, 1, warm_up=0))
        ours, bank = seconds["ours"] * RUN_STEPS, seconds["clip"] * RUN_CLIPS
        found.update(
            seconds=seconds,
            sampling_steps=trainer.rollout.steps,
            window_steps=window,
            gradient_steps=depth,
            naive_over_ours_step=rounded(ratio(turns, "naive", "ours")),
            naive_same_depth_over_ours_step=rounded(seconds["naive, same depth"] / seconds["ours"]),
            naive_over_ours_800_steps=rounded(seconds["naive"] * RUN_STEPS / (ours + bank)),
        )

    inside_training(world, body)
    return found


def resampled(trainer, clip: tuple[int, int]) -> None:
    """Do the bank's work for one clip."""
    del trainer.bank.store.values[clip]
    trainer.bank.clip(clip)


def over_floor(world, rounds: int) -> dict:
    """A step at 16 sampling steps, all K of whose window carry gradient, compared with its floor.

    The floor is the bare diffusion model forward, forward again and backward for each of these steps, and one frame
    through the bare VAE and back. As a step decodes and scores M = 4 frames, not everything above the floor is waste.
    """
    found = {}

    def body(trainer, one_step) -> None:
        window = trainer.rollout.steps - trainer.first_late_step
        if window != trainer.settings.gradient_steps:
            raise ValueError(f"The window has {window} steps and not {trainer.settings.gradient_steps}.")
        model, frame = bare_model(world.pack, trainer), bare_frame(trainer)

        def floor() -> None:
            for _ in range(window):
                model()
            frame()

        jobs = {"ours": one_step, "floor": floor, "frame": frame, "rewards": rewards_of(world.pack, trainer)}
        seconds = in_turns(jobs, rounds)
        found.update(
            seconds=medians(seconds),
            sampling_steps=trainer.rollout.steps,
            window_steps=window,
            ours_over_floor=rounded(ratio(seconds, "ours", "floor")),
            rewards_share_at_most=rounded(ratio(seconds, "rewards", "ours")),
        )

    inside_training(world, body, sampling_steps=SHORT)
    return found


def bare_model(pack, trainer) -> Callable[[], None]:
    """A call of the diffusion model in the window, as the host makes it: forward, forward again, and backward."""
    network = trainer.rollout.guider.inner_model.diffusion_model
    args, options = _call_of(trainer, network)
    x, *rest = args
    start = x.detach().clone().requires_grad_(True)

    def run():
        return network(start.clone(), *rest, **options)

    def step() -> None:
        with torch.no_grad():
            run()
        with pack.host.checkpointing.mutations_allowed(trainer.memory.parts.architecture):
            with pack.host.autograd.differentiable_kernels():
                output = run()
            torch.autograd.grad(output.square().mean(), start)

    return step


def bare_frame(trainer) -> Callable[[], None]:
    """A frame in the middle of the clip, through the VAE and back."""
    clip = next(iter(trainer.bank.store.values.values()))
    latents = trainer.rollout.to_vae(clip.switch_latents.to(trainer.rollout.latent)).detach()
    frame = trainer.memory.decoder.count(latents) // 2

    def step() -> None:
        start = latents.clone().requires_grad_(True)
        torch.autograd.grad(trainer.memory.decoder.decode(start, [frame]).square().mean(), start)

    return step


def rewards_of(pack, trainer) -> Callable[[], None]:
    """Faces, augmentation, recognizer and scorer on M frames, and back to the pixels.

    The original model's frames are looked at too, of which the bank relieves a real step.
    """
    loop = NaiveLoop(pack, trainer, trainer.first_late_step, 1)
    clip = next(iter(trainer.bank.store.values.values()))
    frames = clip.frames[: trainer.settings.num_frames].to(trainer.rollout.latent)

    def step() -> None:
        shown = frames.clone().requires_grad_(True)
        loss = loop.rewards(shown, frames, clip.prompt, torch.Generator().manual_seed(0))
        torch.autograd.grad(loss, shown)

    return step


def _call_of(trainer, network) -> tuple:
    """The arguments that the host gives ``network`` in the last sampling step."""
    seen = []
    hook = network.register_forward_pre_hook(lambda module, args, options: seen.append((args, options)), with_kwargs=True)
    try:
        with torch.no_grad():
            clip = next(iter(trainer.bank.store.values.values()))
            trainer.rollout.use_prompt(clip.prompt)
            last = trainer.rollout.steps - 1
            trainer.rollout.run(clip.switch_latents.to(trainer.rollout.latent), last, last + 1)
    finally:
        hook.remove()
    return seen[0]
