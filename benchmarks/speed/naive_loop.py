"""The paper's training loop, written plainly: nothing is remembered, and every step samples two whole videos.

A step draws a prompt and an initial noise, samples the original model's video (the adapter is off) and the target
model's video from it, both from pure noise to the end, decodes M frames of each, and takes one AdamW step on Eq. 5.

By default the gradient reaches through all steps in which the adapter acts. Nothing before the window depends on the
adapter, so this is the whole gradient of Eq. 5. ``reach`` cuts it to that many last steps. Activations are recomputed in
backward, one sampling step at a time, as nothing else fits a real card. Single frames are decoded and not whole clips, and
the losses are our own functions: the loop differs in what it repeats, and in nothing else.
"""

from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor


@dataclass
class NaiveLoop:
    """The loop with the model, rewards and settings of our ``trainer``, whose bank it does not use.

    pack: the loaded pack. first_late_step: the number of the first sampling step in the window. reach: how many of the
    last sampling steps carry gradient.
    """

    pack: ModuleType
    trainer: object
    first_late_step: int
    reach: int

    def __post_init__(self):
        settings = self.trainer.settings
        self.optimizer = torch.optim.AdamW(
            self.trainer.adapter.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def step(self, generator: torch.Generator) -> None:
        """Make one training step."""
        self.optimizer.zero_grad()
        loss = self.loss(generator)
        with self.pack.host.checkpointing.mutations_allowed(self.trainer.memory.parts.architecture):
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trainer.adapter.parameters(), 1.0)
        self.optimizer.step()

    def loss(self, generator: torch.Generator) -> Tensor:
        """L_train of Eq. 5, with gradient. Raises ValueError if no frame shows a face."""
        trainer, settings = self.trainer, self.trainer.settings
        prompt, noise = trainer.draws.clip_key(generator)
        trainer.rollout.use_prompt(prompt)
        start = trainer.rollout.start(noise)
        original, target = self._original(start), self._target(start)

        decoder = trainer.memory.decoder
        count = max(settings.num_frames, settings.identity_frames)
        frames = torch.randperm(decoder.count(target), generator=generator)[:count].tolist()
        shown = decoder.decode(target, frames)
        with torch.no_grad():
            wanted = decoder.decode(original, frames)
        return self.rewards(shown, wanted, prompt, generator)

    def rewards(self, shown: Tensor, wanted: Tensor, prompt: int, generator: torch.Generator) -> Tensor:
        """Eq. 5 for the frames [M, 3, H, W] in 0..1 of the target model, ``shown``, and of the original model, ``wanted``."""
        objective = self.trainer.objective
        find = self.pack.rewards.faces.largest_faces
        face_model = objective.identity.face_model
        heads = [theirs or own for theirs, own in zip(find(face_model, wanted), find(face_model, shown))]
        icr = objective.icr(shown, heads, generator)
        if icr is None:
            raise ValueError("None of the drawn frames shows a face.")
        with torch.no_grad():
            scores = objective.scorer.score(wanted, prompt)
        scr = objective.scr(shown, scores, prompt)
        return objective.total(icr.loss, scr, objective.preservation(shown, wanted, heads))

    @torch.no_grad()
    def _original(self, start: Tensor) -> Tensor:
        rollout = self.trainer.rollout
        self.trainer.bank.teacher.injection.enabled = False
        try:
            return rollout.to_vae(rollout.run(start, 0, rollout.steps))
        finally:
            self.trainer.bank.teacher.injection.enabled = True

    def _target(self, start: Tensor) -> Tensor:
        rollout = self.trainer.rollout
        first_with_gradient = max(self.first_late_step, rollout.steps - self.reach)
        with torch.no_grad():
            x = rollout.run(start, 0, first_with_gradient)
        return rollout.to_vae(rollout.run(x, first_with_gradient, rollout.steps, checkpointing=True))
