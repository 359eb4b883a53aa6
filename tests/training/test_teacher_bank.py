"""The teacher bank changes how long training takes and nothing else, wherever it is kept and whoever has made it."""

import errno
import os

import comfy.conds
import comfy.model_management
import comfy.sd
import pytest
import torch
from safetensors.torch import load_file, save_file

from devkit.demo_world import PROMPTS
from devkit.families import load_family
from devkit.family_world import FamilyWorld

CLIPS = len(PROMPTS)  # one noise a prompt, and the one that is held out
EARLY_STEPS = 5  # of 8, by the high-noise expert
STEPS_FOR_ALL = 6  # draws both prompts with the demo's seed


@pytest.fixture
def disk(pack, tmp_path):
    return pack.training.teacher.location.BankLocation("disk", tmp_path / "bank", reused=True)


def outcome(run):
    return [record.loss for record in run.state.history], [weight.tolist() for weight in run.adapter.parameters()]


def files(location):
    return sorted(location.folder.glob("*/*.pvclip"))


class CountedCalls:
    """model: a clone that counts how often its network is called; ``result`` may change what it returns."""

    def __init__(self, model, result=lambda output: output):
        self.model, self.count = model.clone(), 0

        def call(executor, *args, **kwargs):
            self.count += 1
            return result(executor(*args, **kwargs))

        self.model.add_wrapper_with_key("diffusion_model", "count", call)


def build(world, tmp_path, teacher_clips, after_clips=lambda progress: None, **options):
    """Progress of a run that makes its clips and ends after one step."""
    run = world.run(tmp_path / "build.safetensors", teacher_clips=teacher_clips, steps=STEPS_FOR_ALL, **options)
    told, said = [], []

    def tell(progress):
        told.append(progress)
        after_clips(progress)

    def stop(record, frames):
        raise StopIteration

    with torch.inference_mode(), pytest.raises(StopIteration):
        run.execute(stop, said.append, tell)
    (tmp_path / "build.safetensors").unlink()
    return told, said


def test_training_is_the_same_wherever_clips_are_and_known_ones_cost_no_model_call(demo, tmp_path, disk):
    runs, calls = {}, {}
    for name, clips in (("none", None), ("memory", {}), ("disk", disk), ("reused", disk)):
        counted = CountedCalls(demo.model)
        runs[name] = demo.train(
            tmp_path / f"{name}.safetensors", model=counted.model, teacher_clips=clips, remember_teacher=name != "none", steps=4
        )
        calls[name] = counted.count
    assert all(outcome(run) == outcome(runs["none"]) for run in runs.values())
    assert all(torch.equal(run.result.after, runs["none"].result.after) for run in runs.values())
    trained = runs["disk"].result.clips.total - 1
    assert calls["disk"] == calls["memory"] == calls["reused"] + trained * demo.settings.sampling_steps < calls["none"]
    assert (runs["disk"].result.clips.reused, runs["reused"].result.clips.reused) == (0, trained)


def test_progress_counts_up_to_all_clips_with_their_bytes(demo, tmp_path):
    told, said = build(demo, tmp_path, {})
    assert [(progress.done, progress.total, progress.reused) for progress in told] == [(n, CLIPS, 0) for n in range(1, CLIPS + 1)]
    assert told[-1].seconds_left == 0 < told[1].seconds_left
    frames, latents = 4 * 3 * 64 * 64 * 2, demo.latent.numel() * 4
    assert told[-1].size == CLIPS * (frames + latents + 4 * 4)
    assert "Original model's clips: 3 of 3; 0.3 MB in memory, 0 s left" in said


def test_clips_on_disk_are_read_frame_by_frame_and_are_those_in_memory(demo, tmp_path, disk, pack):
    memory = {}
    build(demo, tmp_path, memory)
    build(demo, tmp_path, disk)
    (folder,) = disk.folder.iterdir()
    stored = pack.training.teacher.stores.ClipFiles(folder, PROMPTS)
    for key, clip in memory.items():
        again = stored.find(key)
        assert isinstance(again.frames, pack.training.teacher.clip.StoredFrames)
        assert torch.equal(again.frames[[2, 0]], clip.frames[[2, 0]]) and again.size == clip.size
        assert torch.equal(again.switch_latents, clip.switch_latents) and torch.equal(again.scores, clip.scores)
        assert [face and (face.box, face.score, face.matrix.tolist()) for face in again.faces] == [
            face and (face.box, face.score, face.matrix.tolist()) for face in clip.faces
        ]


def test_damaged_and_foreign_files_are_made_again(demo, tmp_path, disk):
    build(demo, tmp_path, disk)
    contents = {path: path.read_bytes() for path in files(disk)}
    assert len(contents) == CLIPS
    truncated, foreign, swapped = contents
    truncated.write_bytes(contents[truncated][:-1])
    save_file(load_file(foreign), foreign)
    swapped.write_bytes(contents[foreign])
    abandoned, being_written = (swapped.with_name(f".{swapped.name}.{digit * 32}.tmp") for digit in "01")
    for path in (abandoned, being_written):
        path.write_bytes(b"half")
    os.utime(abandoned, (0, 0))
    told, said = build(demo, tmp_path, disk)
    assert not any("another model's" in line for line in said)
    assert told[-1].reused == 0 and {path: path.read_bytes() for path in files(disk)} == contents
    assert being_written.exists() and not abandoned.exists()


def test_cancelled_build_keeps_what_it_has(demo, tmp_path, disk):
    def cancel(progress):
        if progress.done == 2:
            comfy.model_management.interrupt_current_processing()

    run = demo.run(tmp_path / "a.safetensors", teacher_clips=disk, steps=STEPS_FOR_ALL)
    with torch.inference_mode(), pytest.raises(comfy.model_management.InterruptProcessingException):
        run.execute(lambda record, frames: None, after_clips=cancel)
    assert len(files(disk)) == 2 and not run.lora_path.exists()
    told, _ = build(demo, tmp_path, disk)
    assert told[-1].reused == 1 and len(files(disk)) == CLIPS


def test_another_prompt_makes_only_its_own_clip(demo, tmp_path, disk):
    build(demo, tmp_path, disk)
    told, _ = build(demo, tmp_path, disk, prompts=["a sks person, waving", *PROMPTS[1:]])
    assert told[-1].reused == CLIPS - 2
    told, _ = build(demo, tmp_path, disk, prompts=[*PROMPTS[:2], "a sks person, waving"])
    assert told[-1].reused == 0  # the last prompt's clip is what a model is known by


@pytest.mark.parametrize("change", [{"sampling_steps": 6}, {"cfg": 3.0}, {"scheduler": "normal"}, {"start_percent": 0.5}])
def test_other_sampling_is_another_bank(demo, tmp_path, pack, change):
    location = pack.training.teacher.location.BankLocation("disk", tmp_path)
    stores = [demo.run(tmp_path / "a", teacher_clips=location, **changes)._stores().clips for changes in ({}, {}, change)]
    assert stores[0].folder == stores[1].folder != stores[2].folder


def test_faces_of_another_detector_are_another_bank(demo, tmp_path, pack, monkeypatch):
    location = pack.training.teacher.location.BankLocation("disk", tmp_path)
    folders = []
    for finder in ("locator", "locator", "MediaPipe"):
        monkeypatch.setattr(demo.identity.face_model, "finder", finder)
        folders.append(demo.run(tmp_path / "a", teacher_clips=location)._stores().clips.folder)
    assert folders[0] == folders[1] != folders[2]


def test_style_lora_of_another_strength_is_another_bank(demo, tmp_path, disk):
    def styled(strength):
        with torch.inference_mode():
            return comfy.sd.load_lora_for_models(demo.model, None, demo.random_lora(), strength, 0.0)[0]

    reused = [build(demo, tmp_path, disk, model=styled(strength))[0][-1].reused for strength in (1.0, 0.99, 1.0)]
    assert reused == [0, 0, CLIPS - 1]


def test_model_that_is_only_known_by_what_it_does_replaces_the_bank_of_another(demo, tmp_path, disk):
    build(demo, tmp_path, disk, model=demo.apply(demo.model, demo.random_lora(), strength=1.0))
    other = demo.apply(demo.model, demo.random_lora(), strength=0.9)
    told, said = build(demo, tmp_path, disk, model=other)
    assert any("another model's; they are made anew" in line for line in said)
    assert told[-1].reused == 0 and len(files(disk)) == CLIPS
    changed_prompt = dict(model=demo.model, prompts=["a sks person, waving", *PROMPTS[1:]])
    assert any("another model's" in line for line in build(demo, tmp_path, disk, **changed_prompt)[1])


def test_models_that_differ_only_by_what_they_do_never_share_clips(demo, tmp_path, disk):
    other = CountedCalls(demo.model, lambda output: output * 1.05).model
    held_out = "a sks person in the snow, wearing a white shirt, moving up"
    build(demo, tmp_path, disk)
    build(demo, tmp_path, disk, model=other, prompts=[*PROMPTS[1:2], PROMPTS[-1], held_out])
    prompts = [*PROMPTS[:2], held_out]
    mixed, fresh = (
        demo.train(tmp_path / f"{name}.safetensors", model=other, prompts=prompts, teacher_clips=clips, steps=4)
        for name, clips in (("mixed", disk), ("fresh", {}))
    )
    assert outcome(mixed) == outcome(fresh)


def test_early_steps_of_another_expert_are_kept_too(demo, tmp_path, disk, pack, tmp_path_factory):
    world = FamilyWorld(demo, "wan22_14b", tmp_path)
    first, second = (load_family(pack, "wan22_14b", tmp_path_factory.mktemp("expert"), seed=seed) for seed in (1, 2))
    second.cached_patcher_init = first.cached_patcher_init  # as if it came from the same file

    def cancel(line):
        if line == f"High-noise model: first steps of clip {CLIPS} of {CLIPS}":
            comfy.model_management.interrupt_current_processing()

    run = world.run(tmp_path / "a.safetensors", teacher_clips=disk, steps=STEPS_FOR_ALL, high_noise_model=first)
    with torch.inference_mode(), pytest.raises(comfy.model_management.InterruptProcessingException):
        run.execute(lambda record, frames: None, cancel)

    def again(high_noise_model):
        counted = CountedCalls(high_noise_model)
        told, _ = build(world, tmp_path, disk, high_noise_model=counted.model)
        return counted.count // EARLY_STEPS, told[-1].reused

    assert again(first) == (2, 0), "the held-out clip, and the one that was cancelled"
    assert again(first) == (1, CLIPS - 1)
    assert again(second) == (1 + CLIPS, 0), "noticed by the held-out clip, then all of them"


def test_clips_that_share_calls_are_those_sampled_alone(demo, tmp_path, pack, monkeypatch):
    alone, together = {}, {}
    build(demo, tmp_path, alone)
    monkeypatch.setattr(pack.training.rollout, "most_together", lambda latent, required, free: 2)
    counted = CountedCalls(demo.model)
    build(demo, tmp_path, together, model=counted.model)
    assert counted.count == 2 * demo.settings.sampling_steps + demo.settings.sampling_steps - 6  # and the window of one step
    assert alone.keys() == together.keys()
    for key, clip in alone.items():
        assert pack.training.teacher.clip.clip_difference(together[key], clip) < 1e-4


def test_batch_is_as_large_as_memory_and_a_full_call_allow(pack):
    def together(shape, free=float("inf"), device="meta"):
        latent = torch.empty(shape, device=device)
        return pack.training.clip_batches.most_together(latent, lambda shape: 100.0 * shape[0], free)

    assert together((1, 16, 5, 16, 16)) == 8
    assert together((1, 16, 16, 32, 32)) == 1 and together((1, 16, 4, 32, 32)) == 4
    assert together((1, 16, 5, 16, 16), free=1000) == 3  # with guidance six videos, and a half more
    assert together((16, 4, 16, 16)) == 1, "frames of an image model are its batch"
    assert together((1, 16, 5, 16, 16), device="cpu") == 1


def test_prompts_that_need_other_calls_are_not_joined(pack):
    joined = pack.training.clip_batches.joined

    def condition(tokens=4, **special):
        text = comfy.conds.CONDCrossAttn(torch.rand(1, tokens, 8))
        return [{"model_conds": {"c_crossattn": text}, "uuid": object(), **special}]

    one, other = condition(), condition()
    (batch,) = joined([one, other])
    expected = torch.cat([entry[0]["model_conds"]["c_crossattn"].cond for entry in (one, other)])
    assert torch.equal(batch["model_conds"]["c_crossattn"].cond, expected)
    for special in (condition(tokens=8), condition(area=(1, 1, 0, 0)), condition() * 2):
        assert joined([one, special]) is None


def test_teacher_without_numbers_is_named(demo, tmp_path, monkeypatch):
    broken = CountedCalls(demo.model, lambda output: output * float("nan")).model
    with pytest.raises(ValueError, match="model: its own video, without the adapter, is not made of numbers; load .* bf16"):
        demo.train(tmp_path / "a.safetensors", model=broken)
    monkeypatch.setattr(demo.vae, "process_output", lambda image: image * float("nan"))
    with pytest.raises(ValueError, match="vae: it makes pictures that are not made of numbers; start ComfyUI with --fp32-vae"):
        demo.train(tmp_path / "a.safetensors")


def test_disk_without_room_is_named(demo, tmp_path, pack, disk, monkeypatch):
    usage = pack.training.teacher.stores.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pack.training.teacher.stores.shutil, "disk_usage", lambda folder: usage._replace(free=10**8))
    with pytest.raises(
        ValueError,
        match="bank_folder: the clips of the original model need 0.2 MB, 1.0 GB has to stay free, and 100.0 MB are on its",
    ):
        demo.train(tmp_path / "a.safetensors", teacher_clips=disk, steps=STEPS_FOR_ALL)
    pack.training.teacher.stores.ClipFiles(tmp_path, []).check_space(0)  # all of them are known
    monkeypatch.undo()

    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pack.training.teacher.stores, "write_atomically", full)
    with pytest.raises(ValueError, match="^bank_folder: its disk is full; free some space"):
        demo.train(tmp_path / "b.safetensors", teacher_clips=disk)


def test_bank_goes_to_disk_where_memory_is_short_or_a_folder_was_named(pack, tmp_path, monkeypatch):
    bank = pack.training.teacher.location
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: 1000)

    def kept(kind, size, reused=False):
        return type(bank.BankLocation(kind, tmp_path, reused).open("name", [], size).clips).__name__

    assert (kept("auto", 250), kept("auto", 251), kept("auto", 1, reused=True)) == ("MemoryStore", "ClipFiles", "ClipFiles")
    assert (kept("memory", 1000), kept("disk", 1)) == ("MemoryStore", "ClipFiles")
    with pytest.raises(ValueError, match="teacher_bank: the clips of the original model need .* are free; set it to disk"):
        kept("memory", 1001)


def test_frames_of_a_clip_outlive_its_file(pack, tmp_path):
    clips = pack.training.teacher.stores.ClipFiles(tmp_path, ["prompt"])
    frames = torch.rand(3, 3, 4, 4).half()
    clips.keep((0, 1), pack.training.teacher.clip.TeacherClip(0, torch.zeros(1, 4), frames, [None] * 3, None))
    read = clips.find((0, 1))
    clips.forget()
    assert torch.equal(read.frames[[2, 0]], frames[[2, 0]]) and (0, 1) not in clips


def test_bank_folder_is_below_the_output_folder(pack):
    import folder_paths

    location = pack.nodes.bank_folder.bank_location
    temporary, named = location("auto", " "), location("disk", "banks/Aro")
    assert str(temporary.folder).startswith(folder_paths.get_temp_directory()) and not temporary.reused
    assert str(named.folder).endswith("banks/Aro") and named.reused
    for outside in ("../x", "/etc", ".", "x" * 300):
        with pytest.raises(ValueError, match="bank_folder: .* is no folder below ComfyUI's output folder"):
            location("disk", outside)
