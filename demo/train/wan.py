"""The host's own class of video network in the demo's size, and its sampling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from devkit.comfy_host import find_host
from devkit.comfy_process import put_first

from ..networks import LATENT_CHANNELS, TEXT_DIM

DIM = 256  # the host's loader gives it dim / 128 heads
FFN = 512
LAYERS = 4
SHIFT = 8.0  # the shift of the demo's sigmas in sampling


def build_wan() -> nn.Module:
    """An untrained ``WanModel``, of the ComfyUI that ``find_host`` finds, with as many channels as the demo's latents."""
    put_first(find_host())
    from comfy.cli_args import args

    args.cpu = args.use_pytorch_cross_attention = True
    import comfy.model_management
    import comfy.ops
    from comfy.ldm.wan.model import WanModel

    comfy.model_management.in_training = True  # the fused rotary embedding has no gradient
    wan = WanModel(
        model_type="t2v",
        in_dim=LATENT_CHANNELS,
        out_dim=LATENT_CHANNELS,
        dim=DIM,
        ffn_dim=FFN,
        freq_dim=256,
        num_heads=DIM // 128,
        num_layers=LAYERS,
        text_dim=TEXT_DIM,
        operations=comfy.ops.disable_weight_init,
        dtype=torch.float32,
        device="cpu",
    )
    _initialise(wan)
    return wan


@torch.no_grad()
def _initialise(wan: nn.Module) -> None:
    """Initialise the host's layers, which come without; small residual branches and a zero head make a calm start."""
    for name, parameter in wan.named_parameters():
        if "modulation" in name:
            nn.init.normal_(parameter, std=0.02)
        elif parameter.ndim >= 2:
            nn.init.normal_(parameter, std=1 / math.sqrt(parameter[0].numel()))
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)
    for block in wan.blocks:
        for layer in (block.self_attn.o, block.cross_attn.o, block.ffn[2]):
            layer.weight.mul_(0.5)
    wan.time_projection[1].weight.mul_(0.2)
    nn.init.zeros_(wan.head.head.weight)


def sigmas(steps: int, shift: float = SHIFT) -> list[float]:
    even = torch.linspace(1, 0, steps + 1)
    return (shift * even / (1 + (shift - 1) * even)).tolist()


@torch.no_grad()
def sample(wan: nn.Module, noise: Tensor, text: Tensor, empty: Tensor, steps: int = 16, cfg: float = 1.0) -> Tensor:
    """The latents that Euler steps along the flow make of noise [B, 8, T, h, w]; text is [B, 20, 128], empty [1, 20, 128]."""
    x = noise
    schedule = sigmas(steps)
    for sigma, after in zip(schedule, schedule[1:]):
        time = torch.full((len(x),), sigma * 1000)
        with torch.autocast("cpu", torch.bfloat16):
            velocity = wan(x, time, text).float()
            if cfg != 1:
                without = wan(x, time, empty.expand_as(text)).float()
                velocity = without + cfg * (velocity - without)
        x = x + (after - sigma) * velocity
    return x
