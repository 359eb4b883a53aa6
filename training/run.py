"""One training run: prompts in, a saved late-step LoRA out.

Encodes the prompts, enters the host's guider, hands the loop to the trainer,
and keeps the newest adapter and optimizer state on disk whatever happens.
"""

from collections.abc import Callable, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ..adapters.architectures import Target, architecture_of, find_targets
from ..adapters.host_lora import file_keys
from ..adapters.late_step import LateStepInjection, SigmaWindow
from ..adapters.lora_file import AdapterInfo, LateStepLora, save_lora, to_state_dict
from ..adapters.low_rank import LowRankAdapter
from ..host.autograd import managed, release, require_host, resident, revive, static_clone
from ..rewards.faces import Identity, largest_faces
from ..rewards.semantic import SemanticReward
from .decoding.frame_decoder import FrameDecoder
from .draws import Draws
from .memory.demand import RunParts
from .memory.memory import Memory
from .report import clip_similarity, report
from .rollout import Rollout, with_rollout
from .schedule import first_late_step
from .settings import TrainingSettings
from .state import TrainingState, changed_settings, resumed_state, save_state, state_path
from .teacher.bank import BankProgress, StaleBank, TeacherBank, TeacherClip, sampled_by_build
from .teacher.clip_files import ClipKey
from .teacher.fingerprint import bank_identity
from .teacher.high_noise_expert import check_pair, sample_early_steps
from .teacher.location import BankLocation, Stores, clip_bytes
from .trainer import AfterStep, Trainer

WINDOW_END = 1.0
CORE_BYPASS = "bypass_lora"
COMPARISON = "Comparison"  # the phase after training, as it is named to the user


class TrainingRun:
    """Settings, state and results of one run.

    prompts: the last one is never trained on; ``before`` and ``after`` show it
    ([F, 3, H, W] in 0..1), ``similarities`` are theirs to the references.
    latent: zeros in the video's latent shape, batch 1.
    resume: go on with the adapter and the state at ``lora_path``. high_noise_model: the
    expert that makes the first steps, of a model that has two. teacher_clips: remembers the original model's
    clips by (prompt, noise seed), for runs that share model, prompts and sampling; a BankLocation says where
    to keep them, and finds those that an earlier run has left there; None samples them anew
    each time they are needed. targets: the linears that get an adapter, None for the family's own.
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
        high_noise_model=None,
        teacher_clips: MutableMapping[ClipKey, TeacherClip] | BankLocation | None = None,
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
        self.bank: BankProgress | None = None
        self.before: Tensor | None = None
        self.after: Tensor | None = None
        self.similarities: tuple[float, float] | None = None

        schedule = self.model.get_model_object("model_sampling")
        self.window = SigmaWindow.from_percent(schedule, settings.start_percent, WINDOW_END)
        self.sigmas = comfy.samplers.calculate_sigmas(schedule, settings.scheduler, settings.sampling_steps)
        self.first_late_step = first_late_step(
            self.sigmas, self.window, settings.start_percent, settings.scheduler, high_noise_model is not None
        )
        self.draws = Draws(settings.seed, len(prompts) - 1, settings.bank_seeds)
        self.targets = targets or find_targets(self.model.model)
        with torch.inference_mode(False):
            self.identity = replace(identity, embeddings=revive(identity.embeddings))
            self.adapter = LowRankAdapter.create(self.targets, settings.rank, settings.alpha, settings.seed)
            self.state = resumed_state(lora_path, settings, self.adapter) if resume else TrainingState()
            self.changed = changed_settings(lora_path, settings) if resume else []
        self.injection = LateStepInjection(self.adapter.residuals(), settings.start_percent, WINDOW_END)
        self.injection.attach(self.model)
        self.reward_networks = [managed(self.identity.face_model.networks)]
        if semantic_reward is not None:
            self.reward_networks.append(managed(semantic_reward.networks))
        decoder = FrameDecoder(vae, self.model.load_device, settings.vae_gradient_chunks or None)
        clips = (1 + len(self._all_clips)) * clip_bytes(decoder, latent)
        in_memory = teacher_clips.in_memory(clips) if isinstance(teacher_clips, BankLocation) else teacher_clips is not None
        self.memory = Memory(
            RunParts(
                self.model,
                self.architecture,
                decoder,
                self.reward_networks,
                self.identity.face_model,
                semantic_reward,
                self.adapter,
                settings,
                min(settings.gradient_steps, len(self.sigmas) - 1 - self.first_late_step),
            ),
            latent,
            clips if in_memory else 0,
        )
        self.decoder = self.memory.decoder
        self.model.set_additional_models("personalvideo", [self.decoder.patcher, *self.reward_networks])

    def execute(
        self,
        after_step: AfterStep,
        say: Callable[[str], None] = lambda line: None,
        after_clips: Callable[[BankProgress], None] = lambda progress: None,
    ) -> None:
        """Train to ``settings.steps``; ``after_step`` is told of every step once it is safe, ``say`` of what comes before.

        ``after_clips`` is told how far the original model's clips are. Whatever ends the run early, the adapter and
        the optimizer state of the last finished step are on disk.
        """
        positives = []
        for number, prompt in enumerate(self.prompts, start=1):
            say(f"Encoding prompts: {number} of {len(self.prompts)}")
            positives.append(self._encode(prompt))
        negative = self._encode(self.negative_prompt)
        if text_encoder := getattr(self.clip, "patcher", None):
            release(text_encoder)
        text_features = self._text_features()
        schedule = negative, self.settings.cfg, self.sigmas, self.latent
        clips = self._all_clips
        self.memory.say = say
        say(self.memory.sentence)
        stores = self._stores(len(clips))

        def tell(progress: BankProgress) -> None:
            self.bank = progress
            say(str(progress))
            after_clips(progress)

        def train() -> None:
            early = None
            if self.high_noise_model is not None:
                sampled = sampled_by_build(stores.clips, self._held_out, clips)
                with _text_that_fits():
                    early = sample_early_steps(self.high_noise_model, positives, *schedule, sampled, stores.early, say)

            def body(rollout: Rollout) -> None:
                self.decoder.prepare()
                with self.decoder.frozen():
                    bank = TeacherBank(
                        rollout,
                        self.decoder,
                        self.identity.face_model,
                        self.semantic_reward,
                        text_features,
                        self.first_late_step,
                        early,
                        stores.clips,
                    )

                    def decode_anew(decoder: FrameDecoder) -> None:
                        self.decoder = bank.decoder = decoder
                        if bank.clips is not None:
                            bank.clips.clear()

                    self.memory.decoder_changed = decode_anew
                    self._train(bank, clips, tell, after_step, say)

            self.memory.make_room()
            try:
                with_rollout(self.model, positives, *schedule, body)
            finally:
                release(*self.reward_networks)

        try:
            train()
        except StaleBank as stale:
            say(str(stale))
            train()

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
        )
        keys = file_keys(self.model.model, [target.name for target in self.targets])
        return LateStepLora(to_state_dict(self.adapter, self.targets, keys), info)

    def report(self, phases: Mapping[str, float] | None = None, memory: str = "") -> str:
        """A few lines for people: what was trained, how it went, where it is; arguments as of ``report.report``."""
        return report(self, phases or {}, memory)

    @property
    def _held_out(self) -> tuple[int, int]:
        """(prompt, noise seed) of the clip before and after."""
        return len(self.prompts) - 1, self.settings.seed

    @property
    def _all_clips(self) -> list[ClipKey]:
        """Those of the steps to come."""
        return self.draws.clips(self.state.step, self.settings.steps)

    def _stores(self, clips: int) -> Stores:
        """Where the original model's clips are: the held-out one and ``clips`` others."""
        if not isinstance(self.teacher_clips, BankLocation):
            return Stores(self.teacher_clips, {})
        identity = bank_identity(
            model=self.model, high_noise_model=self.high_noise_model, vae=self.decoder.vae, latent=self.latent,
            cfg=self.settings.cfg, sigmas=self.sigmas, first_late_step=self.first_late_step,
            negative_prompt=self.negative_prompt, face_model=self.identity.face_model, semantic_reward=self.semantic_reward,
            witness=(self.prompts[-1], self.settings.seed),
        )  # fmt: skip
        return self.teacher_clips.open(identity, self.prompts, (1 + clips) * clip_bytes(self.decoder, self.latent))

    def _train(
        self,
        bank: TeacherBank,
        clips: list[ClipKey],
        tell: Callable[[BankProgress], None],
        after_step: AfterStep,
        say: Callable[[str], None],
    ) -> None:
        trainer = Trainer(
            bank,
            self.adapter,
            self.injection,
            self.identity,
            self.draws,
            self.settings,
            self.state,
            self.architecture,
            self.memory,
        )

        def saved_step(record, preview) -> None:
            if self.state.step % self.save_every == 0:
                try:
                    self._save(trainer)
                except ValueError as error:  # the next save may be possible; the last one has to be
                    say(str(error))
            after_step(record, preview)

        say(f"Original model's clips: 0 of {1 + len(clips)}")
        self.injection.enabled = False
        try:
            with _text_that_fits():
                held_out = bank.build(self._held_out, clips, tell)
        finally:
            self.injection.enabled = True
        self.before = held_out.frames[list(range(len(held_out.frames)))].float()
        say(f"Training: from step {self.state.step} to {self.settings.steps}")
        try:
            trainer.train(saved_step)
        finally:
            self._save(trainer)
        say(f"{COMPARISON}: sampling the clip with the adapter")
        with torch.no_grad():
            after = self.decoder.decode_clip(trainer.student_latents(held_out))
        faces = held_out.faces, largest_faces(self.identity.face_model, after)
        self.after = after.cpu()
        self.similarities = tuple(
            clip_similarity(self.identity, clip, found) for clip, found in zip((self.before, self.after), faces)
        )

    def _save(self, trainer: Trainer) -> None:
        """Raises ValueError if the disk does not take it."""
        if not self.state.step:
            return
        self.state.capture(self.adapter, trainer.optimizer)
        try:
            save_state(state_path(self.lora_path), self.state)
            save_lora(self.lora_path, self.lora())
        except OSError as error:
            raise ValueError(
                f"filename_prefix: {self.lora_path.name} cannot be written ({error.strerror}); "
                f"free some space on the disk of {self.lora_path.parent}."
            ) from error

    def _encode(self, prompt: str) -> list:
        comfy.model_management.throw_exception_if_processing_interrupted()
        with torch.inference_mode():
            conditioning = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))
        return revive(conditioning)

    def _text_features(self) -> Tensor | None:
        """Of every prompt, for the semantic reward; its text encoder is only needed here."""
        if self.semantic_reward is None:
            return None
        with resident(managed(self.semantic_reward.text_networks)), torch.inference_mode(False), torch.no_grad():
            return self.semantic_reward.encode_text(self.prompts)


@contextmanager
def _text_that_fits():
    """Around the first model calls of a run: turns what the host says of a wrong text encoder into one sentence."""
    try:
        yield
    except (KeyError, RuntimeError) as error:
        if not isinstance(error, KeyError) and "shapes cannot be multiplied" not in str(error):
            raise
        raise ValueError(
            f"clip: its text features do not fit this model ({error}); connect the text encoder that belongs to the model."
        ) from error
