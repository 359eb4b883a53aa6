"""Trains the demo's style LoRAs, a film-noir and an evening look, in the key format that most LoRA trainers write.

    python -m demo.train.style_lora --work DIR --minutes 5 noir

The video network stays as exported; rank 8 on every linear layer of the blocks' attention and feed-forward.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from tqdm import trange

from ..contact_sheet import save_sheet
from ..world import noir, sunset
from .common import arguments, clock, set_lr
from .lora import Lora, attach, save
from .sample import Sampler, held_out_captions
from .t2v import Captions, draw_sigmas

STYLES = {
    "noir": (noir, "Film-noir look for the demo model: pale colours, strong contrast, vignette."),
    "sunset": (sunset, "Evening look for the demo model: orange light, violet shadows."),
}
RANK = 8
CLIPS = 2000
BATCH = 16
LR = 1.5e-3
SEED = 70


@torch.no_grad()
def styled_latents(sampler: Sampler, frames: Tensor, style: str, chunk: int = 20) -> Tensor:
    """Latents [N, 8, 8, 8, 8] of clips [N, 8, 3, 64, 64] (bytes) in the look ``style``."""
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
        loras = attach(sampler.wan, RANK)
        steps = train(sampler, loras, latents, clips["action"][:CLIPS], minutes)
        path = save(loras, f"style {style}", STYLES[style][1])
        save_sheet(torch.stack([before[:, 3], sampler(captions, seed=7)[:, 3]]), f"style_{style}")
        print(f"style LoRA {style}: {steps} steps, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    args = arguments(__doc__, minutes=5, names=list(STYLES))
    main(args.work, args.minutes, args.names)
