"""The demo world inside this process, which trains an arm for a person and measures what its LoRA does.

The teacher's clips and the base model's videos are sampled once for each seed and shared by all arms.
"""

import time
from collections import defaultdict
from dataclasses import asdict, fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.ablations.arms import BY_NAME, NOTHING, RECONSTRUCTION, SAMPLING_STEPS, SIZE, STEPS, TRAINING, Arm
from benchmarks.ablations.reconstruction import ReconstructionSettings, encode_photos, train_reconstruction
from devkit.comfy_host import ROOT
from devkit.demo_metrics import DemoMetrics

HELD_OUT = ROOT / "demo" / "held_out.txt"
FIGURES = ("judge", "reward", "attributes", "dynamic", "prompt")
SUBJECT = "a sks person"  # DreamBooth's prompt for a photo
SCHEDULER = "simple"
SHOWN = 3  # how many held-out videos are kept of every job


class TimedStore:
    """A bank in memory that knows how long filling it took: ``seconds`` of processor time, from each miss to its filling."""

    remembers = own = True
    place = "in memory"

    def __init__(self):
        self.values = {}
        self.seconds = 0.0

    def find(self, key):
        self._since = time.process_time()
        return self.values.get(key)

    def __contains__(self, key) -> bool:
        return self.find(key) is not None

    def keep(self, key, clip) -> None:
        self.values[key] = clip
        now = time.process_time()
        self.seconds += now - self._since
        self._since = now

    def forget(self) -> None:
        self.values.clear()

    def check_space(self, size: int) -> None:
        pass


class WithoutFaces(TimedStore):
    """A bank that says the teacher's clips show no face, so that the student's own faces are cropped."""

    def __init__(self, clips: TimedStore):
        self.clips = clips

    def find(self, key):
        clip = self.clips.find(key)
        return clip and replace(clip, faces=[None] * len(clip.faces))

    def keep(self, key, clip) -> None:
        self.clips.keep(key, clip)


class AblationWorld:
    """Trains and measures arms. pack: the package as the host loaded it, see comfy_process."""

    def __init__(self, pack, steps: int = STEPS):
        self.pack = pack
        self.steps = steps
        with torch.inference_mode(False):
            self.model, self.clip, self.vae = pack.demo.load.load_model(), pack.demo.load.load_clip(), pack.demo.load.load_vae()
            self.face_model = pack.demo.load.load_face_model("reward")
            self.semantic_reward = pack.demo.load.load_semantic_reward()
        self.metrics = DemoMetrics()
        self.prompts = pack.prompts.fill(pack.prompts.load("demo"), "sks", "demo")
        self.held_out = [line.replace(" V ", " sks ") for line in HELD_OUT.read_text().splitlines() if line.strip()]
        self.bank_seconds = 0.0
        self._banks: dict[tuple, TimedStore] = defaultdict(TimedStore)
        self._seed: int | None = None
        self._conditions: dict[str, list] = {}

    def use_seed(self, seed: int) -> None:
        """Forget everything of another seed, and sample the base model's held-out videos."""
        if seed == self._seed:
            return
        self._banks.clear()
        self._seed = seed
        self._prefixes: dict[int, list[Tensor]] = {}
        self._base = self._videos(None, 0.0)

    def row(self, arm: Arm, identity: str, seed: int, lora_path: Path, after_step=lambda: None) -> tuple[dict, Tensor]:
        """Train ``arm`` for ``identity``, keep its LoRA at ``lora_path``, and measure it on the held-out prompts.

        Returns the row and the first SHOWN held-out videos, [SHOWN, F, 3, H, W] in 0..1.
        """
        self.use_seed(seed)
        seconds, videos = 0.0, self._base
        if arm.training != NOTHING:
            seconds = self.train(arm, identity, lora_path, after_step)
            videos = self._videos(lora_path, arm.start_percent)
        row = {"arm": arm.name, "identity": identity, "seed": seed, **self.figures(identity, videos)}
        return row | {"seconds": round(seconds, 2)}, torch.stack(videos[:SHOWN])

    def train(self, arm: Arm, identity: str, path: Path, after_step=lambda: None) -> float:
        """Train, and return the seconds of processor time without the teacher's videos, which all identities share."""
        started = time.process_time()
        targets = self.targets(arm)
        if arm.training == RECONSTRUCTION:
            known = asdict(self.settings(arm))
            settings = {name.name: known[name.name] for name in fields(ReconstructionSettings) if name.name in known}
            settings = ReconstructionSettings(**settings, prompt=SUBJECT)
            photos = self.photos(identity)[: arm.photos]
            latents = encode_photos(self.vae, F.interpolate(photos, (SIZE, SIZE), mode="area"))
            train_reconstruction(self.pack, self.model, self.clip, latents, targets, settings, path, lambda loss: after_step())
            return time.process_time() - started
        prompts = self.prompts
        if arm.one_prompt:
            prompts = [prompts[self._seed], prompts[-1]]
        bank = self._banks[arm.start_percent, arm.frames, arm.one_prompt]
        before, stores = bank.seconds, self.pack.training.teacher.location.Stores
        with torch.inference_mode():
            run = self.pack.training.run.TrainingRun(
                model=self.model, clip=self.clip, vae=self.vae, identity=self.identity(identity, arm.photos),
                semantic_reward=self.semantic_reward, prompts=prompts, negative_prompt="",
                latent=self.latent(arm.frames), settings=self.settings(arm), trigger_word="sks", lora_path=path,
                resume=False, save_every=self.steps, targets=targets,
                teacher_clips=stores(WithoutFaces(bank) if arm.own_faces else bank),
            )  # fmt: skip
            run.execute(lambda record, frames: after_step())
        self.pack.training.state.state_path(path).unlink()
        self.bank_seconds += bank.seconds - before
        return time.process_time() - started - (bank.seconds - before)

    def settings(self, arm: Arm):
        """The settings of the demo workflow with the arm's changes."""
        inputs = self.pack.nodes.train_adapter.TrainAdapter.define_schema().inputs
        values = {each.id: each.default for each in inputs if hasattr(each, "default")}
        values |= TRAINING | {"steps": self.steps, "seed": self._seed, "bank_seeds": self._noises(arm)} | arm.changes
        settings = self.pack.training.settings.TrainingSettings
        return settings(**{each.name: values[each.name] for each in fields(settings) if each.name in values})

    def _noises(self, arm: Arm) -> int:
        """How many noises a prompt gets; without prompt augmentation as many as there would be prompts."""
        return len(self.prompts) - 1 if arm.one_prompt else 1

    def targets(self, arm: Arm) -> list:
        """The linears of the arm, in the order of the model's modules."""
        make = self.pack.adapters.architectures.Target
        return [
            make(f"diffusion_model.{name}", module.in_features, module.out_features, module.out_features)
            for name, module in self.model.model.diffusion_model.named_modules()
            if arm.layers.fullmatch(name)
        ]

    def photos(self, identity: str) -> Tensor:
        """The photos [N, 3, H, W] in 0..1 of a person."""
        folder = self.pack.nodes.load_identity_images.DEMO_IDENTITIES / identity
        return torch.stack([photo.pixels for photo in self.pack.rewards.photos.read_folder(folder)])

    def identity(self, name: str, photos: int):
        """The IDENTITY of the first ``photos`` pictures."""
        images = self.photos(name)[:photos].movedim(1, -1)
        node = self.pack.nodes.load_identity_images
        return node.LoadIdentityImages.execute(self.face_model, node.NO_FOLDER, images).args[0]

    def latent(self, frames: int) -> Tensor:
        empty = self.pack.nodes.video_latent.empty_latent
        return empty(self.model, self.vae, SIZE, SIZE, frames)

    def figures(self, identity: str, videos: list[Tensor]) -> dict[str, float]:
        """The figures' means over the held-out videos; identity is compared with all photos, however few were used."""
        references = self.metrics.references(list(self.photos(identity)))
        measured = [self.metrics.measure(video, prompt, references) for video, prompt in zip(videos, self.held_out)]
        drift = [self.metrics.drift(before, after) for before, after in zip(self._base, videos)]
        means = {figure: sum(getattr(clip, figure) for clip in measured) / len(measured) for figure in FIGURES}
        return {name: round(value, 4) for name, value in (means | {"drift_outside_head": sum(drift) / len(drift)}).items()}

    def _videos(self, lora: Path | None, start_percent: float) -> list[Tensor]:
        """The held-out videos [F, 3, H, W] in 0..1, rounded to 8 bits, sampled through Apply Late-Step Identity LoRA."""
        model, first = self.model, self.first_step(start_percent)
        if lora is not None:
            model = self._applied(lora, start_percent)
        return [
            self._frames(self._sample(model, index, first, SAMPLING_STEPS, latents))
            for index, latents in enumerate(self._prefix(first))
        ]

    def predictions(self, index: int) -> list[Tensor]:
        """What the base model predicts for held-out video ``index`` in each sampling step; the last is the video itself."""
        found = []

        def keep(step: int, denoised: Tensor, *rest) -> None:
            found.append(self._frames(self.model.model.process_latent_out(denoised)))

        self._sample(self.model, index, 0, SAMPLING_STEPS, self.latent(BY_NAME["base"].frames), keep)
        return found

    def _frames(self, latents: Tensor) -> Tensor:
        with torch.inference_mode():
            frames = self.vae.decode(latents).flatten(0, -4).movedim(-1, 1)
        return (frames.clamp(0, 1) * 255).round().clone() / 255

    def _applied(self, lora: Path, start_percent: float):
        """The MODEL that Apply Late-Step Identity LoRA gives for a file, which acts from ``start_percent`` on."""
        import comfy.utils

        tensors, info = comfy.utils.load_torch_file(str(lora), safe_load=True), self.pack.adapters.lora_file.load_info(lora)
        node = self.pack.nodes.apply_late_step_lora.ApplyLateStepLora
        with torch.inference_mode():
            return node.execute(
                self.model, lora.name, 1.0, start_percent, -1.0, self.pack.adapters.lora_file.LateStepLora(tensors, info)
            ).args[0]

    def _prefix(self, first: int) -> list[Tensor]:
        """What the base model makes of each held-out video before sampling step ``first``, sampled once for each seed."""
        if first not in self._prefixes:
            empty = self.latent(BY_NAME["base"].frames)
            self._prefixes[first] = [
                self._sample(self.model, index, 0, first, empty) if first else empty for index in range(len(self.held_out))
            ]
        return self._prefixes[first]

    def _sample(self, model, index: int, first: int, last: int, latents: Tensor, callback=None) -> Tensor:
        """Take the sampling steps ``first`` .. ``last - 1`` as the core KSampler (Advanced) does."""
        import comfy.sample

        seed = 10_000 * (self._seed + 1) + index
        noise = torch.zeros_like(latents) if first else comfy.sample.prepare_noise(latents, seed)
        with torch.inference_mode():
            return comfy.sample.sample(
                model, noise, SAMPLING_STEPS, TRAINING["cfg"], "euler", SCHEDULER,
                self._encode(self.held_out[index]), self._encode(""), latents, start_step=first, last_step=last,
                force_full_denoise=last == SAMPLING_STEPS, callback=callback, disable_pbar=True, seed=seed,
            )  # fmt: skip

    def _encode(self, text: str) -> list:
        if text not in self._conditions:
            with torch.inference_mode():
                self._conditions[text] = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))
        return self._conditions[text]

    def first_step(self, start_percent: float) -> int:
        """The first sampling step inside the window from ``start_percent``."""
        import comfy.samplers

        schedule = self.model.get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(schedule, SCHEDULER, SAMPLING_STEPS)
        window = self.pack.adapters.late_step.SigmaWindow.from_percent(schedule, start_percent, 1.0)
        return self.pack.training.schedule.first_late_step(sigmas, window, start_percent, SCHEDULER)
