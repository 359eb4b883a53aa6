"""What a run leaves on disk: nothing but numbers, nothing half, and nothing is gone on with that no run has left."""

import errno
import json
import math
import os
import re
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

STEPS = 2
SCALER = {"scale": 1.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0}
WEIGHT = "diffusion_model.blocks.0.self_attn.q.up"
RECORD = {"loss": 1.0, "identity": 1.0, "semantic": 0.0, "preserve": 0.0, "similarity": 0.5, "hit_rate": 1.0}


@pytest.fixture(scope="module")
def saved(demo, tmp_path_factory):
    """A LoRA of two steps with its state."""
    path = tmp_path_factory.mktemp("saved") / "a.safetensors"
    demo.train(path, steps=STEPS)
    return path


def read(state):
    with safe_open(state, framework="pt") as file:
        return load_file(state), file.metadata()


def refusal(demo, saved, folder, change):
    """What a run says that is to go on from a copy of ``saved`` whose state's tensors and metadata ``change`` has altered."""
    path = folder / "a.safetensors"
    path.write_bytes(saved.read_bytes())
    tensors, metadata = read(saved.with_suffix(".pvstate"))
    changed = change(tensors, metadata)
    save_file(tensors, path.with_suffix(".pvstate"), metadata=metadata if changed is None else changed)
    with pytest.raises(ValueError) as refused:
        demo.run(path, resume=True, steps=STEPS + 1)
    return str(refused.value)


def with_history(*records):
    return lambda tensors, metadata: metadata.update(history=json.dumps(records), step=str(len(records)))


def without(*ends):
    def change(tensors, metadata):
        for name in [name for name in tensors if name.endswith(ends)]:
            del tensors[name]

    return change


def with_tensor(name, make):
    return lambda tensors, metadata: tensors.update({name: make(tensors[name])})


def with_element(name, value):
    def make(tensor):
        tensor.view(-1)[0] = value
        return tensor

    return with_tensor(name, make)


NO_HISTORY = "its history is no list of training steps"
MISSING = "moments of the optimizer are missing, or there are others"
OTHER_SHAPE = f"moments of {WEIGHT} have another shape"
NO_HALF = "the numbers of its half precision are missing or wrong"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors, metadata: {}, 'its step is ""'),
        (lambda tensors, metadata: metadata.update(step="-2"), 'its step is "-2"'),
        (lambda tensors, metadata: metadata.update(step="two"), 'its step is "two"'),
        (lambda tensors, metadata: metadata.update(step="3"), "its step is 3, and its history has 2"),
        (lambda tensors, metadata: metadata.pop("history") and None, NO_HISTORY),
        (lambda tensors, metadata: metadata.update(history="{}"), NO_HISTORY),
        (lambda tensors, metadata: metadata.update(history="[1, 2]"), NO_HISTORY),
        (lambda tensors, metadata: metadata.update(history="not JSON"), r"Expecting value: line 1 column 1 (char 0)"),
        (with_history(RECORD, {"loss": 1.0}), NO_HISTORY),
        (with_history(RECORD, RECORD | {"loss": "low"}), NO_HISTORY),
        (with_history(RECORD, RECORD | {"more": 1.0}), NO_HISTORY),
        (with_history(RECORD, RECORD | {"loss": 10**400}), "int too large to convert to float"),
        (lambda tensors, metadata: metadata.update(scaler="[]"), NO_HALF),
        (lambda tensors, metadata: metadata.update(scaler='{"scale": 1.0}'), NO_HALF),
        (lambda tensors, metadata: metadata.update(scaler=json.dumps(SCALER | {"scale": math.nan})), NO_HALF),
        (without("exp_avg"), MISSING),
        (without(WEIGHT + "@step"), MISSING),
        (without("@step", "@exp_avg", "@exp_avg_sq"), MISSING),
        (without(WEIGHT), MISSING),
        (lambda tensors, metadata: tensors.update({WEIGHT + "@more": torch.ones(1)}), MISSING),
        (with_tensor(WEIGHT + "@exp_avg", lambda tensor: tensor.T.contiguous()), OTHER_SHAPE),
        (with_tensor(WEIGHT + "@exp_avg_sq", lambda tensor: tensor[:1].clone()), OTHER_SHAPE),
        (with_tensor(WEIGHT + "@step", lambda tensor: tensor.repeat(2)), OTHER_SHAPE),
        (with_element(WEIGHT, math.nan), f"{WEIGHT} holds values that are no finite numbers"),
        (with_element(WEIGHT + "@exp_avg", math.inf), f"{WEIGHT}@exp_avg holds values that are no finite numbers"),
        (with_tensor(WEIGHT + "@exp_avg", torch.Tensor.int), f"{WEIGHT}@exp_avg holds values that are no finite numbers"),
        (with_element(WEIGHT + "@exp_avg_sq", -1.0), f"moments of {WEIGHT} are none of 2 steps"),
        (with_element(WEIGHT + "@step", 0.0), f"moments of {WEIGHT} are none of 2 steps"),
        (with_element(WEIGHT + "@step", 3.0), f"moments of {WEIGHT} are none of 2 steps"),
    ],
)
def test_a_state_that_no_run_has_saved_gets_one_sentence(demo, saved, tmp_path, change, reason):
    sentence = f"existing_lora: a.pvstate holds no state that training can go on from ({reason}); choose [None] to start again."
    assert refusal(demo, saved, tmp_path, change) == sentence


def test_the_state_of_another_run_is_refused_and_the_lora_stays(demo, saved, tmp_path):
    path = tmp_path / "a.safetensors"
    demo.train(path, steps=STEPS)
    before = path.read_bytes()
    path.with_suffix(".pvstate").write_bytes(saved.with_suffix(".pvstate").read_bytes())
    sentence = "^existing_lora: a.pvstate is the state of another training than a.safetensors's; put back the one that was saved"
    with pytest.raises(ValueError, match=sentence):
        demo.run(path, resume=True, steps=STEPS + 1)
    assert path.read_bytes() == before


def test_a_resumed_run_keeps_its_name(demo, pack, saved, tmp_path):
    path = tmp_path / "b.safetensors"
    for suffix in (".safetensors", ".pvstate"):
        path.with_suffix(suffix).write_bytes(saved.with_suffix(suffix).read_bytes())
    resumed = demo.train(path, resume=True, steps=STEPS + 1)
    assert resumed.state.run == pack.adapters.lora_file.load_info(saved).run
    assert resumed.state.run == pack.adapters.lora_file.load_info(path).run != demo.run(path).state.run


def test_a_run_that_never_met_a_face_resumes_without_moments(demo, tmp_path, monkeypatch):
    find = demo.face_model.find
    monkeypatch.setattr(demo.face_model, "find", lambda frames: [[] for _ in frames])
    path = tmp_path / "a.safetensors"
    demo.train(path, steps=STEPS)
    monkeypatch.setattr(demo.face_model, "find", find)
    assert not [name for name in load_file(path.with_suffix(".pvstate")) if "@" in name]
    assert demo.train(path, resume=True, steps=STEPS + 1).state.step == STEPS + 1


@pytest.mark.parametrize("where", ["weights", "moments"])
@pytest.mark.parametrize("save_every", [1, 100])
def test_a_run_without_numbers_ends_and_the_last_good_files_stay(demo, pack, tmp_path, monkeypatch, where, save_every):
    path = tmp_path / "a.safetensors"
    demo.train(path, steps=STEPS)
    good = path.read_bytes(), path.with_suffix(".pvstate").read_bytes()
    run = demo.run(path, resume=True, steps=STEPS + 1, save_every=save_every)
    save = run._save

    def poison_and_save(trainer):
        weight = next(run.adapter.parameters())
        spoilt = weight.data if where == "weights" else trainer.optimizer.state[weight]["exp_avg"]
        spoilt.view(-1)[0] = math.nan
        save(trainer)

    monkeypatch.setattr(run, "_save", poison_and_save)
    sentence = r"^The adapter is no longer made of numbers at step 3 and is not saved; lower learning_rate \(now 0.001\)\.$"
    with torch.inference_mode(), pytest.raises(pack.training.trainer.TrainingFailure, match=sentence):
        run.execute(lambda record, frames: None)
    assert (path.read_bytes(), path.with_suffix(".pvstate").read_bytes()) == good
    assert run.saved_steps == STEPS
    assert pack.nodes.train_adapter._saved(run) == " Step 2 is saved as a.safetensors."


def test_a_save_that_ends_halfway_leaves_no_state_without_its_lora(demo, pack, tmp_path, monkeypatch):
    def killed(path, state):
        raise KeyboardInterrupt

    path = tmp_path / "a.safetensors"
    monkeypatch.setattr(pack.training.run, "save_state", killed)
    with pytest.raises(KeyboardInterrupt):
        demo.train(path, steps=STEPS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]
    with pytest.raises(ValueError, match="^existing_lora: a.pvstate, which holds the training state, is missing beside its LoRA"):
        demo.run(path, resume=True)


def test_a_save_that_ends_halfway_later_on_resumes_to_the_same_adapter(demo, pack, tmp_path, monkeypatch):
    def killed(path, state):
        if state.step > STEPS:
            raise KeyboardInterrupt
        save_state(path, state)

    whole = demo.train(tmp_path / "whole.safetensors", steps=STEPS + 2)
    save_state, path = pack.training.run.save_state, tmp_path / "a.safetensors"
    monkeypatch.setattr(pack.training.run, "save_state", killed)
    with pytest.raises(KeyboardInterrupt):
        demo.train(path, steps=STEPS + 2, save_every=1)
    monkeypatch.undo()
    assert pack.adapters.lora_file.load_info(path).steps == STEPS + 1
    resumed = demo.train(path, resume=True, steps=STEPS + 2)
    for ours, theirs in zip(resumed.adapter.parameters(), whole.adapter.parameters()):
        assert torch.equal(ours, theirs)


def test_what_killed_saves_have_left_is_removed(demo, pack, tmp_path):
    name = "0" * 32 + ".tmp"
    old = [tmp_path / f".b.safetensors.{name}", tmp_path / f".a.pvstate.{name}"]
    others = [tmp_path / f".a.safetensors.{name}", tmp_path / ".a.safetensors.mine.tmp", tmp_path / f"a.safetensors.{name}"]
    for path in (*old, *others):
        path.touch()
    for path in (*old, *others[1:]):
        os.utime(path, (0, 0))  # the first of the others is being written by another process
    demo.train(tmp_path / "a.safetensors", steps=1)
    assert not [path for path in old if path.exists()]
    assert all(path.exists() for path in others)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space on the disk of its folder"),
        (errno.EACCES, "see to it that its folder can be written to"),
        (errno.EFBIG, "see to it that its folder can be written to"),
    ],
)
def test_a_save_that_fails_says_why_without_the_folder(demo, pack, tmp_path, monkeypatch, number, remedy):
    def fail(path, lora):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(pack.training.run, "save_lora", fail)
    sentence = f"filename_prefix: a.safetensors cannot be written ({os.strerror(number)}); {remedy}."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        demo.train(tmp_path / "a.safetensors", steps=1)


def test_a_damaged_state_is_named_without_its_folder(demo, saved, tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(saved.read_bytes())
    path.with_suffix(".pvstate").mkdir()
    with pytest.raises(ValueError, match=r"^existing_lora: a.pvstate is damaged \([^/]+\); choose \[None\] to start again\.$"):
        demo.run(path, resume=True)


def test_a_bank_folder_that_cannot_be_written_is_said_without_its_place(pack, tmp_path):
    (tmp_path / "bank").touch()
    clips = pack.training.teacher.stores.LatentFiles(tmp_path / "bank" / "name", ["prompt"])
    with pytest.raises(ValueError, match=r"^bank_folder: nothing can be written to it \([^/]+\); choose another folder\.$"):
        clips.keep((0, 1), torch.zeros(1))


def test_a_line_of_the_train_node_can_be_shown(pack, monkeypatch):
    shown = []
    server = SimpleNamespace(send_progress_text=lambda text, node_id: shown.append((node_id, text)))
    monkeypatch.setattr(pack.nodes.contract, "PromptServer", SimpleNamespace(instance=server))
    pack.nodes.train_progress.TrainProgress("7", torch.device("cpu"), 0, 1, 1).say("saved as \udcff.safetensors")
    assert shown == [("7", "saved as \\udcff.safetensors")]
