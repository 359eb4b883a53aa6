"""The demo's networks as the host's own MODEL, CLIP and VAE.

The video network is stored with the demo's 8 latent channels and 128 text dimensions. Here it is padded with zeros to the
sizes of Wan 2.1, so that the host's own loader recognises it and every node that takes a Wan model takes it too.
"""

from types import SimpleNamespace

import comfy.latent_formats
import comfy.model_management
import comfy.model_sampling
import comfy.sd
import torch
import torch.nn.functional as F
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from .captions import tokenise
from .networks import LATENT_CHANNELS, LATENT_SCALE, FrameVAE, TextEncoder

WAN_CHANNELS = 16
WAN_TEXT_DIM = 4096
SHIFT = 8.0  # with it the last quarter of the steps begins at sigma 0.73, where faces are still undecided


class DemoSampling(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """Rectified flow with the demo's shift."""


def build_model(state: dict[str, Tensor]) -> ModelPatcher:
    """The MODEL with the demo's Wan weights, made by the host's loader."""
    model = comfy.sd.load_diffusion_model_state_dict(
        _pad_to_wan(state), model_options={"dtype": torch.float32}, disable_dynamic=True
    )
    sampling = DemoSampling(model.model.model_config)
    sampling.set_parameters(shift=SHIFT, multiplier=1000)
    model.add_object_patch("model_sampling", sampling)
    return model


def build_clip(encoder: TextEncoder) -> comfy.sd.CLIP:
    """The CLIP around the demo's word-level text encoder."""
    target = SimpleNamespace(params={"encoder": encoder}, clip=_HostTextModel, tokenizer=_HostTokenizer)
    return comfy.sd.CLIP(target, parameters=sum(parameter.numel() for parameter in encoder.parameters()))


def build_vae(network: FrameVAE) -> comfy.sd.VAE:
    """The VAE around the demo's per-frame autoencoder, with Wan's latent statistics."""
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.ones(())}, dtype=torch.float32)
    vae.first_stage_model = _HostFrameVAE(network).eval()
    vae.patcher = ModelPatcher(
        vae.first_stage_model, load_device=vae.device, offload_device=comfy.model_management.vae_offload_device()
    )
    vae.latent_channels = WAN_CHANNELS
    vae.latent_dim = 3
    vae.upscale_ratio = vae.downscale_ratio = (_same_length, LATENT_SCALE, LATENT_SCALE)
    vae.upscale_index_formula = vae.downscale_index_formula = (1, LATENT_SCALE, LATENT_SCALE)
    return vae


def _same_length(length: int) -> int:
    return length


def _pad_to_wan(state: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {name: tensor.float() for name, tensor in state.items()}
    text = state["text_embedding.0.weight"]
    state["text_embedding.0.weight"] = F.pad(text, (0, WAN_TEXT_DIM - text.shape[1]))
    patch = state["patch_embedding.weight"]
    state["patch_embedding.weight"] = F.pad(patch, (0, 0) * 3 + (0, WAN_CHANNELS - patch.shape[1]))
    for name in ("head.head.weight", "head.head.bias"):
        by_channel = state[name].unflatten(0, (-1, LATENT_CHANNELS))
        trailing = (0, 0) * (by_channel.ndim - 2)
        state[name] = F.pad(by_channel, (*trailing, 0, WAN_CHANNELS - LATENT_CHANNELS)).flatten(0, 1)
    return state


class _HostTokenizer:
    def __init__(self, embedding_directory=None, tokenizer_data=None):
        pass

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **kwargs):
        return {"words": [[(word, 1.0) for word in tokenise([text])[0].tolist()]]}

    def state_dict(self) -> dict:
        return {}


class _HostTextModel(nn.Module):
    dtypes = {torch.float32}

    def __init__(self, encoder: TextEncoder, device, dtype, model_options):
        super().__init__()
        self.encoder = encoder.to(device).eval()

    def set_clip_options(self, options) -> None:
        """Do nothing, as the encoder has one layer and the host moves its weights."""

    def reset_clip_options(self) -> None:
        """Do nothing; see ``set_clip_options``."""

    def encode_token_weights(self, tokens):
        words = torch.tensor([[word for word, _ in tokens["words"][0]]], device=self.encoder.places.device)
        features = self.encoder(words)
        return F.pad(features, (0, WAN_TEXT_DIM - features.shape[-1])), None


class _HostFrameVAE(nn.Module):
    frame_independent = True

    def __init__(self, network: FrameVAE):
        super().__init__()
        self.network = network
        self.latent_format = comfy.latent_formats.Wan21()

    def encode(self, video: Tensor) -> Tensor:
        """The latents [B, 16, T, H/8, W/8], with Wan's statistics, of ``video`` [B, 3, T, H, W] in -1..1."""
        latents = self.network.encode(video)
        padding = (0, 0) * 3 + (0, WAN_CHANNELS - LATENT_CHANNELS)
        return self.latent_format.process_out(F.pad(latents, padding))

    def decode(self, latents: Tensor) -> Tensor:
        """The video [B, 3, T, H, W] of ``latents``, about in -1..1 but not clamped."""
        return self.network.decode(self.latent_format.process_in(latents)[:, :LATENT_CHANNELS])
