"""Train PersonalVideo Adapter: reward tuning of the user's own video model, inside ComfyUI."""

import math
from collections.abc import Sequence

import comfy.model_management
import comfy.samplers
from comfy_api.latest import io

from ..training.run import TrainingRun
from ..training.state import StepRecord
from ..training.trainer import TrainingFailure
from .lora_path import listed_name
from .train_inputs import train_inputs
from .train_progress import TrainProgress, side_by_side
from .training_result import result_pictures
from .training_run import training_run
from .wire_types import CATEGORY, LoraModelType, LossMapType


class TrainAdapter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoTrainAdapter",
            display_name="Train PersonalVideo Adapter",
            category=CATEGORY,
            description="Teaches a video model one person by rewarding the videos it samples itself: no training "
            "videos, no captions of your photos. The result is a LoRA for the late sampling steps.",
            search_aliases=["train lora", "identity training", "face training", "reward tuning", "PersonalVideo"],
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=train_inputs(),
            outputs=[
                LoraModelType.Output(display_name="lora", tooltip="For Apply Late-Step Identity LoRA; also saved."),
                LossMapType.Output(
                    display_name="loss_map",
                    tooltip="For the core Plot Loss Graph, which needs two "
                    "different values: a single one is given twice, minimally changed.",
                ),
                io.Int.Output(display_name="steps", tooltip="Training steps that the LoRA has in all."),
                io.Image.Output(
                    display_name="before_after",
                    tooltip="A clip of the prompt kept out of training: original model left, adapter right.",
                ),
                io.String.Output(display_name="report", tooltip="What was trained, how alike it became, which file it is."),
            ],
        )

    @classmethod
    def execute(cls, preview_every, **inputs) -> io.NodeOutput:
        run, choice = training_run(**inputs)
        progress = TrainProgress(
            cls.hidden.unique_id, run.model.load_device, run.state.step, run.settings.steps, preview_every,
            keeps_clips=run.teacher_clips.reused,
        )  # fmt: skip
        try:
            result = run.execute(progress, progress.say, progress.clips)
        except comfy.model_management.InterruptProcessingException:
            progress.cancelled(listed_name(run.lora_path))
            raise
        except TrainingFailure as failure:
            raise ValueError(f"{failure}{_saved(run)}") from failure
        except Exception as error:
            if not comfy.model_management.is_oom(error):
                raise
            comfy.model_management.unload_all_models()
            raise ValueError(f"{run.memory.advice(run.latent)}{_saved(run)}") from error

        report = f"{progress.finished(result)}\n{choice.sentence}"
        return io.NodeOutput(
            result.lora, _loss_map(result.history), result.steps, side_by_side(result.before, result.after), report,
            ui=result_pictures(result) | {"text": [report]},
        )  # fmt: skip


def _saved(run: TrainingRun) -> str:
    """What a failed run leaves, as a sentence to add to why it failed."""
    return f" Step {run.state.step} is saved as {listed_name(run.lora_path)}." if run.state.step else ""


def _loss_map(history: Sequence[StepRecord]) -> dict[str, list[float]]:
    """For the core Plot Loss Graph, which cannot draw fewer than two or all equal values."""
    losses = [record.loss for record in history if math.isfinite(record.loss)]
    if len(set(losses)) < 2:
        level = losses[0] if losses else 0.0
        losses = [level, level + 1e-6]
    return {"loss": losses}
