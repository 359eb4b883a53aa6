"""Renders the data, trains every demo network and exports the weights, in close to two hours on one core.

    .venv/bin/python -m demo.train.all --work DIR

Steps whose checkpoint is already in DIR are left out, so this can be stopped and started again.
"""

from __future__ import annotations

from pathlib import Path

from . import attributes, identities, locator, measure, recognizers, scorer, style_lora, t2v, vae
from .common import arguments
from .data import make_data
from .export import export


def train_all(work: Path) -> None:
    make_data(work)
    steps = {
        "vae": lambda: vae.main(work, minutes=14),
        "vae_decoder": lambda: vae.main(work, minutes=7, decoder_only=True),
        "locator": lambda: locator.main(work, minutes=3),
        "reward_0": lambda: recognizers.main(work, minutes=5, names=["reward_0"]),
        "reward_1": lambda: recognizers.main(work, minutes=5, names=["reward_1"]),
        "attributes": lambda: attributes.main(work, minutes=4),
        "judge": lambda: recognizers.main(work, minutes=7, names=["judge"]),
        "scorer": lambda: scorer.main(work, minutes=3),
    }
    for checkpoint, step in steps.items():
        if not (work / f"{checkpoint}.pt").exists():
            step()
    t2v.train(work, minutes=55)
    export(work)
    style_lora.main(work, minutes=5, styles=list(style_lora.STYLES))
    identities.main()
    measure.main()


if __name__ == "__main__":
    train_all(arguments(__doc__).work)
