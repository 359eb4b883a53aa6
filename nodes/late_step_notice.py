"""What Apply Late-Step Identity LoRA says on its node after a sampling, and in the log if something is wrong."""

import logging
import math
from dataclasses import dataclass

from server import PromptServer

from ..adapters.late_step import Sampling
from ..adapters.lora_file import AdapterInfo

FAR = 2.0
"""A share of late steps, a number of steps or a guidance scale is far from the trained one beyond this factor."""
WHOLE = 0.9
"""A sampling starts from pure noise if it starts above this share of the model's highest noise level."""


@dataclass(frozen=True)
class LateStepNotice:
    """Called after every sampling.

    node_id: of the Apply node, None outside of the server. name: of the LoRA. info: of its file, None for a LoRA of
    another trainer. start_percent, end_percent: its window; as_trained: it is that of the file.
    """

    node_id: str | None
    name: str
    info: AdapterInfo | None
    start_percent: float
    end_percent: float
    as_trained: bool

    def __call__(self, sampling: Sampling) -> None:
        acted = f"The LoRA acted in {sampling.late_steps} of {sampling.steps} steps."
        trouble = self.trouble(sampling)
        if trouble:
            first_of_two = not sampling.opened and sampling.last_sigma is None
            logging.log(logging.INFO if first_of_two else logging.WARNING, "%s: %s", self.name, trouble)
        if self.node_id is not None:
            PromptServer.instance.send_progress_text(trouble or acted, self.node_id)

    def trouble(self, sampling: Sampling) -> str:
        """Why the clip may not look as trained; empty if all is well."""
        if not sampling.opened:
            return self._never_opened(sampling)
        if len(sampling.idle) == sampling.linears:
            return (
                "The LoRA had no effect: this model computes the layers it changes without calling them, as some "
                "quantised formats do; load the model in another weight format (weight_dtype)."
            )
        sentences = []
        if sampling.idle:
            sentences.append(
                f"{len(sampling.idle)} of the LoRA's {sampling.linears} layers had no effect: this model did not call them "
                f"({sampling.idle[0]})."
            )
        if _is_whole(sampling):
            sentences += [self._too_many_steps(sampling), self._other_sampling(sampling)]
        return " ".join(sentence for sentence in sentences if sentence)

    def _never_opened(self, sampling: Sampling) -> str:
        if not sampling.window:
            return ""
        levels = f"noise levels {sampling.window.start:.3g} to {sampling.window.end:.3g}"
        if sampling.last_sigma is None:
            return (
                f"The LoRA did not act: this sampling stopped at noise level {sampling.sigmas[-1]:.3g}, before the LoRA's "
                f"window ({levels}). That is right for the first of two samplers; of the two models of Wan 2.2, apply it "
                "to the low-noise one."
            )
        return (
            f"The LoRA did not act: none of the {sampling.steps} steps lies in its window ({levels}); set start_percent and "
            "end_percent to -1, or take more steps."
        )

    def _too_many_steps(self, sampling: Sampling) -> str:
        late, steps = sampling.late_steps, sampling.steps
        trained = self._trained_steps()
        meant, of = trained or ((self.end_percent - self.start_percent) * steps, steps)
        if late < 2 or late / steps <= FAR * meant / of:
            return ""
        if trained:
            window, scheduler = f"it was trained for {meant} of {of}", f"of its training ({self.info.settings.get('scheduler')})"
        else:
            window, scheduler = f"its window means {max(1, round(meant))}", "simple"
        return (
            f"The LoRA acted in {late} of {steps} steps, {window}: layout and motion change more; use the scheduler {scheduler}."
        )

    def _trained_steps(self) -> tuple[int, int] | None:
        """Late steps and all steps of a training video, if the window is that of the training."""
        steps = self.info.settings.get("sampling_steps") if self.info and self.as_trained else None
        late = self.info.late_steps if steps else 0
        return (late, steps) if _is_number(steps) and _is_number(late) and 0 < late <= steps else None

    def _other_sampling(self, sampling: Sampling) -> str:
        settings = self.info.settings if self.info else {}
        pairs = [("steps", settings.get("sampling_steps"), sampling.steps), ("cfg", settings.get("cfg"), sampling.cfg)]
        far = [(name, was, now) for name, was, now in pairs if _is_far(was, now)]
        if not far:
            return ""
        trained = ", ".join(f"{name} {was:g}" for name, was, _ in far)
        sampled = ", ".join(f"{name} {now:g}" for name, _, now in far)
        return f"It was trained at {trained} and sampled at {sampled}: the likeness may be weaker."


def _is_whole(sampling: Sampling) -> bool:
    return sampling.last_sigma is not None and sampling.sigmas[0] > WHOLE * sampling.sigma_max


def _is_far(was, now) -> bool:
    if not (_is_number(was) and _is_number(now) and was > 0 and now > 0):
        return False
    return abs(math.log(now / was)) > math.log(FAR)


def _is_number(value) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
