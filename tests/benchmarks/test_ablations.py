"""The ablation study: shared and interrupted grids, arms that differ in what they name, late windows from memory."""

import signal
import subprocess
import sys

import pytest
import torch

from benchmarks.ablations import denoising
from benchmarks.ablations import world as ablation_world
from benchmarks.ablations.arms import ADDED, ARMS, BOTH, BY_NAME, CROSS, MAIN, TRAINING
from benchmarks.ablations.grid import Grid, Job, jobs
from benchmarks.ablations.study import IDENTITIES, PILOTS, wanted
from devkit.comfy_host import ROOT
from devkit.metrics import drift_outside

JOBS = jobs(["base", "ours"], ["Bina", "Cleo"], [0, 1])
HOLDER = """
import sys
from pathlib import Path
from benchmarks.ablations.grid import Grid, jobs
for job in Grid(Path(sys.argv[1]), jobs(["base", "ours"], ["Bina", "Cleo"], [0, 1])).claims():
    print(job.name, flush=True)
    sys.stdin.read()
"""


def row(job: Job) -> dict:
    return {"arm": job.arm, "identity": job.identity, "seed": job.seed, "judge": 0.5}


@pytest.fixture(scope="module")
def world(pack):
    """Two steps of training, two held-out prompts."""
    world = ablation_world.AblationWorld(pack, steps=2)
    world.held_out = world.held_out[:2]
    world.use_seed(0)
    return world


def test_every_prefix_of_the_grid_is_balanced():
    assert [job.name for job in JOBS[:5]] == ["0 Bina base", "0 Bina ours", "0 Cleo base", "0 Cleo ours", "1 Bina base"]


def test_finished_jobs_are_not_done_again(tmp_path):
    grid = Grid(tmp_path, JOBS)
    for job in grid.claims():
        grid.add(row(job))
        if job == JOBS[2]:
            break
    again = Grid(tmp_path, JOBS)
    assert again.rows() == [row(job) for job in JOBS[:3]]
    assert list(again.claims()) == JOBS[3:]


def test_rows_of_another_computer_are_gone_on_with(tmp_path):
    grid = Grid(tmp_path, JOBS)
    grid.add(row(JOBS[0]))
    grid.adopt([row(JOBS[0]) | {"judge": 0.9}, row(JOBS[3])])
    assert grid.rows() == [row(JOBS[0]), row(JOBS[3])] and list(grid.claims())[:2] == [JOBS[1], JOBS[2]]


def test_a_killed_process_loses_only_the_job_it_was_at(tmp_path):
    grid = Grid(tmp_path, JOBS)
    grid.add(row(JOBS[0]))
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline().strip() == JOBS[1].name
        assert list(grid.claims()) == JOBS[2:]
        other.send_signal(signal.SIGKILL)
    assert list(grid.claims()) == JOBS[1:]


def test_a_line_that_was_cut_off_does_not_count(tmp_path):
    grid = Grid(tmp_path, JOBS)
    grid.add(row(JOBS[0]))
    with open(tmp_path / "rows.jsonl", "a") as file:
        file.write('\n{"arm": "ours", "ident')
    grid.add(row(JOBS[2]))
    assert grid.rows() == [row(JOBS[0]), row(JOBS[2])]


def test_the_subset_is_part_of_the_study_and_pilots_are_not():
    full = wanted(True)
    assert wanted(False) == full[: len(wanted(False))] and len(set(full)) == len(full) == 10 * 3 * len(ARMS)
    assert not set(PILOTS) & set(IDENTITIES)


def test_main_arms_come_first_and_added_ones_last():
    parts = [0 if job.arm in MAIN else 2 if job.arm in ADDED else 1 for job in wanted(True)]
    assert parts == sorted(parts) and set(parts) == {0, 1, 2}


def test_arms_differ_from_ours_only_in_what_they_name(world):
    ours = world.settings(BY_NAME["ours"])
    assert {name: getattr(ours, name) for name in TRAINING} == TRAINING and ours.steps == world.steps
    for arm in ARMS:
        settings = world.settings(arm)
        changed = {name: value for name, value in vars(settings).items() if value != getattr(ours, name)}
        expected = {"bank_seeds": len(world.prompts) - 1} if arm.one_prompt else arm.changes
        assert changed == expected, arm.name


def test_what_arms_change_beside_settings():
    beside = {
        arm.name: {name: value for name, value in vars(arm).items() if value != vars(BY_NAME["ours"])[name]} for arm in ARMS
    }
    for changed in beside.values():
        for word in ("name", "title", "changes"):
            changed.pop(word, None)
    assert {name: changed for name, changed in beside.items() if changed} == {
        "base": {"training": "nothing"}, "no_augmentation": {"one_prompt": True}, "t2i": {"frames": 1},
        "reconstruction": {"training": "reconstruction"}, "reconstruction_our_rate": {"training": "reconstruction"},
        "reconstruction_late": {"training": "reconstruction"}, "one_reference": {"photos": 1},
        "cross": {"layers": CROSS}, "self_cross": {"layers": BOTH},
        "eq5": {"own_faces": True}, "eq5_no_scr": {"own_faces": True}, "eq5_all_steps": {"own_faces": True},
    }  # fmt: skip


def test_where_an_adapter_acts():
    starts = {arm.name: arm.start_percent for arm in ARMS}
    early = {"all_steps": 0.0, "eq5_all_steps": 0.0, "reconstruction": 0.0, "reconstruction_our_rate": 0.0, "half": 0.5}
    assert starts == dict.fromkeys(starts, 0.75) | early


def test_a_lora_is_used_from_where_its_arm_says(world, tmp_path):
    world.train(BY_NAME["reconstruction"], "Bina", tmp_path / "both.safetensors")
    first, latent = world.first_step(0.75), world.latent(8)
    base = world._sample(world.model, 1, 0, first, latent)
    for name, late in (("reconstruction", False), ("reconstruction_late", True)):
        model = world._applied(tmp_path / "both.safetensors", BY_NAME[name].start_percent)
        assert torch.equal(world._sample(model, 1, 0, first, latent), base) == late
        assert not torch.equal(world._sample(model, 1, first, 16, base), world._sample(world.model, 1, first, 16, base))


@pytest.mark.parametrize(
    "arm, kinds", [("ours", {"self_attn"}), ("cross", {"cross_attn"}), ("self_cross", {"self_attn", "cross_attn"})]
)
def test_layers_of_an_arm(world, arm, kinds):
    names = [target.name for target in world.targets(BY_NAME[arm])]
    assert {name.split(".")[3] for name in names} == kinds
    assert len(names) == len(kinds) * 3 * len(world.model.model.diffusion_model.blocks)


def test_window_from_remembered_latents_equals_the_whole_sampling(world, tmp_path):
    world.train(BY_NAME["ours"], "Bina", tmp_path / "ours.safetensors")
    latent = world.latent(8)
    late = world._applied(tmp_path / "ours.safetensors", 0.75)
    first = world.first_step(0.75)
    assert first == 12
    whole = world._sample(late, 1, 0, 16, latent)
    window = world._sample(late, 1, first, 16, world._prefix(first)[1])
    assert (window - whole).abs().max() < 1e-4
    assert (whole - world._sample(world.model, 1, 0, 16, latent)).abs().max() > 1e-4


def test_predictions_of_every_step_end_in_the_video(world):
    clips = world.predictions(1)
    assert len(clips) == 16 and (clips[-1] - world._base[1]).abs().max() < 0.005 < (clips[-2] - clips[-1]).abs().max()
    first, *between, last = denoising.compare(world.metrics, clips)
    assert last == {"identity": 1, "attributes": 1, "motion": 1, "place": 0}
    assert first["identity"] < between[6]["identity"] < 1 and first["place"] > between[6]["place"] > 0
    assert denoising.compare(world.metrics, [clips[-1].roll(1, -1), clips[-1]])[0]["place"] == pytest.approx(1, abs=0.3)


def test_what_a_step_decides_is_the_mean_over_clips():
    clips = [
        [{"identity": x, "attributes": 1, "motion": 1, "place": 0}, dict.fromkeys(denoising.FIGURES, x)] for x in (0.5, 0.7, 0.9)
    ]
    rows = denoising.summary(clips)
    # Standard error 0.2 / sqrt(3), t 4.3027.
    assert [row["step"] for row in rows] == [1, 2] and rows[0]["identity"] == [0.7, 0.2032, 1.1968]
    assert rows[1]["place"] == rows[0]["identity"]


def test_a_row_of_every_kind_of_training(world, tmp_path):
    for name in ("base", "reconstruction", "t2i"):
        figures, videos = world.row(BY_NAME[name], "Bina", 0, tmp_path / f"{name}.safetensors")
        assert {"arm": name, "identity": "Bina", "seed": 0}.items() <= figures.items()
        assert (figures["seconds"] == 0) == (name == "base")
        assert videos.shape == (2, 8, 3, 64, 64)
    clips = world._banks[0.75, 1, False].values.values()
    assert clips and world.bank_seconds > 0
    assert all(len(clip.frames) == 1 for clip in clips)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reconstruction.safetensors", "t2i.safetensors"]


def test_without_the_teachers_faces_the_students_are_rewarded(untimed, world, tmp_path, monkeypatch):
    objective, rewarded = world.pack.training.objective, []
    loss = objective.identity_consistency_loss

    def spy(frames, faces, *rest):
        own = world.pack.rewards.faces.largest_faces(world.face_model, frames)
        rewarded.append([face.box for face in faces] == [face.box for face in own])
        return loss(frames, faces, *rest)

    monkeypatch.setattr(objective, "identity_consistency_loss", spy)
    for name in ("ours", "eq5"):
        world.train(BY_NAME[name], "Bina", tmp_path / f"{name}.safetensors")
    assert rewarded[1:] == [False, True, True]  # in its first step the student is the teacher
    assert all(face for clip in world._banks[0.75, 8, False].values.values() for face in clip.faces)


def test_a_clip_that_shows_nobody_is_measured_as_such(world):
    """A reward that nothing holds back can leave no head at all; leaving such clips out would flatter it."""
    nobody, before = torch.full((8, 3, 64, 64), 0.5), world._base[0]
    prompt, references = world.held_out[0], world.metrics.references(list(world.photos("Bina")))
    measured = world.metrics.measure(nobody, prompt, references)
    assert (measured.judge, measured.reward, measured.dynamic, measured.attributes) == (0, 0, 0, 0)
    assert measured.prompt < world.metrics.measure(before, prompt, references).prompt
    boxes = torch.tensor([face.box for face in world.metrics.faces(before)])
    outside = drift_outside(before, nobody, boxes[:, None])
    assert world.metrics.drift(before, nobody) == pytest.approx(outside)


def test_seconds_leave_out_the_shared_videos():
    bank = ablation_world.TimedStore()
    assert "a" not in bank
    sum(i * i for i in range(300_000))
    bank.keep("a", torch.zeros(1))
    spent = bank.seconds
    assert spent > 0.005 and "a" in bank and bank.seconds == spent
