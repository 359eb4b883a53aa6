"""The demo models with the shortcuts that tests need: encode, sample as the core does, train a few steps."""

from dataclasses import replace
from pathlib import Path

import comfy.sample
import torch

PROMPTS = [
    "a sks person on the beach, wearing a red shirt, moving left",
    "a sks person in the snow, wearing a blue shirt, nodding",
    "a sks person in a room, wearing a green shirt, coming closer",
]
STEPS, CFG, SCHEDULER = 8, 2.0, "simple"


class DemoWorld:
    """The demo's models. latent: zeros for a short clip. cfg: for sampling. settings: a training of three quick steps."""

    cfg = CFG

    def __init__(self, pack):
        self.pack = pack
        load = pack.demo.load
        self.model, self.clip, self.vae = load.load_model(), load.load_clip(), load.load_vae()
        with torch.inference_mode(False):
            self.face_model = load.load_face_model("reward")
            self.semantic_reward = load.load_semantic_reward()
        node = pack.nodes.load_identity_images
        folder = node.LoadIdentityImages.define_schema().inputs[1].options[1]
        self.identity = node.LoadIdentityImages.execute(self.face_model, folder).args[0]
        self.latent = torch.zeros(1, 16, 4, 8, 8)
        self.settings = pack.training.settings.TrainingSettings(
            steps=3,
            learning_rate=1e-3,
            rank=4,
            alpha=4.0,
            seed=7,
            sampling_steps=STEPS,
            cfg=CFG,
            gradient_steps=2,
            preserve_weight=1.0,
            num_frames=2,
            identity_frames=2,
            gradient_checkpointing="off",
        )

    def encode(self, prompt: str) -> list:
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(prompt))

    def sample(self, model, prompt: str = PROMPTS[-1], seed: int = 7, sampler: str = "euler", **options):
        """The latents that the core KSampler makes."""
        noise = options.pop("noise", None)
        if noise is None:
            noise = comfy.sample.prepare_noise(self.latent, seed)
        with torch.inference_mode():
            return comfy.sample.sample(
                model,
                noise,
                STEPS,
                self.cfg,
                sampler,
                SCHEDULER,
                self.encode(prompt),
                self.encode(""),
                options.pop("latent", self.latent),
                disable_pbar=True,
                seed=seed,
                **options,
            )

    def run(
        self,
        path: Path,
        model=None,
        resume: bool = False,
        save_every: int = 100,
        remember_teacher: bool = True,
        teacher_clips=None,
        prompts=PROMPTS,
        high_noise_model=None,
        **changes,
    ):
        """A training run that is not yet started, with ``changes`` to the settings.

        teacher_clips: a BankLocation, or a dictionary of known clips; by default an empty one in memory.
        """
        stores, location = self.pack.training.teacher.stores, self.pack.training.teacher.location
        if not remember_teacher:
            teacher_clips = location.Stores(stores.NoStore())
        elif teacher_clips is None or isinstance(teacher_clips, dict):
            teacher_clips = location.Stores(stores.MemoryStore(teacher_clips))
        with torch.inference_mode():
            return self.pack.training.run.TrainingRun(
                model=model or self.model,
                clip=self.clip,
                vae=self.vae,
                identity=self.identity,
                semantic_reward=self.semantic_reward,
                prompts=prompts,
                negative_prompt="",
                latent=self.latent,
                settings=replace(self.settings, **changes),
                trigger_word="sks",
                lora_path=path,
                resume=resume,
                save_every=save_every,
                teacher_clips=teacher_clips,
                high_noise_model=high_noise_model,
            )

    def train(self, path: Path, after_step=lambda record, frames: None, **options):
        """A finished training run with its ``result``, executed under inference mode as in ComfyUI."""
        run = self.run(path, **options)
        with torch.inference_mode():
            run.result = run.execute(after_step)
        return run

    def random_lora(self, seed: int = 0, rank: int = 4, size: float = 0.05) -> dict:
        """A LoRA with our keys that visibly acts on every target of the adapter."""
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for target in self.pack.adapters.architectures.find_targets(self.model.model):
            tensors[f"{target.name}.lora_A.weight"] = torch.randn(rank, target.in_features, generator=generator) * size
            up = torch.zeros(target.out_features, rank)
            up[: target.rows] = torch.randn(target.rows, rank, generator=generator) * size
            tensors[f"{target.name}.lora_B.weight"] = up
        return tensors

    def apply(self, model, lora, strength: float = 1.0, start: float = 0.75, end: float = 1.0):
        """The MODEL that Apply Late-Step Identity LoRA gives."""
        node = self.pack.nodes.apply_late_step_lora.ApplyLateStepLora
        with torch.inference_mode():
            return node.execute(model, "unused", strength, start, end, lora).args[0]
