"""Trains the text-to-video network and its text encoder together, by flow matching on the clips' latents.

    python -m demo.train.t2v --work DIR --minutes 55

It can be stopped at any time and goes on from its last checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..captions import MAX_WORDS, MOTIONS, NOUNS, SHIRTS, TRIGGER, caption, every_caption, tokenise
from ..networks import TextEncoder
from .common import Muon, arguments, processor_seconds, save_atomically, set_lr
from .fast import use_fast_layers
from .wan import build_wan

BATCH = 32  # clips
EMPTY_SHARE = 0.07  # of the captions are left empty, so that classifier-free guidance works
TRIGGER_SHARE = 0.3  # of the captions have the trigger word, which means nothing yet
NOUN_WEIGHTS = (0.8, 0.1, 0.1)
MUON_LR, ADAM_LR = 0.02, 1.5e-3
AVERAGE = 0.998
CONSTANT_UNTIL = 0.4  # of the time; from then on the learning rates fall linearly
SAVE_EVERY = 200  # steps
SEED = 3


class Captions:
    """All captions of the grammar in every wording, tokenised once."""

    def __init__(self):
        self.wordings = [(noun, trigger) for noun in NOUNS for trigger in (False, True)]
        texts = [
            caption(*action, subject=f"{TRIGGER} {noun}" if trigger else noun)
            for action in every_caption()
            for noun, trigger in self.wordings
        ]
        self.tokens = tokenise(texts).unflatten(0, (-1, len(self.wordings)))
        noun_weights = dict(zip(NOUNS, NOUN_WEIGHTS))
        self.weights = torch.tensor(
            [noun_weights[noun] * (TRIGGER_SHARE if trigger else 1 - TRIGGER_SHARE) for noun, trigger in self.wordings]
        )

    def draw(self, action: Tensor) -> Tensor:
        """The tokens [B, 20] of captions that describe actions [B, 3]; some of them are empty."""
        scene, shirt, motion = action.unbind(-1)
        row = (scene * len(SHIRTS) + shirt) * len(MOTIONS) + motion
        wording = torch.multinomial(self.weights, len(action), replacement=True)
        empty = torch.rand(len(action), 1) < EMPTY_SHARE
        return torch.where(empty, torch.zeros(MAX_WORDS, dtype=torch.long), self.tokens[row, wording])


def _stratified(count: int) -> Tensor:
    """Uniform random numbers [count], one in each of ``count`` equal parts of 0..1."""
    return (torch.arange(count) + torch.rand(count)) / count


def draw_sigmas(count: int) -> Tensor:
    """Noise levels [count], half around 0.65, half uniform and shifted by 3; stratified, so that batches are alike."""
    half = count // 2
    normal = torch.special.ndtri(_stratified(half).clamp(1e-4, 1 - 1e-4))
    even = _stratified(count - half)
    return torch.cat([torch.sigmoid(1.2 * normal + 0.6), 3 * even / (1 + 2 * even)])


class Run:
    """Everything that a checkpoint holds: the networks, their averaged weights, and the optimizers."""

    def __init__(self):
        self.wan, self.text = build_wan(), TextEncoder()
        use_fast_layers(self.wan)
        self.parameters = [*self.wan.parameters(), *self.text.parameters()]
        matrices = [p for name, p in self.wan.named_parameters() if p.ndim == 2 and name.startswith("blocks")]
        chosen = {id(p) for p in matrices}
        self.rest = [p for p in self.parameters if id(p) not in chosen]
        self.muon = Muon(matrices, MUON_LR, decay=0.01)
        self.adam = torch.optim.AdamW(self.rest, betas=(0.9, 0.97), weight_decay=0.0)
        self.average = [p.detach().clone() for p in self.parameters]
        self.step, self.seconds, self.losses = 0, 0.0, []

    def velocity(self, latents: Tensor, sigma: Tensor, tokens: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.wan(latents, sigma * 1000, self.text(tokens)).float()

    def update(self, loss: Tensor, scale: float) -> None:
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(self.rest, 1.0)
        set_lr(self.adam, ADAM_LR * scale)
        self.adam.step()
        self.muon.step(scale)
        self.step += 1
        keep = min(AVERAGE, 1 - 8 / (self.step + 8))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - keep)

    def save(self, path: Path) -> None:
        with torch.no_grad():
            trained = [p.clone() for p in self.parameters]
            torch._foreach_copy_(self.parameters, self.average)
            averaged = {
                name: {key: value.clone() for key, value in network.state_dict().items()}
                for name, network in (("wan", self.wan), ("text", self.text))
            }
            torch._foreach_copy_(self.parameters, trained)
        state = {"trained": trained, "average": self.average, "muon": self.muon.buffers, "adam": self.adam.state_dict()}
        progress = {"step": self.step, "seconds": self.seconds, "losses": self.losses}
        save_atomically(averaged | state | progress, path)

    @torch.no_grad()
    def load(self, path: Path) -> None:
        state = torch.load(path)
        torch._foreach_copy_(self.parameters, state["trained"])
        torch._foreach_copy_(self.average, state["average"])
        self.muon.buffers = state["muon"]
        self.adam.load_state_dict(state["adam"])
        self.step, self.seconds, self.losses = state["step"], state["seconds"], state["losses"]


def flow_loss(run: Run, latents: Tensor, tokens: Tensor) -> Tensor:
    sigma = draw_sigmas(len(latents))
    noise = torch.randn_like(latents)
    mix = sigma.view(-1, 1, 1, 1, 1)
    noisy = (1 - mix) * latents + mix * noise
    return (run.velocity(noisy, sigma, tokens) - (noise - latents)).square().mean()


def train(work: Path, minutes: float) -> None:
    latents = torch.load(work / "latents.pt")
    action = torch.load(work / "clips.pt", mmap=True)["action"]
    captions = Captions()
    torch.manual_seed(SEED)
    run = Run()
    path = work / "t2v.pt"
    if path.exists():
        run.load(path)
        torch.manual_seed(SEED + run.step)
    before, began = run.seconds, processor_seconds()
    smooth = run.losses[-1][2] if run.losses else 1.0
    bar = tqdm(desc="T2V", unit="step", initial=run.step)
    while (progress := run.seconds / 60 / minutes) < 1:
        rows = torch.randint(0, len(latents), (BATCH,))
        loss = flow_loss(run, latents[rows].float(), captions.draw(action[rows]))
        scale = min(1, run.step / 60) * min(1, 0.02 + (1 - progress) / (1 - CONSTANT_UNTIL))
        run.update(loss, scale)
        run.seconds = before + processor_seconds() - began
        smooth += 0.02 * (loss.item() - smooth)
        bar.update()
        if run.step % 20 == 0:
            bar.set_postfix_str(f"loss {smooth:.4f}, {progress:.1%}")
        if run.step % SAVE_EVERY == 0:
            run.losses.append((run.step, run.seconds, smooth))
            run.save(path)
    run.losses.append((run.step, run.seconds, smooth))
    run.save(path)


if __name__ == "__main__":
    args = arguments(__doc__, minutes=55)
    train(args.work, args.minutes)
