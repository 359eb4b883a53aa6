"""One training run: prompts in, a saved late-step LoRA out.

Encodes the prompts, enters the host's guider, hands the loop to the trainer,
and keeps the newest adapter and optimizer state on disk whatever happens.
"""

from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ..adapters.architectures import architecture_of, find_targets
from ..adapters.late_step import LateStepInjection, SigmaWindow
from ..adapters.lora_file import AdapterInfo, LateStepLora, load_info, save_lora, to_state_dict
from ..adapters.low_rank import LowRankAdapter
from ..rewards.faces import Identity
from ..rewards.semantic import SemanticReward
from .frame_decoder import FrameDecoder
from .host_autograd import resident, revive, static_clone
from .rollout import Rollout, with_rollout
from .settings import TrainingSettings
from .state import TrainingState, load_state, save_state, state_path
from .teacher_bank import TeacherBank
from .trainer import AfterStep, Trainer

WINDOW_END = 1.0
CORE_BYPASS = "bypass_lora"


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
        if CORE_BYPASS in model.injections:
            raise ValueError(
                "model: a LoRA on it was loaded in bypass mode, which training cannot differentiate through; "
                "load it with the core Load LoRA node."
            )
        self.model = static_clone(model, "model")
        self.clip = clip
        self.decoder = FrameDecoder(vae, self.model.load_device)
        self.model.set_additional_models("personalvideo_vae", [self.decoder.patcher])  # loaded together
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
            self.adapter = LowRankAdapter.create(
                find_targets(self.model.model), settings.rank, settings.alpha, settings.seed
            )
            self.state = self._resumed() if resume else TrainingState()
        self.injection = LateStepInjection(self.adapter.residuals(), self.window)
        self.injection.attach(self.model)

    def execute(self, after_step: AfterStep) -> None:
        """Train to ``settings.steps``; ``after_step`` is told of every step once it is safe.

        Whatever ends the run early, the adapter and the optimizer state of the last
        finished step are on disk.
        """
        positives = [self._encode(prompt) for prompt in self.prompts]
        negative = self._encode(self.negative_prompt)

        def body(rollout: Rollout) -> None:
            self.decoder.prepare()
            with self.decoder.frozen():
                self._train(rollout, after_step)

        device = self.model.load_device
        networks = [self.identity.face_model.networks]
        if self.semantic_reward is not None:
            networks.append(self.semantic_reward.networks)
        self.decoder.prepare()
        with ExitStack() as stack:
            for network in networks:
                stack.enter_context(resident(network, device))
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
            bank, self.adapter, self.injection, self.identity, len(self.prompts) - 1, self.settings, self.state
        )

        def saved_step(record, preview) -> None:
            if self.state.step % self.save_every == 0:
                self._save(trainer)
            after_step(record, preview)

        held_out = trainer.teacher_clip(len(self.prompts) - 1, self.settings.seed)
        self.before = held_out.frames.float()
        try:
            trainer.train(saved_step)
        finally:
            self._save(trainer)
        with torch.no_grad():
            self.after = self.decoder.decode_clip(trainer.student_latents(held_out)).cpu()

    def _save(self, trainer: Trainer) -> None:
        if not self.state.step:
            return
        self.state.capture(self.adapter, trainer.optimizer)
        save_state(state_path(self.lora_path), self.state)
        save_lora(self.lora_path, self.lora())

    def _encode(self, prompt: str) -> list:
        comfy.model_management.throw_exception_if_processing_interrupted()
        with torch.inference_mode():
            conditioning = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))
        return revive(conditioning)

    def _first_late_step(self) -> int:
        for index, sigma in enumerate(self.sigmas[:-1].tolist()):
            if self.window.contains(sigma):
                return index
        raise ValueError(
            f"start_percent: none of the {self.settings.sampling_steps} sampling steps lies after "
            f"{self.settings.start_percent:g} with the {self.settings.scheduler} scheduler; "
            "lower start_percent or raise sampling_steps."
        )

    def _resumed(self) -> TrainingState:
        """The state on disk, if it can go on with this model and these settings."""
        name = self.lora_path.name
        info = load_info(self.lora_path)
        if info is None:
            raise ValueError(
                f"existing_lora: {name} was not written by Train PersonalVideo Adapter; choose a LoRA that was, "
                "or [None] to start a new one."
            )
        for field, value in (("rank", info.rank), ("alpha", info.alpha), ("start_percent", info.start_percent)):
            wanted = getattr(self.settings, field)
            if wanted != value:
                raise ValueError(f"{field}: {name} was trained with {value:g}, not {wanted:g}; set it to {value:g}.")
        state = load_state(state_path(self.lora_path))
        if not state.fits(self.adapter):
            raise ValueError(
                f"existing_lora: {name} was trained for another model (of the {info.base_model} family); "
                "connect that model or choose [None]."
            )
        if state.step > self.settings.steps:
            raise ValueError(
                f"steps: {name} already has {state.step} steps; raise steps to go on."
            )
        return state
