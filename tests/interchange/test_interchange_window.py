"""The late-step window in a pipeline opens and closes at the host's noise levels, whatever the schedule."""

import importlib
from types import SimpleNamespace

import comfy.model_sampling
import diffusers
import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="linear")
WINDOWS = [(0.75, 1.0), (0.0, 1.0), (0.0, 0.25), (0.5, 0.75), (0.3, 0.31), (0.05, 0.9), (1.0, 1.0), (0.9, 1.0)]
SCHEDULERS = {
    "ddim trailing": lambda: diffusers.DDIMScheduler(timestep_spacing="trailing", **BETAS),
    "ddim leading": lambda: diffusers.DDIMScheduler(timestep_spacing="leading", steps_offset=1, **BETAS),
    "ddim linspace": lambda: diffusers.DDIMScheduler(timestep_spacing="linspace", **BETAS),
    "dpmpp": lambda: diffusers.DPMSolverMultistepScheduler(**BETAS),
    "euler": lambda: diffusers.EulerDiscreteScheduler(timestep_spacing="trailing", **BETAS),
    "flow 1": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=1.0),
    "flow 7": lambda: diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    "flow heun": lambda: diffusers.FlowMatchHeunDiscreteScheduler(shift=7.0),
    "unipc flow": lambda: diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=7.0
    ),
}


class Denoiser(nn.Module):
    """Notes at which timesteps its adapter acted."""

    def __init__(self):
        super().__init__()
        self.to_q = nn.Linear(4, 4)
        self.calls = []

    def forward(self, x, timestep):
        acted = not torch.equal(self.to_q(x), self.to_q.base_layer(x))
        self.calls.append(acted)
        return x


class Pipeline:
    """The loop that every diffusers pipeline runs, without what happens to the latents."""

    def __init__(self, scheduler):
        self.scheduler = scheduler
        self.transformer = inject_adapter_in_model(
            LoraConfig(target_modules=["to_q"], init_lora_weights=False), Denoiser(), "identity"
        )

    def __call__(self, steps, callback, skip=0, interrupt_after=None, dtype=torch.float32):
        self.scheduler.set_timesteps(steps)
        timesteps = self.scheduler.timesteps[skip:]
        self.num_timesteps = len(timesteps)
        self.transformer.calls.clear()
        for step, timestep in enumerate(timesteps):
            self.transformer(torch.ones(1, 4), timestep=timestep.to(dtype).expand(2))
            if step == interrupt_after:
                raise KeyboardInterrupt
            callback(self, step, timestep, {})
        return self.transformer.calls


@pytest.fixture(scope="module")
def interchange(pack):
    return importlib.import_module(".interchange", pack.__name__)


def host_sampling(scheduler):
    if "flow" in type(scheduler).__name__.lower() or scheduler.config.get("use_flow_sigmas"):
        sampling = comfy.model_sampling.ModelSamplingDiscreteFlow()
        sampling.set_parameters(shift=scheduler.config.get("flow_shift") or scheduler.config["shift"])
    else:
        settings = SimpleNamespace(sampling_settings={"beta_schedule": "sqrt_linear"})
        sampling = comfy.model_sampling.ModelSamplingDiscrete(settings)
    return sampling


def host_window(pack, scheduler, start, end):
    return pack.adapters.late_step.SigmaWindow.from_percent(host_sampling(scheduler), start, end)


def host_sigmas(scheduler):
    """The noise level of each model call, from the host's own table if the scheduler has none."""
    if hasattr(scheduler, "sigmas"):
        return scheduler.sigmas[: len(scheduler.timesteps)]
    return host_sampling(scheduler).sigmas[scheduler.timesteps]


@pytest.mark.filterwarnings("ignore:identity never acted")
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("steps", [4, 8, 20, 50])
def test_adapter_acts_where_the_hosts_window_is_open(pack, interchange, name, steps):
    pipe = Pipeline(SCHEDULERS[name]())
    shares = {}
    for start, end in WINDOWS:
        callback = interchange.late_step_callback(pipe, "identity", start, end)
        acted = list(pipe(steps, callback))
        window = host_window(pack, pipe.scheduler, start, end)
        assert acted == [window.contains(float(sigma)) for sigma in host_sigmas(pipe.scheduler)]
        shares[start, end] = sum(acted) / len(acted)
    assert shares[0.0, 1.0] == 1 and shares[1.0, 1.0] == 0
    assert steps < 8 or shares[0.05, 0.9] > shares[0.75, 1.0] > 0


@pytest.mark.parametrize("name, tail", [("flow 1", 2), ("ddim trailing", 2)])
def test_quarter_of_the_steps_is_late(interchange, name, tail):
    pipe = Pipeline(SCHEDULERS[name]())
    acted = pipe(8, interchange.late_step_callback(pipe, "identity"))
    assert acted == [False] * (8 - tail) + [True] * tail


def test_run_that_starts_inside_the_window_has_the_adapter_from_its_first_step(interchange):
    pipe = Pipeline(SCHEDULERS["ddim trailing"]())
    assert all(pipe(8, interchange.late_step_callback(pipe, "identity"), skip=6))


def test_interrupted_run_leaves_no_open_gate_to_the_next(interchange):
    pipe = Pipeline(SCHEDULERS["flow 1"]())
    callback = interchange.late_step_callback(pipe, "identity")
    with pytest.raises(KeyboardInterrupt):
        pipe(8, callback, interrupt_after=7)
    assert pipe(8, callback) == [False] * 6 + [True] * 2


def test_rounded_timesteps_open_at_the_same_step(interchange):
    """HunyuanVideo's pipeline gives its transformer timesteps in the precision of the latents."""
    pipe = Pipeline(SCHEDULERS["flow 1"]())
    pipe.scheduler.set_timesteps(50)
    for sigma in pipe.scheduler.sigmas[1:20].tolist():
        callback = interchange.late_step_callback(pipe, "identity", 1 - sigma)
        exact = list(pipe(50, callback))
        assert pipe(50, callback, dtype=torch.bfloat16) == exact


def test_strength_of_the_user_is_kept_and_given_back(interchange):
    pipe = Pipeline(SCHEDULERS["flow 1"]())
    layer = pipe.transformer.to_q
    layer.set_scale("identity", 0.6)
    strength = layer.scaling["identity"]
    callback = interchange.late_step_callback(pipe, "identity", 0.0, 0.5)
    pipe(8, callback)
    assert layer.scaling["identity"] == strength == 0.6
    with pytest.raises(KeyboardInterrupt):
        pipe(8, callback, interrupt_after=6)
    assert layer.scaling["identity"] == 0.0
    callback.remove()
    assert layer.scaling["identity"] == strength and not pipe.transformer._forward_pre_hooks


def test_new_callback_takes_the_old_ones_place(interchange):
    pipe = Pipeline(SCHEDULERS["flow 1"]())
    strength = pipe.transformer.to_q.scaling["identity"]
    with pytest.raises(KeyboardInterrupt):
        pipe(8, interchange.late_step_callback(pipe, "identity"), interrupt_after=0)
    assert pipe(8, interchange.late_step_callback(pipe, "identity", 0.5)) == [False] * 4 + [True] * 4
    assert pipe.transformer.to_q.scaling["identity"] == strength
    assert len(pipe.transformer._forward_pre_hooks) == 1


def test_strength_set_since_the_old_callback_stays(interchange):
    pipe = Pipeline(SCHEDULERS["flow 1"]())
    pipe(8, interchange.late_step_callback(pipe, "identity"))
    pipe.transformer.to_q.set_scale("identity", 0.3)
    pipe(8, interchange.late_step_callback(pipe, "identity"))
    assert pipe.transformer.to_q.scaling["identity"] == 0.3


def test_schedule_without_a_step_in_the_window_is_told(interchange):
    pipe = Pipeline(SCHEDULERS["unipc flow"]())
    with pytest.warns(UserWarning, match="identity never acted: no step of this schedule lies in its window"):
        pipe(4, interchange.late_step_callback(pipe, "identity", 0.9))


def test_style_adapter_acts_in_every_step(interchange):
    pipe = Pipeline(SCHEDULERS["flow 1"]())
    inject_adapter_in_model(LoraConfig(target_modules=["to_q"], init_lora_weights=False), pipe.transformer, "style")
    pipe.transformer.to_q.set_adapter(["identity", "style"])
    assert all(pipe(8, interchange.late_step_callback(pipe, "identity")))


@pytest.mark.parametrize("window", [(0.8, 0.2), (-0.1, 1.0), (0.5, 1.5)])
def test_window_that_is_none_is_refused(interchange, window):
    with pytest.raises(ValueError, match="start_percent, end_percent: .* must rise from 0 to 1"):
        interchange.late_step_callback(Pipeline(SCHEDULERS["flow 1"]()), "identity", *window)


def test_adapter_that_is_not_there_or_is_fused_is_refused(interchange):
    pipe = Pipeline(SCHEDULERS["flow 1"]())
    with pytest.raises(ValueError, match="holds no LoRA called style; load it first"):
        interchange.late_step_callback(pipe, "style")
    pipe.transformer.to_q.merge()
    with pytest.raises(ValueError, match="identity is fused into the weights; call unfuse_lora first"):
        interchange.late_step_callback(pipe, "identity")


def test_dynamic_shift_must_be_named(interchange):
    pipe = Pipeline(diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True))
    with pytest.raises(ValueError, match="shift: FlowMatchEulerDiscreteScheduler does not tell the shift"):
        interchange.late_step_callback(pipe, "identity")
    callback = interchange.late_step_callback(pipe, "identity", 0.5, shift=3.0)
    assert callback.start == pytest.approx(3 * 0.5 / (1 + 2 * 0.5))
