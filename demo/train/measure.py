"""Measures the video network: does it show what the caption says, and the same person throughout?

    python -m demo.train.measure

It uses the exported networks. Rendered clips with the same captions are measured too, as the ceiling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .. import weights
from ..captions import MOTION_NAMES, caption, every_caption, parse, tokenise
from ..people import ATTRIBUTES, sample_people
from ..scenes import SIZE
from ..world import crop, make_clips
from .contact_sheet import save_sheet
from .sample import Sampler, held_out_captions

SEEDS = (7, 8, 9)


def motion_of(track: Tensor) -> int:
    """The number of the motion that head boxes [T, 3] show: the largest of the steady changes, or else nodding."""
    dx, dy, ds = (track[-3:].mean(0) - track[:3].mean(0)).tolist()
    steady = {"left": -dx, "right": dx, "up": -dy, "down": dy, "zoom": 2.5 * ds}
    name = max(steady, key=steady.get)
    return MOTION_NAMES.index(name if steady[name] > 0.12 else "nod")


class Ruler:
    """The networks that look at clips [B, 8, 3, 64, 64] in 0..1, and what they see in them."""

    def __init__(self):
        self.locator, self.judge = weights.locator(), weights.judge_recognizer()
        self.attributes, self.scorer = weights.attribute_classifier(), weights.scorer()
        self.meanings = sorted({action[:2] for action in every_caption()})
        self.texts = self.scorer.text(tokenise([caption(*meaning, motion=0) for meaning in self.meanings]))

    @torch.no_grad()
    def figures(self, clips: Tensor, actions: list[tuple[int, int, int]]) -> dict[str, float]:
        count, length = clips.shape[:2]
        frames = clips.flatten(0, 1)
        boxes, presence = self.locator(frames)
        crops = crop(frames, boxes)
        track = boxes.unflatten(0, (count, length))
        seen = [motion_of(boxes) for boxes in track]
        guess = (self.scorer.image(clips[:, length // 2]) @ self.texts.T).argmax(1).tolist()
        meant = [self.meanings[index] for index in guess]
        faces = self.judge(crops).unflatten(0, (count, length))
        pairs = (faces @ faces.mT).flatten(1).sum(1) - length
        logits, _ = self.attributes(crops)
        steadiness = torch.stack(
            [
                logits[name]
                .argmax(1)
                .unflatten(0, (count, length))
                .mode(1, keepdim=True)
                .values.eq(logits[name].argmax(1).unflatten(0, (count, length)))
                .float()
                .mean()
                for name in ATTRIBUTES
            ]
        ).mean()
        certainty = torch.stack([logits[name].softmax(-1).amax(-1).mean() for name in ATTRIBUTES]).mean()
        return {
            "scene right": sum(a[0] == b[0] for a, b in zip(meant, actions)) / count,
            "shirt right": sum(a[1] == b[1] for a, b in zip(meant, actions)) / count,
            "motion right": sum(a == b[2] for a, b in zip(seen, actions)) / count,
            "person seen": (presence > 0).float().mean().item(),
            "head speed, pixels a frame": (track.diff(dim=1)[..., :2] * SIZE / 2).norm(dim=-1).mean().item(),
            "judge, between frames of a clip": (pairs / (length * (length - 1))).mean().item(),
            "attributes the same in all frames": steadiness.item(),
            "certainty of attributes": certainty.item(),
        }


def main() -> None:
    captions = held_out_captions() * len(SEEDS)
    actions = [parse(text) for text in captions]
    ruler, sampler = Ruler(), Sampler()
    generator = torch.Generator().manual_seed(SEEDS[0])
    rendered = make_clips(sample_people(len(actions), generator), torch.tensor(actions), generator).frames
    save_sheet(rendered[:6], "rendered")
    with torch.no_grad():
        decoded = sampler.vae.decode(sampler.vae.encode((rendered * 2 - 1).transpose(1, 2)))
    columns = {"rendered": rendered, "through the VAE": (decoded.transpose(1, 2) / 2 + 0.5).clamp(0, 1)}
    for cfg in (1.0, 2.0):
        clips = torch.cat([sampler(held_out_captions(), seed, cfg) for seed in SEEDS])
        save_sheet(clips[:6], f"samples_cfg{cfg:g}")
        columns[f"cfg {cfg:g}"] = clips
    table = {name: ruler.figures(clips, actions) for name, clips in columns.items()}
    print("| | " + " | ".join(table) + " |\n|---|" + "---|" * len(table))
    for row in next(iter(table.values())):
        print(f"| {row} | " + " | ".join(f"{figures[row]:.3f}" for figures in table.values()) + " |")


if __name__ == "__main__":
    main()
