"""Every random choice of a run, decided by its seed and the step alone: a resumed run repeats it exactly."""

import math
from dataclasses import dataclass

import torch

MOST_VISITS = 20
"""Of a clip by training. At 30 sampling steps and K 4 a clip costs 1.5 training steps: all of them add 8 percent to a run."""


def noises_for(steps: int, prompts: int) -> int:
    """The fewest initial noises a prompt with which ``steps`` visit no pair more than MOST_VISITS times on average."""
    return max(1, math.ceil(steps / (prompts * MOST_VISITS)))


@dataclass(frozen=True)
class Draws:
    """seed: of the run. prompts: how many are trained on. noises: initial noises a prompt."""

    seed: int
    prompts: int
    noises: int

    def generator(self, step: int) -> torch.Generator:
        """For everything random in training step ``step``."""
        return torch.Generator().manual_seed(self._seed(step))

    def clip_key(self, generator: torch.Generator) -> tuple[int, int]:
        """Simulated prompt augmentation (section 4.3): c ~ p(c), z_T ~ N(0, I), as (prompt, noise seed).

        The first draw of a step. Noise seeds are never those of a step's other draws, nor the preview's.
        """
        prompt = int(torch.randint(self.prompts, (1,), generator=generator))
        noise = int(torch.randint(self.noises, (1,), generator=generator))
        return prompt, self._seed(2**40 + noise * self.prompts + prompt)

    def clip_keys(self, first_step: int, last_step: int) -> list[tuple[int, int]]:
        """Keys of the different clips of steps ``first_step`` .. ``last_step - 1``, in the order of their first use."""
        return list(dict.fromkeys(self.clip_key(self.generator(step)) for step in range(first_step, last_step)))

    def _seed(self, index: int) -> int:
        return (self.seed * 1_000_003 + index) % 2**63
