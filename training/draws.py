"""Every random choice of a run. Seed and step alone decide it, so a resumed run draws exactly what it would have drawn."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Draws:
    """The draws of a run with ``seed`` on so many ``prompts``, with so many initial ``noises`` for each."""

    seed: int
    prompts: int
    noises: int

    def generator(self, step: int) -> torch.Generator:
        """The generator that every random choice of training step ``step`` is drawn from."""
        return torch.Generator().manual_seed(self._seed(step))

    def clip_key(self, generator: torch.Generator) -> tuple[int, int]:
        """Simulated prompt augmentation (section 4.3): c ~ p(c) and z_T ~ N(0, I), as (prompt, noise seed).

        It has to be the first draw of a step. Noise seeds differ from the seeds of the generators and from the preview's.
        """
        prompt = int(torch.randint(self.prompts, (1,), generator=generator))
        noise = int(torch.randint(self.noises, (1,), generator=generator))
        return prompt, self._seed(2**40 + noise * self.prompts + prompt)

    def clip_keys(self, first_step: int, last_step: int) -> list[tuple[int, int]]:
        """Keys of every clip that the steps ``first_step`` .. ``last_step - 1`` draw, in the order of their first use."""
        return list(dict.fromkeys(self.clip_key(self.generator(step)) for step in range(first_step, last_step)))

    def _seed(self, index: int) -> int:
        return (self.seed * 1_000_003 + index) % 2**63
