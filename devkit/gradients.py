"""The gradient of a tiny model's rollout, and its distance from finite differences, for tests and for `make gradients`."""

from collections.abc import Callable
from dataclasses import dataclass

STEPS, GRADIENT_STEPS, START = 8, 2, 0.75
DISTANCES = (0.05, 0.07, 0.09, 0.11, 0.13)


@dataclass
class Case:
    """A MODEL to train on, which is not changed, CONDITIONING for both prompts, and the shape of the latents."""

    model: object
    positive: list
    negative: list
    cfg: float
    shape: tuple[int, ...]


def random_adapter(pack, model, seed: int = 1, size: float = 0.05):
    """A LowRankAdapter that visibly acts on every target of ``model``."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False), torch.no_grad():
        adapter = pack.adapters.low_rank.LowRankAdapter.create(
            pack.adapters.architectures.find_targets(model.model), 4, 4.0, seed
        )
        for parameter in adapter.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * size)
    return adapter


def in_window(pack, case: Case, checkpointing: str, body: Callable) -> None:
    """Call ``body(adapter, loss)`` inside the host's guider; ``loss()`` rolls the window out with the adapter."""
    import comfy.samplers
    import torch

    model = pack.host.autograd.static_clone(case.model, "model")
    adapter = random_adapter(pack, model)
    pack.adapters.late_step.LateStepInjection(adapter.residuals(), START, 1.0).attach(model)
    architecture = pack.adapters.architectures.architecture_of(model.model)
    pack.host.checkpointing.BlockCheckpointing(architecture, checkpointing).attach(model)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)

    def inside(rollout) -> None:
        rollout.use_prompt(0)
        first = STEPS - GRADIENT_STEPS
        with torch.no_grad():
            switch = rollout.run(rollout.start(3), 0, first)
        weight = torch.randn(switch.shape, generator=torch.Generator().manual_seed(5)).to(switch)
        weight = weight * (100 / weight.norm())

        def loss():
            latents = rollout.run(switch, first, STEPS, checkpointing != "off")
            return (latents.double() * weight).sum()

        with pack.host.checkpointing.mutations_allowed(architecture):
            body(adapter, loss)

    pack.training.rollout.with_rollout(model, [case.positive], case.negative, case.cfg, sigmas, torch.zeros(case.shape), inside)


def relative_error(pack, case: Case, checkpointing: str) -> float:
    """The relative error of the slope along the gradient, against central differences."""
    import torch

    errors = []

    def measure(adapter, loss) -> None:
        loss().backward()
        parameters = list(adapter.parameters())
        start = [parameter.detach().clone() for parameter in parameters]
        gradient = [parameter.grad.clone() for parameter in parameters]
        if not all(part.norm() > 0 for part in gradient):
            errors.append(float("inf"))

        @torch.no_grad()
        def loss_at(distance: float, direction: list) -> float:
            for parameter, origin, part in zip(parameters, start, direction):
                parameter.copy_(origin + distance * part)
            return loss().item()

        for chosen in (slice(None), slice(1, None, 2)):
            direction = [torch.zeros_like(part) for part in gradient]
            direction[chosen] = gradient[chosen]
            norm = torch.sqrt(sum(part.double().square().sum() for part in direction)).item()
            unit = [part / norm for part in direction]
            slopes = [(loss_at(step, unit) - loss_at(-step, unit)) / (2 * step) for step in DISTANCES]
            errors.append(abs(extrapolated(DISTANCES, slopes) - norm) / norm)

    in_window(pack, case, checkpointing, measure)
    return max(errors)


def step_gradient(trainer) -> tuple[float, list]:
    """The loss and the gradient of the trainer's coming step, without the update."""
    trainer._update = lambda loss: None
    try:
        record, _ = trainer.memory.retrying(trainer.step)
    finally:
        del trainer._update
    return record.loss, [parameter.grad for parameter in trainer.adapter.parameters()]


def extrapolated(distances: tuple[float, ...], slopes: list[float]) -> float:
    """The value at distance 0 of a straight line through the slopes, over the square of their distances.

    Central differences are even in the distance, hence the square. The rounding error of a slope is inversely proportional
    to its distance, which gives its weight in the fit.
    """
    squares = [distance**2 for distance in distances]
    total = sum(squares)  # a slope's variance is one over its squared distance, which is its weight
    mean_square = sum(square * square for square in squares) / total
    mean_slope = sum(square * slope for square, slope in zip(squares, slopes)) / total
    spread = sum(square * (square - mean_square) ** 2 for square in squares)
    rise = sum(square * (square - mean_square) * (slope - mean_slope) for square, slope in zip(squares, slopes)) / spread
    return mean_slope - rise * mean_square


def gradient(pack, case: Case, checkpointing: str):
    """The gradient as one vector."""
    import torch

    found = []

    def take(adapter, loss) -> None:
        loss().backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in adapter.parameters()]))

    in_window(pack, case, checkpointing, take)
    return found[0]
