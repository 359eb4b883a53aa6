"""A schedule of one's own, from a scheduler node, in training and in sampling."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_lt import LTXVScheduler
from comfy_extras.nodes_model_advanced import ModelSamplingSD3

from devkit.demo_world import PROMPTS
from devkit.predictions import acts, schedule


def ltx_schedule(steps):
    return LTXVScheduler.execute(steps, 2.05, 0.95, True, 0.1).args[0]


def sampled(demo, model, sigmas, seed=7, prompt=PROMPTS[-1]):
    noise = comfy.sample.prepare_noise(demo.latent, seed)
    with torch.inference_mode():
        return comfy.sample.sample_custom(
            model, noise, demo.cfg, comfy.samplers.sampler_object("euler"), sigmas,
            demo.encode(prompt), demo.encode(""), demo.latent, disable_pbar=True, seed=seed,
        )  # fmt: skip


@pytest.fixture(scope="module")
def run(demo, tmp_path_factory):
    """Trained for some quick steps on 12 steps of LTXVScheduler, of which the model's own percents would take 6."""
    settings = demo.pack.training.settings.follow_sigmas(demo.settings, ltx_schedule(12).tolist())
    path = tmp_path_factory.mktemp("sigmas") / "a.safetensors"
    changes = {name: getattr(settings, name) for name in ("sigmas", "sampling_steps", "scheduler")}
    return demo.train(path, steps=10, learning_rate=2e-2, **changes)


def test_window_of_the_training_is_the_last_quarter_of_the_connected_steps(run):
    assert run.first_late_step == 9 and run.result.late_steps == 3
    assert run.window.start == float(ltx_schedule(12)[9])


def test_file_tells_the_schedule_and_the_window(run, pack):
    info = pack.adapters.lora_file.load_info(run.lora_path)
    assert info.settings["sigmas"] == ltx_schedule(12).tolist() and info.late_steps == 3
    assert (info.settings["scheduler"], info.settings["sampling_steps"]) == ("connected", 12)
    assert info.switch_sigma == run.window.start


def test_applied_it_acts_where_it_was_trained(demo, run):
    late = demo.apply(demo.model, run.lora(), start=-1.0, end=-1.0)
    assert acts(demo, late, demo.model, ltx_schedule(12)) == [False] * 9 + [True] * 3


def test_clip_of_the_training_is_that_of_the_core_sampler(demo, run):
    late = demo.apply(demo.model, run.lora(), start=-1.0, end=-1.0)
    for frames, model, bound in ((run.result.after, late, 1e-4), (run.result.before, demo.model, 1e-3)):  # of the bank
        with torch.inference_mode():
            decoded = demo.vae.decode(sampled(demo, model, ltx_schedule(12))).flatten(0, -4).movedim(-1, 1)
        assert (frames - decoded).abs().max() < bound
    assert (run.result.before - run.result.after).abs().max() > 1e-2


def test_finished_run_resumes_on_the_same_schedule_without_a_remark(demo, run):
    changes = {"sigmas": ltx_schedule(12).tolist(), "sampling_steps": 12, "scheduler": "connected"}
    again = demo.run(run.lora_path, resume=True, steps=10, learning_rate=2e-2, **changes)
    assert again.changed == []


@pytest.mark.parametrize(
    "sigmas, message",
    [
        ([], r"sigmas: \[\] is no falling row"),
        ([1.0], r"sigmas: \[1\] is no falling row"),
        ([1.0, 0.5, 0.5, 0.0], "is no falling row"),
        ([1.0, float("nan"), 0.0], "is no falling row"),
        ([float("inf"), 0.5, 0.0], "is no falling row"),
        ([1.0, 0.5, -0.1], "is no falling row"),
        ([0.8, 0.5, 0.0], r"sigmas: they go from 0.8 to 0, and a training video is sampled from pure noise \(1\) to 0"),
        ([1.0, 0.5, 0.1], "sigmas: they go from 1 to 0.1"),
    ],
)
def test_what_is_no_whole_schedule_is_refused(demo, sigmas, message):
    with pytest.raises(ValueError, match=message):
        demo.pack.nodes.connected_sigmas.whole_schedule(torch.tensor(sigmas), demo.model)


@pytest.fixture(scope="module")
def sample_video(demo):
    def sample(model=demo.model, **options):
        node, inputs = demo.pack.nodes.sample_video.SampleVideo, {"steps": 8, "scheduler": "simple"} | options
        with torch.inference_mode():
            return node.execute(
                model=model, positive=demo.encode(PROMPTS[-1]), negative=demo.encode(""), vae=demo.vae, width=64, height=64,
                length=4, seed=7, cfg=demo.cfg, sampler_name="euler", fps=8.0, **inputs,
            ).args[0]["samples"]  # fmt: skip

    return sample


def test_sample_video_follows_the_connected_schedule(demo, sample_video):
    assert torch.equal(sample_video(sigmas=ltx_schedule(12)), sampled(demo, demo.model, ltx_schedule(12)))


@pytest.mark.parametrize("scheduler, shift", [("simple", 8.0), ("karras", 8.0), ("normal", 3.0)])
def test_sample_video_gives_the_same_bits_for_the_same_schedule(demo, sample_video, scheduler, shift):
    model = ModelSamplingSD3().patch(demo.model, shift)[0]
    connected = sample_video(model, steps=1, sigmas=schedule(model, scheduler, 6))
    assert torch.equal(connected, sample_video(model, steps=6, scheduler=scheduler))


def test_sample_video_refuses_what_is_no_schedule(sample_video):
    with pytest.raises(ValueError, match="sigmas: .* is no falling row of noise levels"):
        sample_video(sigmas=torch.tensor([0.5]))
