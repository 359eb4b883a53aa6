"""Weights as a host with dynamic VRAM leaves them: in the type of their file, for a patcher that casts on every use.

Here the host's switch for it is set without a GPU, so that its layers load as they do then.
"""

from functools import partial

import comfy.latent_formats
import comfy.memory_management
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.utils
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from safetensors.torch import load_file

from benchmarks.gpu import models as gpu_models
from devkit import tiny_models, tiny_vaes


class Streamed(ModelPatcher):
    def is_dynamic(self):
        return True


@pytest.fixture(scope="module")
def model_weights():
    return tiny_models.diffusion_state("wan21")


@pytest.fixture(scope="module")
def vae_weights():
    return tiny_vaes.ltx(timestep=True).first_stage_model.state_dict()


@pytest.fixture
def streaming(monkeypatch):
    """Lets its argument, (disable_dynamic) -> patcher, load as the host loads what it streams."""
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", True)
    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", Streamed)
    monkeypatch.setattr(comfy.model_management, "unet_manual_cast", lambda *types: None)

    def load(loader):
        patcher = loader(disable_dynamic=False)
        patcher.cached_patcher_init = (loader, ())
        return patcher

    return load


def load_model(weights, disable_dynamic=True):
    options = {"dtype": torch.bfloat16}
    return comfy.sd.load_diffusion_model_state_dict(dict(weights), model_options=options, disable_dynamic=disable_dynamic)


def same_weights(network, other):
    """Whether all values and their types are the same."""
    one, two = network.state_dict(), other.state_dict()
    return one.keys() == two.keys() and all(one[key].dtype == two[key].dtype and torch.equal(one[key], two[key]) for key in one)


def test_clone_for_training_is_as_the_host_loads_it_without_streaming(pack, model_weights, streaming, monkeypatch):
    model = streaming(partial(load_model, model_weights))
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    clone = pack.host.autograd.static_clone(model, "model")
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", False)
    assert same_weights(clone.model, load_model(model_weights).model)
    assert all(torch.equal(value, before[name]) for name, value in model.model.state_dict().items())
    with torch.no_grad():
        moved = clone.model.apply_model(torch.randn(1, 16, 2, 4, 4), torch.tensor([500.0]), c_crossattn=torch.randn(1, 5, 4096))
    assert moved.isfinite().all()


def test_model_that_casts_its_weights_keeps_them_as_they_are(pack, model_weights, streaming, monkeypatch):
    monkeypatch.setattr(comfy.model_management, "unet_manual_cast", lambda *types: torch.float32)
    model = streaming(partial(load_model, model_weights))
    clone = pack.host.autograd.static_clone(model, "model")
    assert clone.model.diffusion_model.blocks[0].self_attn.q.weight.dtype == torch.float32


def test_frames_of_a_vae_are_decoded_in_its_type(pack, vae_weights, streaming, monkeypatch):
    monkeypatch.setattr(tiny_vaes, "random_state", lambda network: vae_weights)
    vae = tiny_vaes.ltx(torch.bfloat16, timestep=True)
    vae.patcher = streaming(lambda disable_dynamic: tiny_vaes.ltx(torch.bfloat16, timestep=True).patcher)
    decoder = pack.training.decoding.frame_decoder.FrameDecoder(vae, torch.device("cpu"))
    assert {weight.dtype for weight in vae.patcher.model.parameters()} == {torch.float32}
    monkeypatch.setattr(comfy.memory_management, "aimdo_enabled", False)
    monkeypatch.setattr(comfy.model_patcher, "CoreModelPatcher", ModelPatcher)
    assert same_weights(decoder.network, tiny_vaes.ltx(torch.bfloat16, timestep=True).first_stage_model)
    decoder.network.to(vae.device)
    assert decoder.decode(torch.randn(1, 128, 2, 2, 2), [0]).isfinite().all()


def test_model_that_cannot_be_loaded_again_is_named(pack, model_weights, streaming):
    model = streaming(partial(load_model, model_weights))
    model.cached_patcher_init = None
    with pytest.raises(
        ValueError, match=r"^model: ComfyUI streams its weights .* or start ComfyUI with --disable-dynamic-vram\.$"
    ):
        pack.host.autograd.static_clone(model, "model")


def test_demo_computes_in_32_bits_where_the_host_would_choose_16(pack, monkeypatch):
    """Layers that are loaded from a file in 32 bits are never streamed."""
    monkeypatch.setattr(comfy.model_management, "unet_dtype", lambda *given, **options: torch.float16)
    model = pack.demo.load.load_model().model
    assert (
        model.get_dtype_inference() == torch.float32 and model.diffusion_model.blocks[0].self_attn.q.weight.dtype == torch.float32
    )


def test_tiny_vae_of_the_memory_plan_can_be_cloned(pack, streaming, vae_approx, monkeypatch):
    latent_format = comfy.latent_formats.Wan21()
    monkeypatch.setattr(comfy.utils, "load_torch_file", lambda path, **options: load_file(path))  # its own way needs the GPU
    gpu_models.write_tiny_vae(latent_format)
    vae = pack.host.tiny_vae.load_tiny_vae(latent_format)
    assert vae.patcher.is_dynamic()
    decoder = pack.training.decoding.frame_decoder.FrameDecoder(vae, torch.device("cpu"))
    decoder.network.to(vae.device)
    assert not decoder.patcher.is_dynamic() and decoder.network is not vae.first_stage_model
    assert decoder.decode(torch.randn(1, 16, 2, 2, 2), [0]).isfinite().all()
