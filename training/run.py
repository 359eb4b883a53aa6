"""One training run in four acts: prepare, build the bank, train, compare.

Encodes the prompts, enters the host's guider, hands the loop to the trainer, and keeps the newest adapter and
optimizer state on disk whatever happens.
"""

import errno
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ..adapters.architectures import Target, architecture_of, find_targets
from ..adapters.host_lora import file_keys
from ..adapters.late_step import LateStepInjection, SigmaWindow
from ..adapters.lora_file import AdapterInfo, LateStepLora, remove_abandoned, save_lora, to_state_dict
from ..adapters.low_rank import LowRankAdapter
from ..host.autograd import as_normal_tensors, managed, release, require_host, resident, static_clone
from ..rewards.faces import Identity, largest_faces
from ..rewards.semantic import PromptScorer, SemanticReward
from ..sentences import reason
from .decoding.frame_decoder import FrameDecoder
from .draws import Draws
from .memory.demand import RunParts
from .memory.memory import Memory
from .objective import Objective
from .report import clip_similarity
from .result import TrainingResult
from .rollout import Conditioning, Rollout, with_rollout
from .schedule import first_late_step
from .settings import TrainingSettings
from .state import TrainingState, changed_settings, resumed_state, save_state, state_path
from .teacher.bank import BankProgress, TeacherBank, sampled_by_build
from .teacher.clip import ClipKey
from .teacher.fingerprint import bank_fingerprint
from .teacher.high_noise_expert import EarlySteps, check_pair, sample_early_steps
from .teacher.location import BankLocation, Stores, clip_bytes
from .teacher.teacher import Teacher
from .trainer import AfterStep, Trainer, TrainingFailure

WINDOW_END = 1.0
CORE_BYPASS = "bypass_lora"
COMPARISON = "Comparison"  # the phase after training, as it is named to the user
Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """Everything that is made of text. positives: one CONDITIONING a prompt. scorer: None without a semantic reward."""

    positives: list[Conditioning]
    negative: Conditioning
    scorer: PromptScorer | None


class TrainingRun:
    """Checks that input and settings work together; ``execute`` then trains.

    prompts: the last one is never trained on; it shows the result. latent: zeros in the video's latent shape, batch 1.
    resume: go on with the adapter and the state at ``lora_path``. high_noise_model: the expert that makes the first
    steps, of a model that has two. teacher_clips: where the original model's clips are kept, and found if an earlier run
    has left them there. targets: the linears that get an adapter, None for the family's own. saved_steps: training steps
    that the files at ``lora_path`` have.
    Raises ValueError where something does not fit.
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
        teacher_clips: BankLocation | Stores,
        high_noise_model=None,
        targets: list[Target] | None = None,
    ):
        require_host()
        if CORE_BYPASS in model.injections:
            raise ValueError(
                "model: a LoRA on it was loaded in bypass mode, which training cannot differentiate through; "
                "load it with the core Load LoRA node."
            )
        self.architecture = architecture_of(model.model)
        if high_noise_model is not None:
            check_pair(model, high_noise_model)
        self.model = static_clone(model, "model")
        self.high_noise_model = high_noise_model and static_clone(high_noise_model, "high_noise_model")
        self.clip = clip
        self.semantic_reward = semantic_reward
        self.prompts = prompts
        self.negative_prompt = negative_prompt
        self.latent = latent
        self.settings = settings
        self.trigger_word = trigger_word
        self.lora_path = lora_path
        self.save_every = save_every
        self.teacher_clips = teacher_clips

        schedule = self.model.get_model_object("model_sampling")
        self.window = SigmaWindow.from_percent(schedule, settings.start_percent, WINDOW_END)
        self.sigmas = comfy.samplers.calculate_sigmas(schedule, settings.scheduler, settings.sampling_steps)
        self.first_late_step = first_late_step(
            self.sigmas, self.window, settings.start_percent, settings.scheduler, high_noise_model is not None
        )
        self.draws = Draws(settings.seed, len(prompts) - 1, settings.bank_seeds)
        self.targets = targets or find_targets(self.model.model)
        with torch.inference_mode(False):
            self.identity = replace(identity, embeddings=as_normal_tensors(identity.embeddings))
            self.adapter = LowRankAdapter.create(self.targets, settings.rank, settings.alpha, settings.seed)
            self.state = resumed_state(lora_path, settings, self.adapter) if resume else TrainingState()
            self.changed = changed_settings(lora_path, settings) if resume else []
        self.saved_steps = self.state.step
        self.injection = LateStepInjection(self.adapter.residuals(), settings.start_percent, WINDOW_END)
        self.injection.attach(self.model)
        self.reward_networks = [managed(self.identity.face_model.networks)]
        if semantic_reward is not None:
            self.reward_networks.append(managed(semantic_reward.networks))
        self.decoder = FrameDecoder(vae, self.model.load_device, settings.vae_gradient_chunks or None)

    def execute(
        self,
        after_step: AfterStep,
        say: Say = lambda line: None,
        after_clips: Callable[[BankProgress], None] = lambda progress: None,
    ) -> TrainingResult:
        """Train to ``settings.steps``; ``after_step`` is told of every step once it is safe, ``say`` of what comes before.

        ``after_clips`` is told how far the original model's clips are. Whatever ends the run early, the adapter and
        the optimizer state of the last finished step are on disk.
        """
        self.memory.say = say
        prepared = self._prepare(say)
        say(self.memory.sentence)
        stores = self._stores()
        while True:
            early = self._early_steps(prepared, stores, say)

            def inside(rollout: Rollout, early=early) -> TrainingResult | None:
                self.memory.decoder.prepare()
                with self.memory.decoder.frozen():
                    return self._inside(rollout, prepared, stores, early, after_step, say, after_clips)

            self.memory.make_room()
            try:
                result = with_rollout(self.model, prepared.positives, *self._sampling(prepared), inside)
            finally:
                release(*self.reward_networks)
            if result is not None:
                return result
            say("Original model's clips: those in the folder are another model's; they are made anew")

    @cached_property
    def memory(self) -> Memory:
        """How the run fits into memory, planned before it computes anything. Raises ValueError if no way is known to fit."""
        size = self._bank_bytes(self.decoder)
        parts = RunParts(
            self.model, self.architecture, self.decoder, self.reward_networks, self.identity.face_model, self.semantic_reward,
            self.adapter, self.settings, min(self.settings.gradient_steps, len(self.sigmas) - 1 - self.first_late_step),
        )  # fmt: skip
        memory = Memory(parts, self.latent, size if self.teacher_clips.in_memory(size) else 0)
        self.model.set_additional_models("personalvideo", [memory.decoder.patcher, *self.reward_networks])
        return memory

    def lora(self) -> LateStepLora:
        """The adapter as it stands, with its window and settings."""
        info = AdapterInfo(
            base_model=self.architecture.name,
            start_percent=self.settings.start_percent,
            end_percent=WINDOW_END,
            switch_sigma=self.window.start,
            rank=self.adapter.rank,
            alpha=self.adapter.alpha,
            trigger_word=self.trigger_word,
            steps=self.state.step,
            settings=asdict(self.settings),
            run=self.state.run,
        )
        keys = file_keys(self.model.model, [target.name for target in self.targets])
        return LateStepLora(to_state_dict(self.adapter, self.targets, keys), info)

    def _prepare(self, say: Say) -> Prepared:
        """Texts become conditions and features; the text encoders are not needed afterwards."""
        positives = []
        for number, prompt in enumerate(self.prompts, start=1):
            say(f"Encoding prompts: {number} of {len(self.prompts)}")
            positives.append(self._encode(prompt))
        negative = self._encode(self.negative_prompt)
        if text_encoder := getattr(self.clip, "patcher", None):
            release(text_encoder)
        scorer = None
        if self.semantic_reward is not None:
            with resident(managed(self.semantic_reward.text_networks)), torch.inference_mode(False), torch.no_grad():
                scorer = PromptScorer(self.semantic_reward, self.semantic_reward.encode_text(self.prompts))
        return Prepared(positives, negative, scorer)

    def _inside(
        self,
        rollout: Rollout,
        prepared: Prepared,
        stores: Stores,
        early: EarlySteps | None,
        after_step: AfterStep,
        say: Say,
        after_clips: Callable[[BankProgress], None],
    ) -> TrainingResult | None:
        """Build the bank, train, compare: with everything loaded. None if the stored clips are another model's."""
        teacher = Teacher(
            rollout, self.memory.decoder, self.identity.face_model, prepared.scorer, self.injection, self.first_late_step, early,
        )  # fmt: skip
        bank = TeacherBank(teacher, stores.clips)
        self.memory.decoder_changed = bank.decode_with
        told = []

        def tell(progress: BankProgress) -> None:
            told.append(progress)
            say(str(progress))
            after_clips(progress)

        say(f"Original model's clips: 0 of {1 + len(self._clip_keys)}")
        with _text_that_fits():
            if bank.build(self._held_out, self._clip_keys, tell) is None:
                return None

        objective = Objective(self.identity, prepared.scorer, self.settings)
        trainer = Trainer(
            rollout, bank, objective, self.adapter, self.draws, self.settings, self.state, self.memory, self.first_late_step
        )
        self._train(trainer, after_step, say)

        say(f"{COMPARISON}: sampling the clip with the adapter")
        return self._compare(trainer, objective.scores_meaning, told[-1] if told else None)

    def _train(self, trainer: Trainer, after_step: AfterStep, say: Say) -> None:
        """The loop, and everything that is saved of it."""
        for path in (self.lora_path, state_path(self.lora_path)):
            remove_abandoned(path.parent, path.suffix)

        def saved_step(record, preview) -> None:
            if self.state.step % self.save_every == 0:
                try:
                    self._save(trainer)
                except ValueError as error:  # the next save may be possible; the last one has to be
                    say(str(error))
            after_step(record, preview)

        say(f"Training: from step {self.state.step} to {self.settings.steps}")
        try:
            trainer.train(saved_step)
        finally:
            self._save(trainer)

    def _compare(self, trainer: Trainer, scored: bool, clips: BankProgress | None) -> TrainingResult:
        """The clip of the prompt that was kept out of training, by the original model and by the student."""
        held_out = trainer.bank.clip(self._held_out)
        before = held_out.frames[list(range(len(held_out.frames)))].float()
        with torch.no_grad():
            after = self.memory.decoder.decode_clip(trainer.student_latents(held_out))
        faces = held_out.faces, largest_faces(self.identity.face_model, after)
        pair = before, after.cpu()
        similarities = [clip_similarity(self.identity, frames, found) for frames, found in zip(pair, faces)]
        return TrainingResult(
            lora=self.lora(),
            lora_path=self.lora_path,
            steps=self.state.step,
            prompts=len(self.prompts) - 1,
            settings=self.settings,
            history=tuple(self.state.history),
            before=pair[0],
            after=pair[1],
            similarities=(similarities[0], similarities[1]),
            face_model=self.identity.face_model.name,
            scored=scored,
            late_steps=len(self.sigmas) - 1 - self.first_late_step,
            sampling_steps=len(self.sigmas) - 1,
            clips=clips,
            memory=self.memory.sentence,
            changed=tuple(self.changed),
        )

    def _save(self, trainer: Trainer) -> None:
        """Write the LoRA, then its state: LoRA lists show nothing but the LoRA, so that nobody could choose a state alone.

        Raises ValueError if the disk does not take it, and TrainingFailure, leaving the files as they were, if it is no
        longer made of numbers.
        """
        if not self.state.step:
            return
        self.state.capture(self.adapter, trainer.optimizer, trainer.scaler)
        if not self.state.finite:
            raise TrainingFailure(
                f"The adapter is no longer made of numbers at step {self.state.step} and is not saved; lower learning_rate "
                f"(now {self.settings.learning_rate:g})."
            )
        try:
            save_lora(self.lora_path, self.lora())
            save_state(state_path(self.lora_path), self.state)
        except OSError as error:
            raise _cannot_write(self.lora_path.name, error) from error
        self.saved_steps = self.state.step

    @property
    def _held_out(self) -> ClipKey:
        """Of the clip before and after."""
        return len(self.prompts) - 1, self.settings.seed

    @property
    def _clip_keys(self) -> list[ClipKey]:
        """Of the steps to come."""
        return self.draws.clip_keys(self.state.step, self.settings.steps)

    def _sampling(self, prepared: Prepared) -> tuple[Conditioning, float, Tensor, Tensor]:
        """How every video is sampled, as ``with_rollout`` takes it."""
        return prepared.negative, self.settings.cfg, self.sigmas, self.latent

    def _bank_bytes(self, decoder: FrameDecoder) -> int:
        return (1 + len(self._clip_keys)) * clip_bytes(decoder, self.latent)

    def _stores(self) -> Stores:
        """Where the original model's clips are: the held-out one and those of the steps to come."""
        decoder = self.memory.decoder
        fingerprint = bank_fingerprint(
            model=self.model, high_noise_model=self.high_noise_model, vae=decoder.vae, latent=self.latent,
            cfg=self.settings.cfg, sigmas=self.sigmas, first_late_step=self.first_late_step,
            negative_prompt=self.negative_prompt, face_model=self.identity.face_model, semantic_reward=self.semantic_reward,
            witness=(self.prompts[-1], self.settings.seed),
        )  # fmt: skip
        return self.teacher_clips.open(fingerprint, self.prompts, self._bank_bytes(decoder))

    def _early_steps(self, prepared: Prepared, stores: Stores, say: Say) -> EarlySteps | None:
        """The first expert's part of every clip that is going to be sampled; None for models of one part."""
        if self.high_noise_model is None:
            return None
        sampled = sampled_by_build(stores.clips, self._held_out, self._clip_keys)
        with _text_that_fits():
            return sample_early_steps(
                self.high_noise_model, prepared.positives, *self._sampling(prepared), sampled, stores.early, say
            )

    def _encode(self, prompt: str) -> Conditioning:
        comfy.model_management.throw_exception_if_processing_interrupted()
        with torch.inference_mode():
            conditioning = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))
        return as_normal_tensors(conditioning)


def _cannot_write(name: str, error: OSError) -> ValueError:
    if error.errno == errno.ENOSPC:
        return ValueError(
            f"filename_prefix: {name} cannot be written ({reason(error)}); free some space on the disk of its folder."
        )
    return ValueError(
        f"filename_prefix: {name} cannot be written ({reason(error)}); see to it that its folder can be written to."
    )


@contextmanager
def _text_that_fits():
    """Around the first model calls of a run: turns what the host says of a wrong text encoder into one sentence."""
    try:
        yield
    except (KeyError, RuntimeError) as error:
        if not isinstance(error, KeyError) and "shapes cannot be multiplied" not in str(error):
            raise
        raise ValueError(
            f"clip: its text features do not fit this model ({reason(error)}); connect the text encoder that belongs to the "
            "model."
        ) from error
