"""What a training run is told, with the paper's own values as presets."""

from dataclasses import dataclass, replace

from ..adapters.architectures import Defaults


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of one run; field names are those of the Train node.

    Where steps, sampling_steps, cfg or learning_rate is 0, ``fill_defaults`` has still to be called.
    steps: optimizer steps in all. sampling_steps, cfg, scheduler: how videos are sampled.
    start_percent: the adapter acts from here to the end of sampling (section 4.4).
    gradient_steps: gradient flows through the last K steps of sampling.
    num_frames: M of Eq. 3. identity_frames: frames scored by Eq. 2 a step (the paper: one).
    learning_rate_schedule: constant (the paper), or decay: falls to zero over the second half.
    bank_seeds: initial noises a prompt. preserve_weight: weight of the L1 to the teacher's
    frames outside the head (not in the paper). gradient_checkpointing: one of CHECKPOINTING, auto for what fits.
    identity_cap: similarity above which a frame earns nothing more, 0 for none (not in the paper).
    vae_gradient_chunks: how far back gradient reaches in VAEs that decode in chunks, 0 for all the way.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    rank: int
    alpha: float
    seed: int
    sampling_steps: int
    cfg: float
    scheduler: str
    start_percent: float
    gradient_steps: int
    identity_weight: float
    semantic_weight: float
    preserve_weight: float
    num_frames: int
    identity_frames: int
    bank_seeds: int
    augmentation: str
    gradient_checkpointing: str
    learning_rate_schedule: str
    identity_cap: float
    vae_gradient_chunks: int


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
