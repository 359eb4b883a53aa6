"""adapter_config.json, which tells peft and diffusers about the matrices what their values do not."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from .fused import Matrices

NOT_PLAIN = {
    "use_dora": "DoRA",
    "use_rslora": "rank-stabilized LoRA (rslora)",
    "use_qalora": "QALoRA",
    "use_bdlora": "block-diagonal LoRA",
    "lora_bias": "biases",
    "modules_to_save": "whole modules",
    "trainable_token_indices": "trainable tokens",
    "target_parameters": "parameters outside of linears",
    "layer_replication": "replicated layers",
    "alora_invocation_tokens": "activated LoRA",
    "fan_in_fan_out": "transposed weights",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
}
"""Settings of peft's LoRA that a pair of low-rank matrices for each linear cannot express."""

CHANGES_THE_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""Initializations that change the base model, so that their adapter fits no other."""


def config_for(modules: Mapping[str, Matrices]) -> dict:
    """The arguments of a peft LoraConfig that gives every module its own rank and alpha."""
    rank = Counter(matrices.rank for matrices in modules.values()).most_common(1)[0][0]
    alpha = Counter(matrices.alpha for matrices in modules.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {name: m.rank for name, m in modules.items() if m.rank != rank},
        "alpha_pattern": {name: m.alpha for name, m in modules.items() if m.alpha != alpha},
        "target_modules": sorted(modules),
        "bias": "none",
        "lora_dropout": 0.0,
        "use_dora": False,
        "use_rslora": False,
    }


def alphas_from(config: Mapping, modules: Mapping[str, Matrices], name: str) -> dict[str, Matrices]:
    """``modules`` with the alphas that peft would read from ``config``.

    Raises ValueError, naming the adapter by ``name`` and the setting, if it is not a plain LoRA.
    """
    _refuse_variants(config, name)
    default = config.get("lora_alpha", 8)
    patterns = config.get("alpha_pattern") or {}

    def alpha_of(module: str) -> float:
        return float(next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default))

    return {module: Matrices(m.down, m.up, alpha_of(module)) for module, m in modules.items()}


def read_config(folder: Path) -> dict:
    """The adapter_config.json in ``folder``. Raises ValueError if it is missing, unreadable, or not that of a LoRA."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no adapter_config.json; choose a folder that peft's save_pretrained wrote.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config["peft_type"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); save the adapter again.") from error
    if kind != "LORA":
        raise ValueError(f"{path} describes a {kind} adapter; only LORA can be converted.")
    return config


def _refuse_variants(config: Mapping, name: str) -> None:
    found = [f"{title} ({key})" for key, title in NOT_PLAIN.items() if config.get(key)]
    if config.get("bias", "none") != "none":
        found.append(f"biases (bias={config['bias']!r})")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.startswith(CHANGES_THE_BASE):
        found.append(f"a changed base model (init_lora_weights={start!r})")
    if found:
        raise ValueError(
            f"{name} uses {', '.join(found)}, which our files cannot represent; only plain LoRA adapters can be converted."
        )
