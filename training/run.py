"""One training run: prompts in, a saved late-step LoRA out.

Encodes the prompts, enters the host's guider, hands the loop to the trainer,
and keeps the newest adapter and optimizer state on disk whatever happens.
"""

from dataclasses import asdict, replace
from pathlib import Path

import comfy.samplers
import torch
from torch import Tensor

from ..adapters.architectures import architecture_of, find_targets
from ..adapters.late_step import LateStepInjection, SigmaWindow
from ..adapters.lora_file import AdapterInfo, LateStepLora, from_state_dict, load_lora, save_lora, to_state_dict
from ..adapters.low_rank import LowRankAdapter
from ..rewards.faces import Identity
from ..rewards.semantic import SemanticReward
from .frame_decoder import FrameDecoder
from .host_autograd import revive
from .rollout import Rollout, with_rollout
from .settings import TrainingSettings
from .state import TrainingState, load_state, save_state, state_path
from .teacher_bank import TeacherBank
from .trainer import AfterStep, Trainer

WINDOW_END = 1.0


class TrainingRun:
    """Settings, state and results of one run.

    prompts: the last one is never trained on; ``before`` and ``after`` show it
    ([F, 3, H, W] in 0..1). latent: zeros in the video's latent shape, batch 1.
    resume: go on with the adapter and the state at ``lora_path``.
    Raises ValueError where input and settings cannot work together.
    """

    def __init__(
        self,
        *,
        model,
        clip,
        vae,
        identity: Identity,
        semantic_reward: SemanticReward | None,
        prompts: list[str],
        negative_prompt: str,
        latent: Tensor,
        settings: TrainingSettings,
        trigger_word: str,
        lora_path: Path,
        resume: bool,
        save_every: int,
        remember_teacher: bool = True,
    ):
        self.model = model.clone(disable_dynamic=True) if model.is_dynamic() else model.clone()
        self.clip = clip
        self.decoder = FrameDecoder(vae)
        self.semantic_reward = semantic_reward
        self.prompts = prompts
        self.negative_prompt = negative_prompt
        self.latent = latent
        self.settings = settings
        self.trigger_word = trigger_word
        self.lora_path = lora_path
        self.save_every = save_every
        self.remember_teacher = remember_teacher
        self.before: Tensor | None = None
        self.after: Tensor | None = None

        self.window = SigmaWindow.from_percent(self.model, settings.start_percent, WINDOW_END)
        self.sigmas = comfy.samplers.calculate_sigmas(
            self.model.get_model_object("model_sampling"), settings.scheduler, settings.sampling_steps
        )
        self.first_late_step = self._first_late_step()
        with torch.inference_mode(False):
            self.identity = replace(identity, embeddings=revive(identity.embeddings))
            self.state, self.adapter = self._resumed() if resume else self._fresh()
        self.injection = LateStepInjection(self.adapter.residuals(), self.window)
        self.injection.attach(self.model)

    def execute(self, after_step: AfterStep) -> None:
        """Train to ``settings.steps``; ``after_step`` is told of every step once it is safe.

        Whatever ends the run early, the adapter and the optimizer state of the last
        finished step are on disk.
        """
        device = self.model.load_device
        self.adapter.to(device)
        self.identity.face_model.to(device)
        if self.semantic_reward is not None:
            self.semantic_reward.to(device)
        with torch.inference_mode(False), torch.no_grad():
            positives = [self._encode(prompt) for prompt in self.prompts]
            negative = self._encode(self.negative_prompt)

        def body(rollout: Rollout) -> None:
            self.decoder.prepare()
            with self.decoder.frozen():
                self._train(rollout, after_step)

        with_rollout(self.model, positives, negative, self.settings.cfg, self.sigmas, self.latent, body)

    def lora(self) -> LateStepLora:
        """The adapter as it stands, with its window and settings."""
        info = AdapterInfo(
            base_model=architecture_of(self.model.model).name,
            start_percent=self.settings.start_percent,
            end_percent=WINDOW_END,
            switch_sigma=self.window.start,
            rank=self.adapter.rank,
            alpha=self.adapter.alpha,
            trigger_word=self.trigger_word,
            steps=self.state.step,
            settings=asdict(self.settings),
        )
        return LateStepLora(to_state_dict(self.adapter), info)

    def report(self, seconds: float) -> str:
        """A few lines for people: what was trained, how it went, where it is."""
        history = [record for record in self.state.history if record.similarity == record.similarity]
        tenth = max(1, len(history) // 10)
        first, last = (
            sum(record.similarity for record in part) / max(1, len(part)) for part in (history[:tenth], history[-tenth:])
        )
        late = self.settings.sampling_steps - self.first_late_step
        return "\n".join([
            f"{self.state.step} steps, the last ones in {seconds:.0f} s, on {len(self.prompts) - 1} prompts.",
            f"Similarity to the references by the rewarded recognizer: {first:.2f} in the first tenth of the run, "
            f"{last:.2f} in the last. Judge the result with another recognizer.",
            f"The adapter acts in the last {late} of {self.settings.sampling_steps} sampling steps "
            f"(from {self.settings.start_percent:g}); trigger word: {self.trigger_word}.",
            f"Saved as {self.lora_path.name}.",
        ])

    def _train(self, rollout: Rollout, after_step: AfterStep) -> None:
        text_features = None
        if self.semantic_reward is not None:
            text_features = revive(self.semantic_reward.encode_text(self.prompts))
        bank = TeacherBank(
            rollout, self.decoder, self.identity.face_model, self.semantic_reward, text_features,
            self.first_late_step, self.remember_teacher,
        )
        trainer = Trainer(
            rollout, self.decoder, bank, self.adapter, self.injection, self.identity, self.semantic_reward,
            len(self.prompts) - 1, self.settings, self.state,
        )

        def saved_step(record, preview) -> None:
            if self.state.step % self.save_every == 0:
                self._save()
            after_step(record, preview)

        held_out = trainer.teacher_clip(len(self.prompts) - 1, self.settings.seed)
        self.before = self.decoder.decode_clip(held_out.latents)
        try:
            trainer.train(saved_step)
        finally:
            self._save()
        with torch.no_grad():
            self.after = self.decoder.decode_clip(trainer.student_latents(held_out))

    def _save(self) -> None:
        if not self.state.step:
            return
        save_lora(self.lora_path, self.lora())
        save_state(state_path(self.lora_path), self.state)

    def _encode(self, prompt: str) -> list:
        return revive(self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt)))

    def _first_late_step(self) -> int:
        for index, sigma in enumerate(self.sigmas[:-1].tolist()):
            if self.window.contains(sigma):
                return index
        raise ValueError(
            f"start_percent: none of the {self.settings.sampling_steps} sampling steps lies after "
            f"{self.settings.start_percent:g} with the {self.settings.scheduler} scheduler; "
            "lower start_percent or raise sampling_steps."
        )

    def _fresh(self) -> tuple[TrainingState, LowRankAdapter]:
        targets = find_targets(self.model.model)
        return TrainingState(), LowRankAdapter.create(
            targets, self.settings.rank, self.settings.alpha, self.settings.seed
        )

    def _resumed(self) -> tuple[TrainingState, LowRankAdapter]:
        lora = load_lora(self.lora_path)
        adapter = from_state_dict(lora, lora.info)
        family = architecture_of(self.model.model).name
        shapes = {target.name: (target.out_features, target.in_features) for target in find_targets(self.model.model)}
        if lora.info.base_model != family or shapes != {
            name: (layer.up.shape[0], layer.down.shape[1]) for name, layer in adapter.residuals().items()
        }:
            raise ValueError(
                f"existing_lora: {self.lora_path.name} was trained for another {lora.info.base_model} model than the "
                f"connected {family} model; connect the same model or choose [None]."
            )
        path = state_path(self.lora_path)
        if not path.exists():
            raise ValueError(
                f"existing_lora: {path.name}, which holds the optimizer state, is missing beside "
                f"{self.lora_path.name}; put it back or choose [None]."
            )
        state = load_state(path)
        if state.step >= self.settings.steps:
            raise ValueError(
                f"steps: {self.lora_path.name} already has {state.step} steps; raise steps above that to go on."
            )
        return state, adapter
