"""A random adapter for a tiny model, in a file like the trainer's."""

from pathlib import Path

import torch


def save_random_adapter(pack, model, path: Path, window=(0.75, 1.0), rank: int = 4, alpha: float = 6.0) -> Path:
    adapters = pack.adapters
    with torch.inference_mode(False):
        targets = adapters.architectures.find_targets(model.model)
        adapter = adapters.low_rank.LowRankAdapter.create(targets, rank, alpha, seed=0)
        generator = torch.Generator().manual_seed(1)
        for residual in adapter.layers:
            residual.up.data.normal_(std=0.3, generator=generator)
        keys = adapters.host_lora.file_keys(model.model, [target.name for target in targets])
        tensors = adapters.lora_file.to_state_dict(adapter, targets, keys)
    info = adapters.lora_file.AdapterInfo(
        base_model=adapters.architectures.architecture_of(model.model).name,
        start_percent=window[0],
        end_percent=window[1],
        switch_sigma=0.875,
        rank=rank,
        alpha=alpha,
        trigger_word="sks",
        steps=3,
        settings={"learning_rate": 1e-3},
    )
    adapters.lora_file.save_lora(path, adapters.lora_file.LateStepLora(tensors, info))
    return path
