"""Estimate Training: what a training run is going to take on this machine, without training."""

import comfy.model_management
from comfy_api.latest import io

from .train_inputs import train_inputs
from .train_progress import send_text
from .training_run import training_run
from .wire_types import CATEGORY


class EstimateTraining(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoEstimateTraining",
            display_name="Estimate Training",
            category=CATEGORY,
            description="Says how long Train PersonalVideo Adapter takes with the same inputs on this machine, and how much "
            "memory and disk: times one sampling step and one training step, and trains nothing.",
            search_aliases=["training time", "training cost", "how long", "memory needed", "PersonalVideo"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=train_inputs(),
            outputs=[
                io.String.Output(display_name="report", tooltip="Time, memory, disk, and the settings they are for."),
                io.Float.Output(display_name="hours", tooltip="Of the original model's clips and of training together."),
            ],
        )

    @classmethod
    def execute(cls, preview_every, **inputs) -> io.NodeOutput:
        run, choice = training_run(**inputs)
        try:
            forecast = run.estimate(lambda line: send_text(line, cls.hidden.unique_id))
        except Exception as error:
            if not comfy.model_management.is_oom(error):
                raise
            comfy.model_management.unload_all_models()
            raise ValueError(run.memory.advice(run.latent)) from error
        send_text(str(forecast), cls.hidden.unique_id)
        report = f"{forecast}.\n{run.memory.sentence}\n{choice.sentence}"
        return io.NodeOutput(report, forecast.seconds / 3600, ui={"text": [report]})
