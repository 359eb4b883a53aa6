"""The numbers of the memory plan, read off the user's models and the host."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn

from ...adapters.architectures import Architecture
from ...adapters.low_rank import LowRankAdapter
from ...host.autograd import training_mode
from ...host.memory_use import free_memory
from ...host.tiny_vae import tiny_vae_file
from ...rewards.faces import FaceModel
from ...rewards.semantic import SemanticReward
from ..decoding.chunked import ChunkedFrames
from ..decoding.frame_decoder import FrameDecoder
from ..settings import TrainingSettings, frames_a_step
from .estimate import Decoder, Demand
from .layers import decoder_width, layers_of
from .plan import Budget

# Weights, gradients and the two moments of AdamW.
ADAPTER_COPIES = 4
TINY = ("TAESD", "TinyVideoFrames")
TINY_WIDTH = 64
FEWEST_FRAMES = 2  # that the semantic reward can compare
CHUNK_FRAMES = 8  # at most, of the VAEs that decode in chunks
SMALLER = (0.75, 0.5, 0.375, 0.25)  # of width and height
# Back-ends whose scaled_dot_product_attention needs no matrix of tokens x tokens.
FUSED_ATTENTION = ("cuda", "cpu", "xpu")
# Devices whose memory is the computer's.
ONE_MEMORY = ("cpu", "mps")


@dataclass(frozen=True)
class RunParts:
    """What a run trains with; see ``TrainingRun``. networks: patchers of the rewards. gradient_steps: K inside the window."""

    model: ModelPatcher
    architecture: Architecture
    decoder: FrameDecoder
    networks: list[ModelPatcher]
    face_model: FaceModel
    semantic_reward: SemanticReward | None
    adapter: LowRankAdapter
    settings: TrainingSettings
    gradient_steps: int


def demand_of(parts: RunParts, latent: Tensor) -> Demand:
    """What the run needs memory for when its clips are shaped like ``latent``."""
    settings, model = parts.settings, parts.model
    element_size = model.model.get_dtype_inference().itemsize
    adapter = ADAPTER_COPIES * sum(weight.numel() * weight.element_size() for weight in parts.adapter.parameters())
    scored = parts.semantic_reward is not None and settings.semantic_weight > 0
    frames = frames_a_step(settings, scored)
    height, width = parts.decoder.frame_size(latent)
    file = tiny_vae_file(model.get_model_object("latent_format"))
    return Demand(
        weights=sum(patcher.model_size() for patcher in _patchers(parts)) + adapter,
        dequantised_bytes=_dequantised_bytes(model.model.diffusion_model, element_size),
        family=parts.architecture.name,
        layers=layers_of(model, parts.architecture, tuple(latent.shape)),
        element_size=element_size,
        heads=0 if model.load_device.type in FUSED_ATTENTION else getattr(model.model.diffusion_model, "num_heads", 16),
        guided=not math.isclose(settings.cfg, 1.0),
        gradient_steps=parts.gradient_steps,
        frames=frames,
        fewest_frames=min(frames, max(settings.identity_frames, FEWEST_FRAMES)),
        clip=_reach(parts.decoder, parts.decoder.count(latent)),
        pixels=height * width,
        decoder=Decoder(decoder_kind(parts.decoder), decoder_width(parts.decoder.network), parts.decoder.vae.vae_dtype.itemsize),
        tiny=tiny_decoder(parts) if file else None,
        frame_reward=_semantic_bytes(parts.semantic_reward, height, width) if parts.semantic_reward is not None and scored else 0,
        step_reward=_identity_bytes(parts.face_model, settings.identity_frames),
    )


def tiny_decoder(parts: RunParts) -> Decoder | None:
    """The decoder of the model's small preview VAE, whether its file is there or not; None if the run uses one anyway."""
    if decoder_kind(parts.decoder) in TINY or parts.model.get_model_object("latent_format").taesd_decoder_name is None:
        return None
    image = parts.decoder.vae.latent_dim == 2
    return Decoder(TINY[0] if image else TINY[1], TINY_WIDTH, parts.decoder.vae.vae_dtype.itemsize)


def smaller(parts: RunParts, latent: Tensor, demand: Demand) -> tuple[Iterator, Iterator]:
    """Shorter clips, and smaller pictures, each as ("length to 33", what they need memory for), the largest first."""
    time = 0 if latent.ndim == 4 else 2

    def resized(shape: list[int]) -> tuple[Demand, Tensor]:
        other = torch.empty(shape, device="meta")
        height, width = parts.decoder.frame_size(other)
        layers = layers_of(parts.model, parts.architecture, tuple(shape))
        return replace(
            demand, layers=layers, clip=_reach(parts.decoder, parts.decoder.count(other)), pixels=height * width
        ), other

    def shorter():
        for frames in range(latent.shape[time] - 1, 0, -1):
            shape = list(latent.shape)
            shape[time] = frames
            other, shaped = resized(shape)
            length = parts.decoder.count(shaped)
            if (length - 1) % parts.architecture.length_step == 0:
                yield f"length to {length}", other

    def narrower():
        for scale in SMALLER:
            sides = [max(2, int(side * scale) // 2 * 2) for side in latent.shape[-2:]]
            other, shaped = resized([*latent.shape[:-2], *sides])
            height, width = parts.decoder.frame_size(shaped)
            yield f"width and height to {width} x {height}", other

    return shorter(), narrower()


def budget_of(parts: RunParts, bank: int) -> Budget:
    """The bytes that the host can free for training. bank: those of clips that CPU memory is going to remember."""
    device = parts.model.load_device
    reserve = int(comfy.model_management.minimum_inference_memory())
    cpu = free_memory(torch.device("cpu")) - bank
    if device.type in ONE_MEMORY:
        loaded = sum(patcher.model_size() for patcher in _patchers(parts))
        return Budget(cpu + loaded - reserve, None)
    loaded = sum(
        entry.model_loaded_memory()
        for entry in comfy.model_management.current_loaded_models
        if entry.model is not None and entry.device == device
    )
    return Budget(free_memory(device) + loaded - reserve, cpu)


def decoder_kind(decoder: FrameDecoder) -> str:
    """The name of ``decoder`` in the costs."""
    network, source = type(decoder.network).__name__, type(decoder.source).__name__
    return network if network == "TAESD" else {"IndependentFrames": "ImageFrames"}.get(source, source)


def _patchers(parts: RunParts) -> list[ModelPatcher]:
    """The patchers of every network that is loaded while training."""
    return [parts.model, *parts.model.get_nested_additional_models(), parts.decoder.patcher, *parts.networks]


def _reach(decoder: FrameDecoder, frames: int) -> int:
    """How many frames of the clip the gradient of a decoded frame reaches at most."""
    chunked = isinstance(decoder.source, ChunkedFrames)
    return min(frames, decoder.gradient_chunks * CHUNK_FRAMES) if chunked and decoder.gradient_chunks else frames


def _dequantised_bytes(network: nn.Module, element_size: int) -> int:
    """Bytes of the weights that a call converts and then keeps for backward; 8-bit matrix products keep none."""
    size = 0
    for module in network.modules():
        for weight in module._parameters.values():
            if weight is None:
                continue
            if type(weight.data) is not Tensor:
                size += weight.numel() * element_size if getattr(module, "_full_precision_mm", True) else 0
            elif weight.is_floating_point() and weight.element_size() < element_size:
                size += weight.numel() * element_size
    return size


def _semantic_bytes(reward: SemanticReward, height: int, width: int) -> int:
    return _saved(reward.networks, lambda: reward.encode_image(torch.zeros(1, 3, height, width, requires_grad=True)))


def _identity_bytes(face_model: FaceModel, frames: int) -> int:
    side = face_model.crop_size
    return _saved(face_model.networks, lambda: face_model.embed(torch.zeros(frames, 3, side, side, requires_grad=True)))


def _saved(network: nn.Module, call: Callable) -> int:
    """Bytes that a reward, which is still on the CPU, keeps for backward; its weights are counted elsewhere."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    storages = {}

    def pack(tensor: Tensor) -> None:
        """Hold the storage alone: a tensor that its own graph holds is a circle that Python never collects."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage

    with training_mode(), torch.autograd.graph.saved_tensors_hooks(pack, lambda nothing: nothing):
        call()
    return sum(storage.nbytes() for storage in storages.values())
