"""What a long run does otherwise: it saves by the clock, renews its noises, and says early that heads are too small."""

import pytest
import torch

from devkit.demo_world import PROMPTS


def test_a_slow_run_saves_after_fifteen_minutes(demo, pack, tmp_path):
    path, minutes, seen = tmp_path / "slow.safetensors", [0.0], []
    run = demo.run(path, steps=6, save_every=100)
    run.clock = lambda: 60 * minutes[0]

    def after_step(record, frames):
        info = pack.adapters.lora_file.load_info(path) if path.exists() else None
        seen.append(info.steps if info else 0)
        minutes[0] += 7

    with torch.inference_mode():
        run.execute(after_step)
    assert seen == [0, 0, 0, 4, 4, 4]  # told of a step once it is saved: after 21 minutes, the next 15 are not over


@pytest.mark.parametrize(
    ("steps", "prompts", "noises"),
    [(4000, 49, 5), (800, 49, 1), (980, 49, 1), (981, 49, 2), (300, 23, 1), (1, 1, 1), (100, 1, 5)],
)
def test_no_clip_is_visited_more_than_twenty_times_on_average(pack, steps, prompts, noises):
    draws = pack.training.draws
    assert draws.noises_for(steps, prompts) == noises
    assert steps / (noises * prompts) <= draws.MOST_VISITS
    assert noises == 1 or steps / ((noises - 1) * prompts) > draws.MOST_VISITS


def test_bank_seeds_0_is_as_many_as_the_steps_need_and_1_stays_1(demo, tmp_path):
    runs = {seeds: demo.run(tmp_path / "lora.safetensors", steps=100, bank_seeds=seeds) for seeds in (0, 1)}
    pairs = {seeds: len(run.draws.clip_keys(0, 100)) for seeds, run in runs.items()}
    assert pairs == {0: 3 * (len(PROMPTS) - 1), 1: len(PROMPTS) - 1}
    assert runs[0].lora().info.settings["bank_seeds"] == 3


def faces(pack, widths):
    return [pack.rewards.faces.Face(torch.eye(2, 3), (10.0, 0.0, 10.0 + width, 90.0), 1.0) for width in widths]


def test_heads_are_measured_in_latent_cells(pack):
    size = pack.training.head_size
    assert size.head_cells(faces(pack, [48, 40, 400]), 8) == 6
    assert size.head_cells([], 8) is None


@pytest.mark.parametrize(
    ("cells", "minimum_face", "words"),
    [
        (6.2, 64, "about 6 latent cells wide; about 10 are needed"),
        (9.6, 64, ""),
        (2.0, 16, ""),
        (1.4, 16, "about 1 latent cells wide; about 2 are needed"),
        (None, 64, ""),
    ],
)
def test_small_heads_get_a_sentence(pack, cells, minimum_face, words):
    advice = pack.training.head_size.head_advice(cells, minimum_face)
    assert (words in advice) if words else not advice


def test_small_heads_are_said_once_before_training_and_in_the_report(demo, pack, tmp_path, monkeypatch):
    monkeypatch.setattr(type(demo.face_model), "minimum_face", 64)
    run, said = demo.run(tmp_path / "lora.safetensors", steps=1), []
    with torch.inference_mode():
        result = run.execute(lambda record, frames: None, said.append)
    (line,) = [line for line in said if line.startswith("The heads")]
    assert said.index(line) < next(index for index, line in enumerate(said) if line.startswith("Training"))
    assert "are needed to learn a face" in line and line in pack.training.report.report(result, {}, "")
