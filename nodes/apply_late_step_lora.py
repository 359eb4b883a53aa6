"""Apply Late-Step Identity LoRA: the adapter acts in the last steps of sampling and nowhere else."""

import os
from pathlib import Path

import comfy.utils
import folder_paths
from comfy_api.latest import io

from ..adapters.host_lora import residuals_for
from ..adapters.late_step import LateStepInjection
from ..adapters.lora_file import AdapterInfo, LateStepLora, load_info
from .wire_types import CATEGORY, LoraModelType

FROM_FILE = -1.0
NO_LORA = "[None]"
DEFAULT_START = 0.75
DEFAULT_END = 1.0


class ApplyLateStepLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoApplyLateStepLora",
            display_name="Apply Late-Step Identity LoRA",
            category=CATEGORY,
            description="Lets a LoRA act only in a window of the sampling steps. The early steps, which decide layout "
            "and motion, stay those of the base model. Works with any sampler and next to any style LoRA, in any order.",
            search_aliases=["identity lora", "face lora", "scheduled lora", "lora steps", "PersonalVideo"],
            inputs=[
                io.Model.Input("model", tooltip="The video model; style LoRAs may be on it already or follow later."),
                io.Combo.Input(
                    "lora_name",
                    options=[NO_LORA, *folder_paths.get_filename_list("loras")],
                    tooltip="A LoRA made by Train PersonalVideo Adapter, or any plain LoRA for this model. "
                    "Ignored while the lora input is connected.",
                ),
                io.Float.Input(
                    "strength_model",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="How strongly the LoRA acts inside its window, -10 to 10. 1 is as trained, higher is stronger "
                    "than that; 0 leaves the model untouched.",
                ),
                io.Float.Input(
                    "start_percent",
                    default=FROM_FILE,
                    min=FROM_FILE,
                    max=1.0,
                    step=0.001,
                    tooltip="Where the window opens: 0 is the first, noisiest step, 0.75 the last quarter. Lower: more "
                    "alike, and layout and motion change too. -1 takes the value stored in the LoRA, 0.75 if it has none.",
                ),
                io.Float.Input(
                    "end_percent",
                    default=FROM_FILE,
                    min=FROM_FILE,
                    max=1.0,
                    step=0.001,
                    advanced=True,
                    tooltip="Where the window closes, 0 to 1; 1 is the end of sampling. -1 takes the value stored in the "
                    "LoRA, 1 if it has none.",
                ),
                LoraModelType.Input(
                    "lora", optional=True, tooltip="A LoRA straight from Train PersonalVideo Adapter; used instead of lora_name."
                ),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For any sampler; outside the window as before."),
                io.String.Output(
                    display_name="person",
                    tooltip="How training named the person, for your prompt: 'a ohwx man, a 60-year-old man with glasses'. "
                    "Empty for a LoRA of another trainer.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, lora_name=None, **kwargs):
        path = lora_name not in (None, NO_LORA) and folder_paths.get_full_path("loras", lora_name)
        return os.path.getmtime(path) if path else None

    @classmethod
    def execute(cls, model, lora_name, strength_model, start_percent, end_percent, lora=None) -> io.NodeOutput:
        if lora is None and lora_name == NO_LORA:
            raise ValueError("lora_name: choose a LoRA, or connect one to the lora input.")
        if lora is None:
            path = Path(folder_paths.get_full_path_or_raise("loras", lora_name))
            info, lora = load_info(path), _tensors(path)
        else:
            lora_name = "the connected LoRA"
            info = lora.info if isinstance(lora, LateStepLora) else None
        start, end = _window(start_percent, end_percent, info)
        person = info.person if info else ""
        if strength_model == 0 or start == end:
            return io.NodeOutput(model, person)

        residuals = residuals_for(model, lora, strength_model, lora_name)
        patched = model.clone()
        LateStepInjection(residuals, start, end).attach(patched)
        return io.NodeOutput(patched, person)


def _tensors(path: Path) -> dict:
    try:
        return comfy.utils.load_torch_file(str(path), safe_load=True)
    except Exception as error:  # a damaged file raises nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"lora_name: {path.name} cannot be read ({reason}); choose another file.") from error


def _window(start: float, end: float, info: AdapterInfo | None) -> tuple[float, float]:
    if start == FROM_FILE:
        start = info.start_percent if info else DEFAULT_START
    if end == FROM_FILE:
        end = info.end_percent if info else DEFAULT_END
    if not (0 <= start <= 1 and 0 <= end <= 1):
        raise ValueError(
            f"start_percent, end_percent: {start:g} and {end:g} must lie between 0 and 1, or be -1 for the file's value."
        )
    if start > end:
        raise ValueError(f"start_percent: the window starts at {start:g}, after its end {end:g}; lower it or raise end_percent.")
    return start, end
