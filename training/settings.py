"""What a training run is told, with the paper's own values as presets."""

from dataclasses import dataclass, replace

from ..adapters.architectures import Defaults


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one run; the fields' names are those of the Train node, which takes its defaults from here.

    Where steps, sampling_steps, cfg or learning_rate is 0, ``fill_defaults`` has still to be called.
    """

    steps: int = 0
    """Training steps in all, one video each; 0: the family's own, which is the paper's."""
    learning_rate: float = 0.0
    """Of AdamW; 0: the family's own, which is the paper's."""
    weight_decay: float = 1e-2
    """Of AdamW: the paper's for AnimateDiff, taken for every family; it names 1e-4 for HunyuanVideo."""
    rank: int = 16
    """Of the low-rank residuals. The paper names none; the demo's people were learnt with 16."""
    alpha: float = 16.0
    """Their scale is alpha / rank: 1."""
    seed: int = 0
    """Decides every random choice of the run."""
    sampling_steps: int = 0
    """Of a training video; 0: the family's own. The paper: 50."""
    cfg: float = 0.0
    """Guidance scale of a training video; 0: the family's own."""
    scheduler: str = "simple"
    """The host's, on which the last quarter of the percents is the last quarter of the steps."""
    start_percent: float = 0.75
    """The adapter acts from here to the end of sampling: section 4.4 of the paper."""
    gradient_steps: int = 4
    """K: gradient flows through the last K sampling steps. On the demo 1, 2 and 4 gain 0.73, 0.76 and 0.79."""
    identity_weight: float = 1.0
    """Of Eq. 2 in Eq. 5: the paper's."""
    semantic_weight: float = 1.0
    """Of Eqs. 3 and 4 in Eq. 5: the paper's."""
    preserve_weight: float = 0.0
    """Of the L1 to the teacher's frames outside the head, which is not in the paper."""
    num_frames: int = 4
    """M of Eq. 3, which the paper does not name: enough for a softmax over frames, few enough to be decoded."""
    identity_frames: int = 1
    """Frames that Eq. 2 scores in a step: the paper's."""
    bank_seeds: int = 0
    """Initial noises a prompt: every one costs a video of the original model. 0: ``noises_for``, more for longer runs."""
    augmentation: str = "robust"
    """Of faces before they are compared: one of AUGMENTATIONS. The paper's colour jitter alone lets a recognizer be fooled."""
    gradient_checkpointing: str = "auto"
    """One of CHECKPOINTING."""
    learning_rate_schedule: str = "decay"
    """One of SCHEDULES. The paper's is constant; falling to zero over the second half ends on a steadier likeness."""
    identity_cap: float = 0.0
    """The similarity above which a frame earns nothing more, 0 for none; not in the paper."""
    vae_gradient_chunks: int = 0
    """How far back the gradient reaches in VAEs that decode in chunks; 0: all the way, which is exact."""


SCHEDULES = ("decay", "constant")
# How activations are kept for backward, from the fastest way to the smallest; auto for the first that fits.
CHECKPOINTING = ("auto", "off", "steps", "blocks", "offload")

# Section 7 of the paper. Eq. 5 has unit weights, Eq. 2 one random frame, section 4.1 colour jitter.
_PAPER = dict(
    start_percent=0.75,
    sampling_steps=50,
    identity_weight=1.0,
    semantic_weight=1.0,
    preserve_weight=0.0,
    identity_frames=1,
    identity_cap=0.0,
    augmentation="paper",
    learning_rate_schedule="constant",
)
PRESETS = {
    "custom": {},
    "paper (AnimateDiff)": dict(_PAPER, steps=800, learning_rate=1e-4, weight_decay=1e-2, cfg=7.5),
    "paper (HunyuanVideo)": dict(_PAPER, steps=4000, learning_rate=2e-5, weight_decay=1e-4, cfg=1.0),
}


def frames_a_step(settings: TrainingSettings, scored: bool) -> int:
    """How many frames a training step has to look at. scored: whether the semantic reward takes part."""
    if scored or settings.preserve_weight:
        return max(settings.num_frames, settings.identity_frames)
    return settings.identity_frames


def apply_preset(settings: TrainingSettings, preset: str) -> TrainingSettings:
    """Replace what the preset fixes; ``custom`` leaves everything as it is."""
    return replace(settings, **PRESETS[preset])


def fill_defaults(settings: TrainingSettings, defaults: Defaults) -> TrainingSettings:
    """The model family's own value wherever a setting is 0."""
    return replace(
        settings,
        steps=settings.steps or defaults.training_steps,
        sampling_steps=settings.sampling_steps or defaults.steps,
        cfg=settings.cfg or defaults.cfg,
        learning_rate=settings.learning_rate or defaults.learning_rate,
    )
