"""Trains the demo's style LoRAs, a film-noir and an evening look, in the key format that most LoRA trainers write.

    python -m demo.train.style_lora --work DIR --minutes 5 noir

The video network stays as exported; every linear layer in the attention and feed-forward of its blocks gets rank 8.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import trange

from ..weights import FOLDER
from ..world import noir, sunset
from .common import arguments, clock, set_lr
from .contact_sheet import save_sheet
from .sample import Sampler, held_out_captions
from .t2v import Captions, draw_sigmas

STYLES = {
    "noir": (noir, "Film-noir look for the demo model: pale colours, strong contrast, vignette."),
    "sunset": (sunset, "Evening look for the demo model: orange light, violet shadows."),
}
RANK, ALPHA = 8, 8.0
CLIPS = 2000
BATCH = 16
LR = 1.5e-3
SEED = 70


class Lora(nn.Module):
    """A low-rank addition to a linear layer, which starts at zero."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self.down = nn.Parameter(torch.randn(RANK, layer.in_features) / math.sqrt(layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, RANK))
        layer.register_forward_hook(self.add)

    def add(self, _, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return output + F.linear(F.linear(inputs[0], self.down), self.up) * (ALPHA / RANK)


def attach(wan: nn.Module) -> dict[str, Lora]:
    """Put a LoRA on each linear layer of the blocks, and return them by the layer's name."""
    return {
        name: Lora(layer) for name, layer in wan.named_modules() if name.startswith("blocks.") and isinstance(layer, nn.Linear)
    }


def save(loras: dict[str, Lora], style: str) -> Path:
    tensors = {}
    for name, lora in loras.items():
        key = "lora_unet_" + name.replace(".", "_")
        tensors[f"{key}.lora_down.weight"] = lora.down.detach().half()
        tensors[f"{key}.lora_up.weight"] = lora.up.detach().half()
        tensors[f"{key}.alpha"] = torch.tensor(ALPHA).half()
    path = FOLDER.parent / "loras" / f"demo style {style}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file(
        tensors,
        path,
        {
            "ss_network_module": "networks.lora",
            "ss_network_dim": str(RANK),
            "ss_network_alpha": str(ALPHA),
            "ss_base_model_version": "personalvideo-demo-wan",
            "modelspec.title": f"Demo style {style}",
            "modelspec.description": STYLES[style][1],
            "modelspec.license": "Apache-2.0",
        },
    )
    return path


@torch.no_grad()
def styled_latents(sampler: Sampler, frames: Tensor, style: str, chunk: int = 20) -> Tensor:
    """The latents [N, 8, 8, 8, 8] of clips [N, 8, 3, 64, 64], given as bytes, in the look ``style``."""
    parts = []
    for start in trange(0, len(frames), chunk, desc=f"{style} clips"):
        styled = STYLES[style][0](frames[start : start + chunk].float() / 255)
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(sampler.vae.encode((styled * 2 - 1).transpose(1, 2)).float())
    return torch.cat(parts)


def train(sampler: Sampler, loras: dict[str, Lora], latents: Tensor, action: Tensor, minutes: float) -> int:
    captions = Captions()
    adam = torch.optim.AdamW([p for lora in loras.values() for p in lora.parameters()], weight_decay=0.01)
    for step, progress in enumerate(clock(minutes, "style LoRA")):
        rows = torch.randint(0, len(latents), (BATCH,))
        clean, noise = latents[rows], torch.randn(BATCH, *latents.shape[1:])
        sigma = draw_sigmas(BATCH)
        mix = sigma.view(-1, 1, 1, 1, 1)
        with torch.autocast("cpu", torch.bfloat16):
            text = sampler.text(captions.draw(action[rows]))
            velocity = sampler.wan((1 - mix) * clean + mix * noise, sigma * 1000, text)
        loss = (velocity.float() - (noise - clean)).square().mean()
        adam.zero_grad()
        loss.backward()
        set_lr(adam, LR * min(1, step / 20) * (1.02 - progress))
        adam.step()
    return step


def main(work: Path, minutes: float, styles: list[str]) -> None:
    for style in styles:
        torch.manual_seed(SEED)
        sampler = Sampler()
        captions = held_out_captions()[:8]
        before = sampler(captions, seed=7)
        clips = torch.load(work / "clips.pt", mmap=True)
        latents = styled_latents(sampler, clips["frames"][:CLIPS], style)
        loras = attach(sampler.wan)
        steps = train(sampler, loras, latents, clips["action"][:CLIPS], minutes)
        path = save(loras, style)
        save_sheet(torch.stack([before[:, 3], sampler(captions, seed=7)[:, 3]]), f"style_{style}")
        print(f"style LoRA {style}: {steps} steps, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    args = arguments(__doc__, minutes=5, names=list(STYLES))
    main(args.work, args.minutes, args.names)
