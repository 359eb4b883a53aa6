"""Turns the newest checkpoints into the files that the demo ships; networks that are not trained yet are left out.

python -m demo.train.export --work DIR
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..networks import FrameVAE, TextEncoder
from ..vision import AttributeClassifier, JudgeRecognizer, Locator, RewardRecognizer, Scorer
from ..weights import FOLDER, save_network
from .common import arguments


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def export(work: Path) -> None:
    def has(*names: str) -> bool:
        return all((work / f"{name}.pt").exists() for name in names)

    def read(name: str) -> dict:
        return torch.load(work / f"{name}.pt")

    def write(network: torch.nn.Module, state: dict[str, Tensor], name: str) -> None:
        network.load_state_dict(state)
        save_network(network, name)
        written.append(name)

    written = []
    FOLDER.mkdir(exist_ok=True)
    if has("vae_decoder") or has("vae"):
        write(FrameVAE(), read("vae_decoder" if has("vae_decoder") else "vae"), "vae")
    if has("t2v"):
        run = read("t2v")
        write(TextEncoder(), run["text"], "text_encoder")
        metadata = {"steps": str(run["step"]), "minutes": f"{run['seconds'] / 60:.0f}"}
        save_file({name: tensor.half() for name, tensor in run["wan"].items()}, FOLDER / "wan.safetensors", metadata)
        written.append("wan")
    if has("reward_0", "reward_1"):
        state = _under("trunks.0.", read("reward_0")) | _under("trunks.1.", read("reward_1"))
        write(RewardRecognizer(), state, "recognizer_reward")
    if has("judge"):
        write(JudgeRecognizer(), _under("trunk.", read("judge")), "recognizer_judge")
    for name, network in (("locator", Locator()), ("attributes", AttributeClassifier()), ("scorer", Scorer())):
        if has(name):
            write(network, read(name), name)
    sizes = sum(path.stat().st_size for path in FOLDER.glob("*.safetensors"))
    print(f"wrote {', '.join(written)}; the folder holds {sizes / 1e6:.2f} MB")


if __name__ == "__main__":
    export(arguments(__doc__).work)
