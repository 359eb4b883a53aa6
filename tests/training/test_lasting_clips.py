"""Clips that took long to make outlive ComfyUI; those that nobody uses any more do not stay for ever."""

import os
import time

import pytest
import torch

from devkit.demo_world import PROMPTS

LATENTS = {(0, seed): torch.full((2,), float(seed)) for seed in range(4)}


@pytest.fixture
def teacher(pack):
    return pack.training.teacher


@pytest.fixture
def lasting(teacher, tmp_path):
    return teacher.stores.LatentFiles(tmp_path / "lasting", PROMPTS, True, "in the lasting folder")


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def values(store):
    return {key: value.tolist() for key in LATENTS if (value := store.find(key)) is not None}


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_values_move_when_they_have_taken_long_to_make(teacher, lasting, tmp_path, kind):
    brief = teacher.stores.LatentFiles(tmp_path / "brief", PROMPTS) if kind == "disk" else teacher.stores.MemoryStore()
    clock = Clock()
    store = teacher.lasting.LastingStore(brief, lasting, clock)
    for key, latents in list(LATENTS.items())[:3]:
        assert lasting.empty and not store.stays
        store.keep(key, latents)
        clock.seconds += 0.5 * teacher.lasting.LONG
    store.keep((0, 3), LATENTS[0, 3])
    assert (store.stays, store.place) == (True, "in the lasting folder")
    assert values(store) == values(lasting) == {key: value.tolist() for key, value in LATENTS.items()}
    again = teacher.lasting.LastingStore(teacher.stores.MemoryStore(), lasting)
    assert again.stays and not again.own and values(again) == values(lasting)


def test_what_an_earlier_run_left_in_the_temp_folder_is_still_found_after_the_move(teacher, lasting, tmp_path):
    brief = teacher.stores.LatentFiles(tmp_path / "brief", PROMPTS)
    brief.keep((0, 0), LATENTS[0, 0])
    clock = Clock()
    store = teacher.lasting.LastingStore(brief, lasting, clock)
    clock.seconds = 1.01 * teacher.lasting.LONG
    store.keep((0, 1), LATENTS[0, 1])
    assert store.stays and (0, 0) in store and set(values(store)) == {(0, 0), (0, 1)}
    store.forget()
    assert not values(store)


def test_values_stay_where_they_are_when_the_lasting_disk_is_full(teacher, lasting, monkeypatch):
    clock = Clock()
    store = teacher.lasting.LastingStore(teacher.stores.MemoryStore(), lasting, clock)
    store.check_space(10**6)
    usage = teacher.stores.shutil.disk_usage("/")
    monkeypatch.setattr(teacher.stores.shutil, "disk_usage", lambda folder: usage._replace(free=10**8))
    clock.seconds = 1.01 * teacher.lasting.LONG
    for key, latents in LATENTS.items():
        store.keep(key, latents)
    assert not store.stays and lasting.empty and len(values(store)) == len(LATENTS)


def test_banks_that_no_run_used_for_14_days_are_removed_from_the_own_folder_alone(teacher, tmp_path):
    own, fortnight = tmp_path / "own", 14 * 24 * 3600
    banks = {name: teacher.stores.LatentFiles(own / name, PROMPTS, True) for name in ("old", "recent", "wanted", "strange")}
    other = teacher.stores.LatentFiles(tmp_path / "other" / "old", PROMPTS, True)
    for bank in (*banks.values(), other):
        bank.keep((0, 0), LATENTS[0, 0])
        bank.keep((0, 1), LATENTS[0, 1])
    (own / "strange" / "mine.txt").write_text("not a clip")
    now = time.time()
    for bank in (*banks.values(), other):
        age = 0.99 if bank is banks["recent"] else 1.01
        os.utime(bank.folder, (now - age * fortnight,) * 2)
    location = teacher.location.BankLocation("auto", tmp_path / "temp", lasting=own)
    stores = location.open("wanted", PROMPTS, 10)
    assert stores.early.stays and stores.early.place.endswith("/own") and not stores.clips.stays
    assert sorted(path.name for path in own.iterdir()) == ["recent", "strange", "wanted"]
    assert [path.name for path in (own / "strange").iterdir()] == ["mine.txt"]
    assert len(values(other)) == len(values(stores.early)) == 2
    assert time.time() - (own / "wanted").stat().st_mtime < 60


def test_a_run_that_took_long_leaves_its_clips_for_the_next_one(demo, teacher, tmp_path, monkeypatch):
    location = teacher.location.BankLocation("auto", tmp_path / "temp", lasting=tmp_path / "own")
    quick = demo.train(tmp_path / "quick.safetensors", teacher_clips=location, steps=4)
    assert not quick.result.clips.stays and not (tmp_path / "own").exists()
    monkeypatch.setattr(teacher.lasting, "LONG", -1.0)
    long, again = (demo.train(tmp_path / f"{name}.safetensors", teacher_clips=location, steps=4) for name in ("long", "again"))
    assert "/own" in long.result.clips.place and long.result.clips.stays
    assert (long.result.clips.reused, again.result.clips.reused) == (0, again.result.clips.total - 1)
    losses = [[record.loss for record in run.state.history] for run in (quick, long, again)]
    assert losses[0] == losses[1] == losses[2]


def test_the_lasting_folder_is_in_the_user_folder_unless_the_user_named_one(pack):
    import folder_paths

    of = pack.nodes.bank_folder.bank_location
    assert str(of("auto", "").lasting) == os.path.join(folder_paths.get_user_directory(), "personalvideo_bank")
    assert of("auto", "my_bank").lasting is None
