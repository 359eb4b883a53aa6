"""A LoRA and its state as version 0.1.0 wrote them, after two of four steps on the demo model, still resume and apply."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from devkit.comfy_host import ROOT

WRITTEN = ROOT / "tests" / "training" / "written_by_0_1_0"
LOSSES = [1.2261005640029907, 0.966312050819397, 1.0262175798416138, 0.9213507771492004]
"""Of the four steps that 0.1.0 made in one go."""


@pytest.fixture
def adapter(tmp_path):
    for path in WRITTEN.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / "adapter.safetensors"


def test_a_state_of_0_1_0_resumes_as_if_never_stopped(demo, adapter):
    run = demo.train(adapter, resume=True, rank=1, alpha=1.0, steps=4, learning_rate_schedule="constant")
    losses = [record.loss for record in run.state.history]
    assert losses[:2] == LOSSES[:2]
    assert losses[2:] == pytest.approx(LOSSES[2:], rel=1e-4)  # processors differ by rounding


def test_a_lora_of_0_1_0_applies_in_its_window(demo, adapter, pack):
    lora = pack.adapters.lora_file.LateStepLora(load_file(adapter), pack.adapters.lora_file.load_info(adapter))
    assert (lora.info.start_percent, lora.info.rank, lora.info.steps) == (0.75, 1, 2)
    assert lora.info.person == lora.info.trigger_word == "sks"
    applied, base = demo.sample(demo.apply(demo.model, lora, start=-1.0, end=-1.0)), demo.sample(demo.model)
    assert not torch.equal(applied, base)
