"""The loop of section 4 on the demo model: a bank that only saves time, runs that never lose work."""

import errno

import comfy.model_management
import comfy.sd
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from safetensors.torch import load_file

from devkit.demo_world import PROMPTS


def losses(run):
    return [record.loss for record in run.state.history]


def parameters(run):
    return torch.cat([parameter.detach().flatten() for parameter in run.adapter.parameters()])


def gradients(run):
    """The gradient of the run's last step, as one vector."""
    return torch.cat([parameter.grad.flatten() for parameter in run.adapter.parameters()])


def test_rollout_equals_late_step_lora_in_the_core_sampler(demo, tmp_path):
    run = demo.train(tmp_path / "a.safetensors", steps=5, learning_rate=1e-2)
    late = demo.apply(demo.model, run.lora(), start=-1.0, end=-1.0)

    def video(model):
        return demo.vae.decode(demo.sample(model, PROMPTS[-1], run.settings.seed))[0].movedim(-1, 1)

    assert (video(late) - run.result.after).abs().max() < 1e-4
    assert (video(demo.model) - run.result.before).abs().max() < 1e-3  # the bank keeps half precision
    assert (run.result.after - run.result.before).abs().max() > 1e-2


def test_bank_changes_speed_only(demo, tmp_path):
    with_bank = demo.train(tmp_path / "a.safetensors", steps=6)
    without = demo.train(tmp_path / "b.safetensors", steps=6, remember_teacher=False)
    assert losses(without) == pytest.approx(losses(with_bank), rel=1e-6)
    assert torch.allclose(parameters(without), parameters(with_bank), atol=1e-7)


@pytest.mark.parametrize("checkpointing", ["steps", "blocks"])
def test_checkpointing_changes_memory_only(demo, tmp_path, checkpointing):
    plain = demo.train(tmp_path / "a.safetensors", steps=1)
    checkpointed = demo.train(tmp_path / "b.safetensors", steps=1, gradient_checkpointing=checkpointing)
    assert losses(checkpointed) == pytest.approx(losses(plain), rel=1e-6)
    assert (gradients(checkpointed) - gradients(plain)).norm() < 1e-5 * gradients(plain).norm()


def test_cancelled_run_resumes_bit_for_bit(demo, tmp_path):
    whole = demo.train(tmp_path / "whole.safetensors", steps=5)

    def cancel_after_two(record, frames):
        if cancelled.state.step == 2:
            comfy.model_management.interrupt_current_processing()

    path = tmp_path / "cancelled.safetensors"
    cancelled = demo.run(path, steps=5)
    with torch.inference_mode(), pytest.raises(comfy.model_management.InterruptProcessingException):
        cancelled.execute(cancel_after_two)
    assert cancelled.state.step == 2 and path.exists()

    resumed = demo.train(path, resume=True, steps=5)
    assert len(losses(resumed)) == 5
    assert losses(resumed) == losses(whole)
    assert torch.equal(parameters(resumed), parameters(whole))
    assert torch.equal(resumed.result.after, whole.result.after)


def test_cancel_takes_effect_within_one_model_call(demo, tmp_path):
    calls = []

    def count_and_cancel(executor, *args, **kwargs):
        calls.append(1)
        if len(calls) == 5:
            comfy.model_management.interrupt_current_processing()
        return executor(*args, **kwargs)

    model = demo.model.clone()
    model.add_wrapper_with_key("diffusion_model", "count", count_and_cancel)
    run = demo.run(tmp_path / "a.safetensors", model=model)
    with torch.inference_mode(), pytest.raises(comfy.model_management.InterruptProcessingException):
        run.execute(lambda record, frames: None)
    assert len(calls) == 5


def test_training_leaves_model_and_host_as_they_were(demo, tmp_path):
    weights = {name: value.clone() for name, value in demo.model.model.state_dict().items()}
    expected = demo.sample(demo.model)

    def traces():
        model, vae = demo.model.model, demo.vae.first_stage_model
        return (
            [(len(module._forward_hooks), "forward" in vars(module)) for module in model.modules()],
            [parameter.requires_grad for network in (model, vae) for parameter in network.parameters()],
            dict(demo.model.model_options["transformer_options"]),
            list(demo.model.injections),
            list(demo.model.additional_models),
            [next(network.parameters()).device for network in (demo.face_model.networks, demo.semantic_reward.networks)],
        )

    before = traces()

    def fail(record, frames):
        raise RuntimeError("in the callback")

    with pytest.raises(RuntimeError, match="in the callback"):
        demo.train(tmp_path / "a.safetensors", after_step=fail)
    demo.train(tmp_path / "b.safetensors")
    assert comfy.model_management.in_training is False
    assert traces() == before
    assert torch.equal(demo.sample(demo.model), expected)
    for name, value in demo.model.model.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_error_in_a_callback_keeps_the_finished_step(demo, tmp_path, pack):
    def fail(record, frames):
        raise RuntimeError("in the callback")

    path = tmp_path / "a.safetensors"
    with pytest.raises(RuntimeError, match="in the callback"):
        demo.train(path, after_step=fail)
    assert pack.adapters.lora_file.load_info(path).steps == 1
    assert [entry.suffix for entry in sorted(tmp_path.iterdir())] == [".pvstate", ".safetensors"]


def full_disk(*given):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_save_that_fails_is_said_and_the_next_one_tried(demo, tmp_path, pack, monkeypatch):
    path, said = tmp_path / "a.safetensors", []

    def after_step(record, frames):
        if run.state.step == 2:
            monkeypatch.undo()

    run = demo.run(path, save_every=1)
    monkeypatch.setattr(pack.training.run, "save_state", full_disk)
    with torch.inference_mode():
        run.execute(after_step, said.append)
    sentence = (
        f"filename_prefix: a.safetensors cannot be written (No space left on device); free some space on the disk of {tmp_path}."
    )
    assert said.count(sentence) == 2
    assert pack.adapters.lora_file.load_info(path).steps == run.state.step == 3


def test_a_last_save_that_fails_ends_the_run_with_a_sentence(demo, tmp_path, pack, monkeypatch):
    monkeypatch.setattr(pack.training.run, "save_lora", full_disk)
    with pytest.raises(ValueError, match=r"^filename_prefix: a.safetensors cannot be written .* free some space"):
        demo.train(tmp_path / "a.safetensors")


def test_loss_that_is_no_number_stops_and_keeps_the_last_good_step(demo, tmp_path, pack):
    def poison(record, frames):
        if run.state.step == 2:
            run.identity.embeddings.fill_(float("nan"))

    path = tmp_path / "a.safetensors"
    run = demo.run(path, steps=5)
    run.identity = type(run.identity)(run.identity.embeddings.clone(), run.identity.crops, demo.face_model)
    with torch.inference_mode(), pytest.raises(pack.training.trainer.TrainingFailure, match="lower learning_rate"):
        run.execute(poison)
    assert pack.adapters.lora_file.load_info(path).steps == 2
    assert all(torch.isfinite(value).all() for value in load_file(path).values())


@pytest.fixture
def moving_makes_new_tensors(monkeypatch):
    """What a move to a GPU does to weights, on a machine without one."""
    original = torch.nn.Module.to

    def to(module, *args, **kwargs):
        if args and isinstance(args[0], (torch.device, str)):
            return module._apply(lambda tensor: tensor.clone())
        return original(module, *args, **kwargs)

    def unload():
        with torch.inference_mode():
            comfy.model_management.unload_all_models()

    unload()
    monkeypatch.setattr(torch.nn.Module, "to", to)
    yield
    unload()


def test_training_survives_weights_that_move_between_devices(demo, tmp_path, moving_makes_new_tensors):
    expected = demo.sample(demo.model)
    run = demo.train(tmp_path / "a.safetensors")
    assert torch.equal(demo.sample(demo.model), expected)
    with torch.inference_mode():
        comfy.model_management.unload_all_models()
    again = demo.train(tmp_path / "b.safetensors")
    assert losses(again) == losses(run)
    assert torch.equal(demo.sample(demo.model), expected)


def test_models_of_other_nodes_survive_being_unloaded_for_training(demo, pack, tmp_path, moving_makes_new_tensors, monkeypatch):
    cpu, load = torch.device("cpu"), comfy.model_management.load_models_gpu
    with torch.inference_mode():
        evicted, released = (ModelPatcher(torch.nn.Linear(2, 2), cpu, cpu) for _ in range(2))
        load([evicted, released])

    def make_room_and_load(models, **options):
        comfy.model_management.unload_model_and_clones(evicted)
        return load(models, **options)

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", make_room_and_load)
    demo.train(tmp_path / "a.safetensors", steps=1)
    pack.host.autograd.release(released)
    assert not {evicted, released} & {entry.model for entry in comfy.model_management.current_loaded_models}
    with torch.inference_mode():
        for patcher in (evicted, released):
            assert patcher.model(torch.ones(1, 2)).isfinite().all()


def test_training_on_top_of_an_applied_adapter(demo, tmp_path):
    late = demo.apply(demo.model, demo.random_lora())
    expected = demo.sample(late)
    run = demo.train(tmp_path / "a.safetensors", model=late)
    assert all(torch.isfinite(weight.grad).all() for weight in run.adapter.parameters())
    assert torch.equal(demo.sample(late), expected)


def test_training_on_a_bypass_lora_is_refused(demo, tmp_path):
    with torch.inference_mode():
        bypassed = comfy.sd.load_bypass_lora_for_models(demo.model, None, demo.random_lora(), 1.0, 0.0)[0]
    with pytest.raises(ValueError, match="model: a LoRA on it was loaded in bypass mode"):
        demo.run(tmp_path / "a.safetensors", model=bypassed)


def test_resuming_with_another_shape_is_refused(demo, tmp_path):
    path = tmp_path / "a.safetensors"
    demo.train(path)
    for changes, sentence in (
        ({"rank": 8}, "rank: a.safetensors was trained with 4, not 8; set it to 4"),
        ({"start_percent": 0.5}, "start_percent: a.safetensors was trained with 0.75, not 0.5"),
        ({"steps": 2}, "steps: a.safetensors already has 3 steps; raise steps"),
    ):
        with pytest.raises(ValueError, match=sentence):
            demo.run(path, resume=True, **changes)


def test_finished_run_resumes_to_its_outputs(demo, tmp_path):
    path = tmp_path / "a.safetensors"
    finished = demo.train(path)
    again = demo.train(path, resume=True)
    assert torch.equal(again.result.after, finished.result.after) and losses(again) == losses(finished)


def test_damaged_and_missing_state_are_named(demo, tmp_path):
    path = tmp_path / "a.safetensors"
    demo.train(path)
    state = path.with_suffix(".pvstate")
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ValueError, match="a.pvstate is damaged"):
        demo.run(path, resume=True)
    state.unlink()
    with pytest.raises(ValueError, match="a.pvstate, which holds the training state, is missing"):
        demo.run(path, resume=True)


def test_faces_never_found_stops_with_advice_and_a_resume_gets_a_fresh_chance(demo, tmp_path, monkeypatch, pack):
    find = demo.face_model.find
    monkeypatch.setattr(demo.face_model, "find", lambda frames: [[] for _ in frames])
    path = tmp_path / "a.safetensors"
    with pytest.raises(pack.training.trainer.TrainingFailure, match="found in only 0% of the last 25 steps"):
        demo.train(path, steps=30, gradient_steps=1)
    monkeypatch.setattr(demo.face_model, "find", find)
    assert demo.train(path, resume=True, steps=30, gradient_steps=1).state.step == 30


def test_window_without_a_step_is_refused(demo, tmp_path):
    with pytest.raises(ValueError, match="start_percent: none of the 8 sampling steps lies after 0.99"):
        demo.run(tmp_path / "a.safetensors", start_percent=0.99)


def test_seed_decides_everything(demo, tmp_path):
    first, again = demo.train(tmp_path / "a.safetensors"), demo.train(tmp_path / "b.safetensors")
    other = demo.train(tmp_path / "c.safetensors", seed=8)
    assert losses(again) == losses(first) != losses(other)


def test_learning_rate_rises_holds_and_falls_to_zero(demo, tmp_path, monkeypatch):
    rates = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda optimizer, closure=None: rates.append(optimizer.param_groups[0]["lr"]))
    demo.train(tmp_path / "a.safetensors", steps=40, gradient_steps=1)
    assert rates[:10] == pytest.approx([1e-4 * step for step in range(1, 11)])
    assert rates[10:21] == pytest.approx([1e-3] * 11)
    assert rates[30] == pytest.approx(5e-4) and rates[39] == pytest.approx(5e-5)
    rates.clear()
    demo.train(tmp_path / "b.safetensors", learning_rate_schedule="constant")
    assert rates == [1e-3] * 3
