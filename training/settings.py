"""The settings of a training run, each default with its reason, and the paper's own values as presets."""

from dataclasses import dataclass, field, replace

from ..adapters.architectures import Defaults


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of one run. The fields are named as on the Train node, which takes its defaults from here.

    If steps, sampling_steps, cfg or learning_rate is 0, ``fill_defaults`` has to be called before the run.
    """

    steps: int = 0
    """The number of training steps, one video each; 0 takes the family's own, which is the paper's."""
    learning_rate: float = 0.0
    """AdamW's learning rate; 0 takes the family's own, which is the paper's."""
    weight_decay: float = 1e-2
    """AdamW's weight decay: the paper's for AnimateDiff, for every family. The paper has 1e-4 for HunyuanVideo."""
    rank: int = 16
    """The rank of the residuals. The paper gives none; the people of the demo were learnt with 16."""
    alpha: float = 16.0
    """The residuals are scaled by alpha / rank, which is 1 by default."""
    seed: int = 0
    """It decides every random choice of the run."""
    sampling_steps: int = 0
    """How many sampling steps a training video takes; 0 takes the family's own. The paper has 50."""
    cfg: float = 0.0
    """The guidance scale of a training video; 0 takes the family's own."""
    scheduler: str = "simple"
    """One of the host's schedulers; with this one the last quarter of the percents is the last quarter of the steps."""
    start_percent: float = 0.75
    """The adapter acts from here to the end of sampling, as in section 4.4 of the paper."""
    gradient_steps: int = 4
    """K: gradient flows through the last K sampling steps. On the demo, 1, 2 and 4 of them gain 0.73, 0.76 and 0.79."""
    identity_weight: float = 1.0
    """The weight of Eq. 2 in Eq. 5, which the paper leaves at 1."""
    semantic_weight: float = 1.0
    """The weight of Eqs. 3 and 4 in Eq. 5, which the paper leaves at 1."""
    preserve_weight: float = 0.0
    """The weight of the L1 distance to the teacher's frames outside the head, which is not in the paper."""
    num_frames: int = 4
    """M of Eq. 3. The paper gives none; 4 are enough for a softmax over frames and few enough to decode."""
    identity_frames: int = 1
    """How many frames Eq. 2 scores in a step; the paper scores one."""
    bank_seeds: int = 1
    """How many initial noises each prompt has; each costs a video of the original model."""
    augmentation: str = "robust"
    """How faces are altered before they are compared: one of AUGMENTATIONS. The paper's jitter lets a recognizer be fooled."""
    gradient_checkpointing: str = "auto"
    """One of CHECKPOINTING."""
    learning_rate_schedule: str = "decay"
    """One of SCHEDULES. The paper's is constant; a fall to zero over the second half ends on a steadier likeness."""
    identity_cap: float = 0.0
    """Above this similarity a frame earns nothing more; 0 means no cap, as in the paper."""
    vae_gradient_chunks: int = 0
    """How many chunks back the gradient reaches in a VAE that decodes in chunks; 0 means all of them, which is exact."""
    sigmas: list[float] = field(default_factory=list)
    """The noise levels of a training video, steps + 1 of them, in place of scheduler and sampling_steps; empty: theirs."""


SCHEDULES = ("decay", "constant")
# How activations are kept for backward, from the fastest way to the one that takes least memory; auto is the first that fits.
CHECKPOINTING = ("auto", "off", "steps", "blocks", "offload")

# From section 7 of the paper; Eq. 5 has unit weights, Eq. 2 scores one random frame, and section 4.1 jitters colours.
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
    """How many frames a training step looks at. scored: whether the semantic reward takes part."""
    if scored or settings.preserve_weight:
        return max(settings.num_frames, settings.identity_frames)
    return settings.identity_frames


def apply_preset(settings: TrainingSettings, preset: str) -> TrainingSettings:
    """``settings`` with everything that ``preset`` fixes replaced; "custom" fixes nothing."""
    return replace(settings, **PRESETS[preset])


def follow_sigmas(settings: TrainingSettings, sigmas: list[float]) -> TrainingSettings:
    """Sample training videos at ``sigmas``, [steps + 1]."""
    return replace(settings, sigmas=sigmas, sampling_steps=len(sigmas) - 1, scheduler="connected")


def fill_defaults(settings: TrainingSettings, defaults: Defaults) -> TrainingSettings:
    """``settings`` with the model family's own value wherever steps, sampling_steps, cfg or learning_rate is 0."""
    return replace(
        settings,
        steps=settings.steps or defaults.training_steps,
        sampling_steps=settings.sampling_steps or defaults.steps,
        cfg=settings.cfg or defaults.cfg,
        learning_rate=settings.learning_rate or defaults.learning_rate,
    )
