"""How a run copes with little memory: the plan acts, running out costs one step, and nothing unneeded stays loaded."""

import gc
import weakref
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import comfy.model_management
import pytest
import torch

from devkit.demo_world import PROMPTS
from devkit.families import FAMILIES, load_family
from devkit.family_world import FamilyWorld
from devkit.tiny_vaes import taehv


def parameters(run):
    return torch.cat([parameter.detach().flatten() for parameter in run.adapter.parameters()])


def assert_same_training(run, expected):
    """Whether two adapters agree up to rounding, which depends on the processor.

    AdamW's first steps divide by the size of a gradient and so enlarge the rounding of one that is next to nothing. A
    single step more or less moves the adapter by far more.
    """
    losses, wanted = ([record.loss for record in each.state.history] for each in (run, expected))
    assert losses == pytest.approx(wanted, rel=1e-4)
    step = expected.settings.learning_rate * parameters(expected).numel() ** 0.5
    assert (parameters(run) - parameters(expected)).norm() < 0.02 * step


def failing(model, calls):
    """``model`` that runs out of memory in these of its calls with gradient, counted from 0."""
    seen = []

    def fail(executor, *args, **kwargs):
        if torch.is_grad_enabled():
            seen.append(1)
            if len(seen) - 1 in calls:
                raise torch.OutOfMemoryError("out of memory")
        return executor(*args, **kwargs)

    model = model.clone()
    model.add_wrapper_with_key("diffusion_model", "fail", fail)
    return model


@pytest.mark.parametrize("mode, smaller", [("off", "steps"), ("steps", "blocks"), ("blocks", "offload")])
def test_running_out_of_memory_costs_one_step_and_nothing_else(demo, tmp_path, mode, smaller):
    expected = demo.train(tmp_path / "a.safetensors", gradient_checkpointing=smaller)
    lines = []
    run = demo.run(tmp_path / "b.safetensors", model=failing(demo.model, {3}), gradient_checkpointing=mode)
    with torch.inference_mode():
        run.execute(lambda record, frames: None, lines.append)
    assert run.memory.option.mode == smaller
    assert [line for line in lines if line.startswith("Memory ran out, so training went on like this. Memory: about")]
    assert run.state.step == 3 and len(run.state.history) == 3
    assert_same_training(run, expected)


@pytest.fixture
def with_tiny(demo, tmp_path, monkeypatch):
    """A world whose model has a tiny VAE in the folder of the host's previews: the VAE is its attribute ``tiny``."""
    world = FamilyWorld(demo, "wan21", tmp_path)
    world.tiny = taehv(16)
    memory = demo.pack.training.memory
    monkeypatch.setattr(memory.demand, "tiny_vae_file", lambda latent_format: "lighttaew2_1.safetensors")
    monkeypatch.setattr(memory.memory, "load_tiny_vae", lambda latent_format: world.tiny)
    return world


LADDER = [
    ("off", 4, False), ("steps", 4, False), ("blocks", 4, False), ("offload", 4, False), ("offload", 2, False),
    ("offload", 2, True),
]  # fmt: skip


def rung(run):
    option = run.memory.option
    return option.mode, option.frames, option.tiny


@pytest.mark.parametrize("failures", [4, 5])
def test_run_that_goes_down_the_ladder_trains_as_one_that_was_planned_so(with_tiny, tmp_path, monkeypatch, failures):
    """From the step in which memory ran out on, however many times it did, the run is the same bit for bit."""
    lines, kept_loaded = [], []
    run = with_tiny.run(tmp_path / "a.safetensors", model=failing(with_tiny.model, range(failures)), num_frames=4)

    def after_step(record, frames):
        kept_loaded.append([any(model is vae.patcher.model for model in loaded()) for vae in (with_tiny.vae, with_tiny.tiny)])

    with torch.inference_mode():
        run.execute(after_step, lines.append)
    memory = with_tiny.pack.training.memory
    plan = memory.plan.Plan(memory.estimate.Option(*LADDER[failures]), "planned")
    monkeypatch.setattr(memory.memory, "choose", lambda demand, budget: plan)
    expected = with_tiny.train(tmp_path / "b.safetensors", num_frames=4, gradient_checkpointing="auto")
    assert rung(run) == rung(expected) == LADDER[failures]
    assert [record.loss for record in run.state.history] == [record.loss for record in expected.state.history]
    assert len(run.state.history) == run.settings.steps and torch.equal(parameters(run), parameters(expected))
    ran_out = "Memory ran out, so training went on like this. Memory: about"
    assert sum(line.startswith(ran_out) for line in lines) == failures
    # The tiny VAE is loaded from the beginning, and the user's no longer than it decodes.
    assert kept_loaded == [[not run.memory.option.tiny, True]] * run.settings.steps


def out_of_memory():
    raise torch.OutOfMemoryError("out of memory")


def test_ladder_is_gone_down_to_its_end_and_the_decoder_changes_once(with_tiny, tmp_path):
    run = with_tiny.run(tmp_path / "a.safetensors", num_frames=4)
    memory, full = run.memory, run.memory.decoder
    with torch.inference_mode():
        comfy.model_management.load_models_gpu([full.patcher])
    said, events = [], []
    memory.say = said.append
    memory.decoder_changed = lambda decoder: events.append(decoder)

    def step():
        events.append((*rung(run), memory.frames, memory.recomputes, memory.decoder.one_by_one))
        return "done" if rung(run) == LADDER[-1] else out_of_memory()

    assert memory.retrying(step) == "done"
    tries = [(*each, each[1], each[0] != "off", each[0] == "offload") for each in LADDER]
    assert events == [*tries[:-1], memory.decoder, tries[-1]]
    assert memory.decoder is not full and memory.decoder.vae is with_tiny.tiny
    assert len(said) == len(LADDER) - 1 and said[-1] == memory.sentence
    assert not any(model is full.network for model in loaded())
    with pytest.raises(torch.OutOfMemoryError):
        memory.retrying(out_of_memory)
    assert len(said) == len(LADDER) - 1 and rung(run) == LADDER[-1] and events.count(memory.decoder) == 1


def test_error_that_is_not_for_want_of_memory_is_nobody_elses(demo, tmp_path):
    run = demo.run(tmp_path / "a.safetensors")
    tries = []
    with pytest.raises(ZeroDivisionError):
        run.memory.retrying(lambda: tries.append(1) or 1 / 0)
    assert len(tries) == 1 and run.memory.option.mode == "off"


def test_step_is_repeated_when_the_failed_one_has_let_go_of_its_tensors(demo, tmp_path):
    memory = demo.run(tmp_path / "a.safetensors").memory
    held = []

    def step():
        assert not any(tensor() is not None for tensor in held)
        tensor = torch.zeros(10)
        held.append(weakref.ref(tensor))
        return len(held) if len(held) == 3 else out_of_memory()

    assert memory.retrying(step) == 3


@pytest.mark.parametrize(
    "mode, events", [("off", ["in", "forward", "backward", "out"]), ("steps", ["forward", "in", "backward", "out"])]
)
def test_saved_tensors_are_guarded_around_the_step_or_where_it_is_recomputed(demo, tmp_path, monkeypatch, mode, events):
    seen = []

    @contextmanager
    def guard(architecture):
        seen.append("in")
        yield
        seen.append("out")

    monkeypatch.setattr(demo.pack.training.memory.memory, "mutations_allowed", guard)
    memory = demo.run(tmp_path / "a.safetensors", gradient_checkpointing=mode).memory

    def step():
        loss = torch.ones(1, requires_grad=True) * 2
        seen.append("forward")
        loss.register_hook(lambda gradient: seen.append("backward"))
        memory.backward(loss)

    memory.retrying(step)
    assert seen == events


def test_end_of_the_ladder_keeps_the_last_good_step_and_says_what_to_change(demo, pack, tmp_path):
    path = tmp_path / "a.safetensors"
    run = demo.run(path, model=failing(demo.model, {3, 4, 5, 6}))
    with torch.inference_mode(), pytest.raises(torch.OutOfMemoryError):
        run.execute(lambda record, frames: None)
    assert pack.adapters.lora_file.load_info(path).steps == 1
    assert run.memory.option.mode == "offload"
    assert "lower length to 2, or width and height to 48 x 48, or close" in run.memory.advice(demo.latent)


def test_advice_names_the_tiny_vae_where_that_would_take_less(demo, tmp_path):
    world = FamilyWorld(demo, "wan21", tmp_path)
    memory = world.run(tmp_path / "a.safetensors", gradient_checkpointing="steps").memory
    large = demo.pack.training.memory.estimate.Decoder("Wan21Frames", 96, 4)
    memory.demand = replace(memory.demand, decoder=large, pixels=10**6)
    says = "Out of memory; put the tiny VAE lighttaew2_1 into models/vae_approx, or lower length"
    assert memory.advice(world.latent).startswith(says)
    memory.demand = replace(memory.demand, dequantised_bytes=10**12)
    assert memory.advice(world.latent).startswith("Out of memory; lower length")


def test_clips_that_do_not_fit_together_are_sampled_one_by_one(demo, pack, tmp_path, monkeypatch):
    sizes = []

    def one_clip_at_most(executor, x, *args, **kwargs):
        sizes.append(len(x))
        if len(x) > 2:  # with and without prompt
            raise torch.OutOfMemoryError("out of memory")
        return executor(x, *args, **kwargs)

    model = demo.model.clone()
    model.add_wrapper_with_key("diffusion_model", "few", one_clip_at_most)
    monkeypatch.setattr(pack.training.rollout.Rollout, "most_together", lambda rollout: 2)
    clips, told = {}, []
    run = demo.run(tmp_path / "a.safetensors", model=model, steps=6, teacher_clips=clips)

    def stop(record, frames):
        raise StopIteration

    with torch.inference_mode(), pytest.raises(StopIteration):
        run.execute(stop, after_clips=told.append)
    assert sizes.count(4) == 1 and len(clips) == told[-1].total == len(PROMPTS)


def test_run_that_memory_ends_says_where_its_steps_are(demo, pack, monkeypatch):
    class Quiet:
        def __init__(self, *args, **options):
            pass

        def __call__(self, *args):
            pass

        say = clips = __call__

    module = pack.nodes.train_adapter
    monkeypatch.setattr(module, "TrainProgress", Quiet)
    monkeypatch.setattr(module.TrainAdapter, "hidden", SimpleNamespace(unique_id="1"), raising=False)
    inputs = {entry.id: getattr(entry, "default", None) for entry in module.TrainAdapter.define_schema().inputs} | dict(
        model=failing(demo.model, range(3, 7)),
        clip=demo.clip,
        vae=demo.vae,
        identity=demo.identity,
        prompts="\n".join(PROMPTS),
        width=64,
        height=64,
        length=4,
        steps=3,
        sampling_steps=8,
        gradient_steps=2,
        gradient_checkpointing="off",
        filename_prefix="loras/ended",
    )
    says = r"^Out of memory; .* that use the same memory\. Step 1 is saved as ended_00001_\.safetensors\.$"
    with torch.inference_mode(), pytest.raises(ValueError, match=says):
        module.TrainAdapter.execute(**inputs)


def limited(monkeypatch, demo, size):
    monkeypatch.setattr(
        demo.pack.training.memory.memory, "budget_of", lambda parts, bank: demo.pack.training.memory.plan.Budget(int(size), None)
    )


def test_auto_takes_the_fastest_way_that_fits_and_what_was_chosen_is_respected(demo, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    plan = demo.pack.training.memory.plan
    demand = demo.run(path).memory.demand
    for option in plan.options(demand)[:3]:
        limited(monkeypatch, demo, size := plan.needed(demand, option) * 1.0001)
        run = demo.run(path, gradient_checkpointing="auto")
        assert run.memory.option == next(other for other in plan.options(demand) if plan.needed(demand, other) <= size)
        assert run.memory.sentence.startswith("Memory: about ")
    limited(monkeypatch, demo, 1)
    assert demo.run(path, gradient_checkpointing="off").memory.option.mode == "off"


def test_run_that_fits_in_no_way_is_refused_with_a_size_that_fits(demo, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    plan = demo.pack.training.memory.plan
    demand = demo.run(path).memory.demand
    limited(monkeypatch, demo, 0.9 * min(plan.needed(demand, option) for option in plan.options(demand)))
    with pytest.raises(
        ValueError, match=r"^length, width, height: training at this size takes about .* GB can be had; lower .*to "
    ):
        demo.train(path, gradient_checkpointing="auto")
    limited(monkeypatch, demo, 1)
    with pytest.raises(ValueError, match="lower gradient_steps, or use a smaller model or one in 8 bits"):
        demo.train(path, gradient_checkpointing="auto")


def test_refusal_names_the_tiny_vae_that_would_make_it_fit(demo, tmp_path, monkeypatch):
    world = FamilyWorld(demo, "wan21", tmp_path)
    plan = demo.pack.training.memory.plan
    estimate = demo.pack.training.memory.estimate
    demand = world.run(tmp_path / "a.safetensors").memory.demand
    demand = replace(demand, pixels=10**6, decoder=estimate.Decoder("Wan21Frames", 96, 4), tiny=None)
    monkeypatch.setattr(demo.pack.training.memory.memory, "demand_of", lambda parts, latent: demand)
    limited(monkeypatch, demo, 0.5 * plan.needed(demand, estimate.Option("offload", 2)))
    with pytest.raises(ValueError, match="can be had; put the tiny VAE lighttaew2_1 into models/vae_approx"):
        world.train(tmp_path / "a.safetensors", gradient_checkpointing="auto")


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"sd15"}))
def test_plan_knows_every_family_and_names_smaller_runs(demo, pack, tmp_path, family):
    world = FamilyWorld(demo, family, tmp_path)
    run = world.run(tmp_path / "a.safetensors", gradient_checkpointing="auto")
    memory = run.memory
    pattern = run.architecture.blocks
    motion = [
        module
        for patcher in run.model.get_additional_models_with_key("personalvideo_motion")
        for part in vars(patcher.model)["_modules"].values()
        for module in part
    ]
    blocks = [name for name, _ in run.model.model.diffusion_model.named_modules() if pattern.fullmatch(name)]
    assert len(memory.demand.layers) == len(blocks) + len(motion)
    assert memory.option.mode == "off" and memory.demand.weights > run.model.model_size()
    assert memory.demand.frame_reward > 0 < memory.demand.step_reward
    names = [next(sizes)[0] for sizes in pack.training.memory.demand.smaller(memory.parts, world.latent, memory.demand)]
    assert names[0].startswith("length to ") and names[1].startswith("width and height to ")
    assert memory.demand.dequantised_bytes == 0


def test_weights_of_eight_bits_are_converted_in_every_call(pack, tmp_path):
    network = load_family(pack, "wan21", tmp_path, "fp8_e4m3fn").model.diffusion_model
    eight = sum(weight.numel() for weight in network.parameters() if weight.dtype == torch.float8_e4m3fn)
    assert eight and pack.training.memory.demand._dequantised_bytes(network, 2) == 2 * eight


def test_trained_adapter_is_the_same_in_every_mode(demo, tmp_path):
    runs = [demo.train(tmp_path / f"{mode}.safetensors", gradient_checkpointing=mode, steps=2) for mode in ("off", "offload")]
    assert_same_training(runs[1], runs[0])


def test_tiny_vae_decodes_for_teacher_and_student_alike(with_tiny, tmp_path, monkeypatch):
    """The tiny VAE of the family, from the folder of the host's previews."""
    memory = with_tiny.pack.training.memory
    plan = memory.plan.Plan(memory.estimate.Option("steps", 2, True), "tiny")
    monkeypatch.setattr(memory.memory, "choose", lambda demand, budget: plan)
    run = with_tiny.train(tmp_path / "a.safetensors", gradient_checkpointing="auto", steps=1)
    with torch.inference_mode():
        latents = with_tiny.sample(with_tiny.model, run.prompts[-1], run.settings.seed)
        expected = with_tiny.tiny.decode(latents)[0].movedim(-1, 1).clamp(0, 1)
    assert (run.result.before - expected).abs().max() < 2e-3
    assert run.state.history[0].loss == run.state.history[0].loss


def test_only_the_frames_that_are_used_are_decoded(demo, tmp_path, monkeypatch):
    decoded = []
    original = demo.pack.training.decoding.frame_decoder.FrameDecoder.decode

    def count(decoder, latents, frames):
        decoded.append(len(frames))
        return original(decoder, latents, frames)

    monkeypatch.setattr(demo.pack.training.decoding.frame_decoder.FrameDecoder, "decode", count)
    for changes, frames in (
        (dict(semantic_weight=0.0, preserve_weight=0.0), 1),
        (dict(preserve_weight=0.0), 4),
        (dict(semantic_weight=0.0), 4),
    ):
        decoded.clear()
        run = demo.train(tmp_path / "a.safetensors", steps=1, num_frames=4, identity_frames=1, **changes)
        assert decoded == [frames]
        assert run.state.history[0].similarity == run.state.history[0].similarity


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_clips_that_are_going_to_be_kept_in_memory_are_no_room_for_training(demo, tmp_path, monkeypatch, device):
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda device: 10**10)
    bank = demo.pack.training.teacher.location
    model = demo.model.clone()
    model.load_device = torch.device(device)
    budgets = {}
    for kind in bank.BANKS:
        run = demo.run(tmp_path / "a.safetensors", model=model, teacher_clips=bank.BankLocation(kind, tmp_path))
        budgets[kind] = run.memory.budget
    clips = 3 * bank.clip_bytes(run.memory.decoder, demo.latent)
    loaded = sum(patcher.model_size() for patcher in (run.model, run.memory.decoder.patcher, *run.reward_networks))
    assert budgets["disk"].device == 10**10 + loaded - int(comfy.model_management.minimum_inference_memory())
    assert budgets["memory"].device == budgets["auto"].device == budgets["disk"].device - clips
    assert all(budget.cpu is None for budget in budgets.values())


def loaded():
    return [entry.model.model for entry in comfy.model_management.current_loaded_models if entry.model is not None]


def test_text_encoder_is_given_back_before_training(demo, tmp_path):
    encoder = demo.clip.patcher.model
    with torch.inference_mode():
        comfy.model_management.load_model_gpu(demo.clip.patcher)
    assert any(model is encoder for model in loaded())
    seen = []
    demo.train(tmp_path / "a.safetensors", steps=1, after_step=lambda record, frames: seen.append(loaded()))
    assert seen and not any(model is encoder for model in seen[0])
    with torch.inference_mode():
        demo.encode("still works")


def test_reading_what_rewards_keep_leaves_no_tensor_behind(demo, tmp_path):
    def tensors():
        gc.collect()
        return sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())

    parts = demo.run(tmp_path / "a.safetensors").memory.parts
    counts = []
    for _ in range(2):
        assert demo.pack.training.memory.demand.demand_of(parts, demo.latent).frame_reward > 0
        counts.append(tensors())
    assert counts[0] == counts[1]
