"""The cost of a person: what is counted without weights is what a real run computes, and the figures keep their bars."""

import json
import logging

import pytest
import torch

from benchmarks.cost import count, models, report
from benchmarks.cost.cost import RESULTS
from benchmarks.cost.operations import Operations
from benchmarks.cost.runs import CASES
from benchmarks.gpu.models import FullModel
from benchmarks.speed.world import inside_training
from devkit import tiny_models
from devkit.family_world import VAE_OF, FamilyWorld
from devkit.tiny_vaes import VAES

ROWS = json.loads(RESULTS.read_text())
FIELDS = {"family", "preset", "train_size", "sampling_steps", "peta_operations", "hours_h100", "hours_24gb", "vram_gb", "disk_gb"}
BARS = {"sd15": 40, "hunyuan_video": 210, "wan": 40, "wan22_14b": 210, "wan22_5b": 60, "ltxv": 40}


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def really(world, settings) -> tuple[int, int]:
    """Operations of the window, its decoding and backward, and of one call without gradient, in a run of the pack."""
    found = []

    def body(trainer, one_step) -> None:
        clip = trainer.bank.clip(trainer.draws.clip_key(trainer.draws.generator(0)))

        def window() -> None:
            frames = trainer.memory.decoder.decode(trainer.student_latents(clip), list(range(trainer.memory.frames)))
            trainer.memory.backward(frames.sum())

        with Operations() as in_window:
            trainer.memory.retrying(window)
        with world.pack.host.autograd.differentiable_kernels(), torch.no_grad(), Operations() as call:
            trainer.rollout.run(clip.switch_latents, trainer.first_late_step, trainer.first_late_step + 1)
        found.extend((in_window.count, call.count, trainer.rollout.steps - trainer.first_late_step, trainer.memory.option))

    inside_training(world, body, **settings)
    return tuple(found)


@pytest.mark.parametrize("mode", ["off", "blocks", "offload"])
@pytest.mark.parametrize("family, cfg", [("wan21", 2.0), ("hunyuan_video", 1.0), ("ltxv", 2.0), ("cogvideox", 1.0)])
def test_operations_without_weights_are_those_of_a_real_run(demo, tmp_path, family, cfg, mode):
    world = FamilyWorld(demo, family, tmp_path)
    window, call, late_steps, option = really(world, dict(gradient_checkpointing=mode, cfg=cfg, gradient_steps=1))
    assert late_steps == 2

    full = FullModel("tiny", family, {}, None, tiny_models.TOKENS)
    vae = VAES[VAE_OF[family]].build()
    vae.first_stage_model.to(models.META)
    vae.device = models.META
    decoder = world.pack.training.decoding.frame_decoder.FrameDecoder(vae, models.META)
    settings = world.run(tmp_path / "a.safetensors", cfg=cfg).settings
    latent = torch.zeros(world.latent.shape, device=models.META)
    counted = count.counted(
        world.pack, models.meta_model(full, "fp32"), models.meta_conditioning(full), decoder, latent, settings, 1, option
    )
    assert counted.call == call > 0
    assert counted.call + counted.gradient == window


def test_every_family_has_a_standard_a_quick_and_a_paper_row():
    assert {(row["family"], row["preset"].partition(" ")[0]) for row in ROWS} == {
        (case.family, preset) for case in CASES for preset in ("standard", "quick", "paper")
    }
    assert len(ROWS) == 3 * len(CASES) and all(row.keys() >= FIELDS for row in ROWS)


@pytest.mark.parametrize("family", BARS)
def test_standard_keeps_its_bars(family):
    row = next(row for row in ROWS if row["family"] == family and row["preset"] == "standard")
    assert row["peta_operations"] <= BARS[family] and row["hours_24gb"] <= 1.05
    assert row["vram_gb"] <= 22


def test_rows_are_of_the_present_recipes(pack):
    recipes = pack.training.recipes
    for row in ROWS:
        if row["preset"] in ("standard", "quick"):
            recipe = recipes.RECIPES[row["family"]]
            assert row["train_size"] == f"{recipe.length} x {recipe.height} x {recipe.width}"
            assert (row["sampling_steps"], row["cfg"]) == (recipe.sampling_steps, recipe.cfg)
            assert row["steps"] == (recipe.steps if row["preset"] == "standard" else recipe.steps // 4)


@pytest.mark.parametrize("path", report.DOCUMENTS, ids=lambda path: path.name)
def test_tables_of_the_documents_are_of_the_committed_rows(path):
    assert path.read_text() == report.with_table(path, ROWS)
