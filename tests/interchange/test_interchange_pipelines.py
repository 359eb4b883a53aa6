"""diffusers pipelines against the host: the same weights, noise and adapter give the same latents.

The host samples with the core's euler and the node Apply Late-Step Identity LoRA; the pipeline with
its own scheduler, the exported adapter and the late-step callback.
"""

import functools
import importlib

import comfy.sample
import comfy.samplers
import comfy.utils
import folder_paths
import pytest
import torch
from peft import PeftModel

from devkit import tiny_pipelines
from devkit.tiny_adapter import save_random_adapter
from devkit.tiny_models import FAMILIES, conditioning, load_model
from devkit.tiny_motion import write_motion_module

TOLERANCE = 1e-3
WINDOW = (0.5, 1.0)
SHAPES = {"sd15": (2, 4, 8, 8)}


class Both:
    """One family on both sides, and one adapter for it in all three formats."""

    def __init__(self, pack, name, folder):
        self.pack, self.name, self.folder = pack, name, folder
        self.host, self.diffusers = functools.cache(self._host), functools.cache(self._diffusers)
        self.interchange = importlib.import_module(".interchange", pack.__name__)
        self.model = load_model(name, folder)
        self.noise = torch.randn(SHAPES.get(name, FAMILIES[name].latent_shape), generator=torch.Generator().manual_seed(3))
        self.lora = save_random_adapter(pack, self.model, folder / "adapter.safetensors", WINDOW)
        self.interchange.to_diffusers(self.lora, folder / "diffusers.safetensors")
        self.interchange.to_peft(self.lora, folder / "peft")
        if name == "sd15":
            self.add_motion()
        self.pipe = self.pipeline()
        self.plain = tiny_pipelines.latents(name, self.pipe, self.noise)
        self.sigmas = tiny_pipelines.sigmas(self.pipe)
        self.pipe.load_lora_weights(str(folder / "diffusers.safetensors"), adapter_name="identity")

    def add_motion(self):
        write_motion_module(self.folder / "motion.safetensors", self.model.model.diffusion_model, layout="diffusers")
        folder_paths.add_model_folder_path("animatediff_models", str(self.folder), is_default=True)
        with torch.inference_mode():
            node = self.pack.nodes.load_motion_module.LoadMotionModule
            self.model = node.execute(self.model, "motion.safetensors").args[0]

    def pipeline(self):
        if self.name == "sd15":
            return tiny_pipelines.animatediff(self.folder / "motion.safetensors")
        shift = float(self.model.get_model_object("model_sampling").shift)
        return {"wan21": tiny_pipelines.wan, "hunyuan_video": tiny_pipelines.hunyuan_video}[self.name](shift)

    def _host(self, start, end, strength=1.0):
        """Latents of the host in the model's own scale."""
        node = self.pack.nodes.apply_late_step_lora.ApplyLateStepLora
        with torch.inference_mode():
            lora = comfy.utils.load_torch_file(str(self.lora))
            model = node.execute(self.model, "unused", strength, start, end, lora).args[0]
            samples = comfy.sample.sample_custom(
                model,
                self.noise,
                tiny_pipelines.CFG[self.name],
                comfy.samplers.sampler_object("euler"),
                self.sigmas,
                conditioning(self.name, 1),
                conditioning(self.name, 2),
                torch.zeros_like(self.noise),
                disable_pbar=True,
                seed=0,
            )
            return self.model.model.process_latent_in(samples)

    def _diffusers(self, start=None, end=1.0, pipe=None, adapter_name="identity"):
        """The latents of the pipeline; without a window, the adapter acts in every step."""
        pipe = pipe or self.pipe
        if start is None:
            return tiny_pipelines.latents(self.name, pipe, self.noise)
        callback = self.interchange.late_step_callback(pipe, adapter_name, start, end)
        try:
            return tiny_pipelines.latents(self.name, pipe, self.noise, callback)
        finally:
            callback.remove()


def difference(left, right):
    return float((left - right).abs().max())


@pytest.fixture(scope="module", params=["sd15", "hunyuan_video", "wan21"])
def both(pack, request, tmp_path_factory):
    return Both(pack, request.param, tmp_path_factory.mktemp(request.param))


def test_base_model_is_the_same_on_both_sides(both):
    assert difference(both.plain, both.host(0.0, 1.0, strength=0.0)) < TOLERANCE


def test_windowed_adapter_gives_the_hosts_latents(both):
    windowed = both.diffusers(*both.interchange.window_of(both.lora))
    assert difference(windowed, both.host(*WINDOW)) < TOLERANCE
    assert difference(windowed, both.plain) > 50 * TOLERANCE
    assert difference(windowed, both.diffusers()) > 50 * TOLERANCE


def test_adapter_without_a_window_is_the_hosts_in_all_steps(both):
    assert difference(both.diffusers(), both.host(0.0, 1.0)) < TOLERANCE


def test_window_that_closes_early_or_opens_at_once_is_the_hosts_too(both):
    early = both.diffusers(0.0, 0.4)
    assert difference(early, both.host(0.0, 0.4)) < TOLERANCE
    assert difference(early, both.diffusers()) > TOLERANCE


def test_empty_window_is_the_base_model_bit_for_bit(both):
    assert torch.equal(both.diffusers(0.6, 0.6), both.plain)


def test_peft_folder_gives_the_hosts_latents(both):
    pipe = both.pipeline()
    component = "unet" if both.name == "sd15" else "transformer"
    PeftModel.from_pretrained(getattr(pipe, component), both.folder / "peft")
    windowed = both.diffusers(*both.interchange.window_of(both.folder / "peft"), pipe=pipe, adapter_name="default")
    assert difference(windowed, both.host(*WINDOW)) < TOLERANCE
