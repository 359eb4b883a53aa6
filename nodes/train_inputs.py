"""The inputs of Train PersonalVideo Adapter, in the order that saved graphs rely on: new ones go to the end."""

import comfy.samplers
import folder_paths
from comfy_api.latest import io

from ..rewards.augmentation import AUGMENTATIONS
from ..training.recipes import PRESET_NAMES, STANDARD
from ..training.settings import CHECKPOINTING, SCHEDULES, TrainingSettings
from ..training.teacher.location import BANKS
from .lora_path import NEW_LORA
from .wire_types import IdentityType, SemanticRewardType


def train_inputs() -> list[io.Input]:
    """Inputs and widgets; the defaults of those that are training settings are the settings' own."""
    return [
        io.Model.Input("model", tooltip="The text-to-video model to teach; style LoRAs may be on it already."),
        io.Clip.Input("clip", tooltip="The text encoder that belongs to the model."),
        io.Vae.Input("vae", tooltip="The VAE that belongs to the model: a video VAE, for AnimateDiff an image VAE."),
        IdentityType.Input("identity", tooltip="The person, from Load Identity Images."),
        io.String.Input(
            "prompts",
            multiline=True,
            default="",
            tooltip="One prompt a line, 2 or more (50 in the paper), each with the trigger word: connect Simulated "
            "Prompts. The last one is kept out of training and shows the result before and after.",
        ),
        io.String.Input(
            "negative_prompt",
            multiline=True,
            default="",
            tooltip="What to avoid; use what you sample with later. Unused at cfg 1.",
        ),
        io.Int.Input(
            "width",
            default=0,
            min=0,
            max=4096,
            step=8,
            tooltip="Pixels of the training videos; 0: the preset's, with custom the "
            "model's usual width. Time and memory grow with it; faces under about 64 pixels teach little. "
            "A value that does not fit the model says which ones do.",
        ),
        io.Int.Input(
            "height",
            default=0,
            min=0,
            max=4096,
            step=8,
            tooltip="Pixels of the training videos; 0: the preset's, with custom the model's usual height. Time and memory "
            "grow with it.",
        ),
        io.Int.Input(
            "length",
            default=0,
            min=0,
            max=513,
            tooltip="Frames of the training videos, up to 513; 0: the preset's, with custom the model's usual length. Time and "
            "memory grow with it. A value that does not fit the VAE says which ones do.",
        ),
        io.Int.Input(
            "steps",
            default=TrainingSettings.steps,
            min=0,
            max=100000,
            tooltip="Training steps in all, one video each. More: a closer likeness, and longer in proportion. "
            "0: the preset's, with custom the paper's, 800 for AnimateDiff and 4000 for transformers.",
        ),
        io.Int.Input(
            "sampling_steps",
            default=TrainingSettings.sampling_steps,
            min=0,
            max=200,
            tooltip="Sampling steps of a training video, up to 200; use what you sample with later. More is "
            "slower. 0: the preset's, with custom the model's usual number. The paper: 50.",
        ),
        io.Float.Input(
            "cfg",
            default=TrainingSettings.cfg,
            min=0.0,
            max=30.0,
            step=0.1,
            tooltip="Guidance scale, up to 30; use what you sample with later. 1 halves the time. 0: the "
            "preset's, with custom the model's usual value, which is 1 for models with embedded guidance (HunyuanVideo).",
        ),
        io.Combo.Input(
            "scheduler",
            options=comfy.samplers.SCHEDULER_NAMES,
            default=TrainingSettings.scheduler,
            advanced=True,
            tooltip="Noise schedule of the training videos; use what you sample with later.",
        ),
        io.Float.Input(
            "start_percent",
            default=TrainingSettings.start_percent,
            min=0.0,
            max=0.999,
            step=0.001,
            tooltip="Share of sampling, 0 to 0.999, after which the adapter acts. 0.75 (the paper) keeps layout "
            "and motion; lower changes more of the person and more of the video, and is slower.",
        ),
        io.Int.Input(
            "seed",
            default=TrainingSettings.seed,
            min=0,
            max=0xFFFFFFFFFFFFFFFF,
            control_after_generate=io.ControlAfterGenerate.fixed,
            tooltip="Fixes every random choice of the run. Another value trains anew.",
        ),
        io.String.Input(
            "filename_prefix",
            default="loras/personalvideo",
            tooltip="Where the LoRA is saved, below ComfyUI's output folder: loras/ and the beginning "
            "of its name. A number is added.",
        ),
        io.Int.Input(
            "gradient_steps",
            default=TrainingSettings.gradient_steps,
            min=1,
            max=50,
            advanced=True,
            tooltip="K, 1 to 50: gradient flows through the last K sampling steps, those of the window at "
            "most. More teaches earlier steps too, is slower and needs more memory.",
        ),
        io.Int.Input(
            "rank",
            default=TrainingSettings.rank,
            min=1,
            max=256,
            advanced=True,
            tooltip="Rank of the LoRA, 1 to 256. Higher can learn more details, and makes the file larger "
            "in proportion. The paper does not name one.",
        ),
        io.Float.Input(
            "alpha",
            default=TrainingSettings.alpha,
            min=0.01,
            max=1024.0,
            step=0.01,
            advanced=True,
            tooltip="The LoRA's scale is alpha / rank: 1 where both are equal. Higher acts like a higher learning rate.",
        ),
        io.Float.Input(
            "learning_rate",
            default=TrainingSettings.learning_rate,
            min=0.0,
            max=1.0,
            step=1e-7,
            advanced=True,
            tooltip="Of AdamW. Higher learns faster, and less steadily. 0: the preset's, with custom the "
            "paper's, 1e-4 for AnimateDiff and 2e-5 for transformers.",
        ),
        io.Float.Input(
            "weight_decay",
            default=TrainingSettings.weight_decay,
            min=0.0,
            max=1.0,
            step=1e-5,
            advanced=True,
            tooltip="Of AdamW, 0 to 1. Higher holds the LoRA's weights smaller. The paper: 1e-2 for "
            "AnimateDiff, 1e-4 for HunyuanVideo.",
        ),
        io.Float.Input(
            "identity_weight",
            default=TrainingSettings.identity_weight,
            min=0.0,
            max=100.0,
            step=0.01,
            advanced=True,
            tooltip="Weight of the identity loss (1 - similarity), 0 to 100. Higher: the likeness "
            "counts more against meaning and background. The paper: 1.",
        ),
        io.Float.Input(
            "semantic_weight",
            default=TrainingSettings.semantic_weight,
            min=0.0,
            max=100.0,
            step=0.01,
            advanced=True,
            tooltip="Weight of the semantic consistency loss, 0 to 100. Higher holds the videos closer "
            "to the original model's; no effect without semantic_reward. The paper: 1.",
        ),
        io.Float.Input(
            "preserve_weight",
            default=TrainingSettings.preserve_weight,
            min=0.0,
            max=100.0,
            step=0.01,
            advanced=True,
            tooltip="Weight of keeping everything outside the head as the base model paints it, 0 to "
            "100. Not in the paper; on the demo 8 kept motion and background, which the presets quick and standard use.",
        ),
        io.Int.Input(
            "num_frames",
            default=TrainingSettings.num_frames,
            min=2,
            max=64,
            advanced=True,
            tooltip="M, 2 to 64: frames a step that the semantic loss compares. More makes it steadier, "
            "and decoding them needs more time and memory.",
        ),
        io.Int.Input(
            "bank_seeds",
            default=TrainingSettings.bank_seeds,
            min=1,
            max=1000,
            advanced=True,
            tooltip="Initial noises a prompt, 1 to 1000. More gives more variety. For each the original "
            "model samples one video a prompt before training, unless steps are fewer; a video of 61 "
            "frames of 512 x 768 takes 144 MB.",
        ),
        io.Int.Input(
            "save_every",
            default=50,
            min=1,
            max=100000,
            advanced=True,
            tooltip="Training steps between saves; cancelling always saves.",
        ),
        io.Int.Input(
            "preview_every",
            default=10,
            min=1,
            max=100000,
            advanced=True,
            tooltip="Training steps between pictures on this node: original model left, adapter right.",
        ),
        io.Combo.Input(
            "existing_lora",
            options=[NEW_LORA, *folder_paths.get_filename_list("loras")],
            default=NEW_LORA,
            tooltip="Go on training a LoRA that this node has saved, up to steps; a cancelled run goes on "
            "where it stopped. [None] starts a new one.",
        ),
        io.Combo.Input(
            "preset",
            options=list(PRESET_NAMES),
            default=STANDARD,
            tooltip="standard and quick decide what you leave at its default, of these: width, height, length, steps, "
            "sampling_steps, cfg, gradient_steps, learning_rate, preserve_weight, identity_frames, identity_cap, "
            "bank_seeds. What you change wins; other inputs are never touched. standard: about an hour on a 24 GB card; "
            "quick: a first look. A paper preset replaces what the paper states. custom: all values as they stand.",
        ),
        io.Combo.Input(
            "augmentation",
            options=list(AUGMENTATIONS),
            default=TrainingSettings.augmentation,
            advanced=True,
            tooltip="What is done to faces before they are compared. robust keeps the model from "
            "fooling the recognizer with invisible patterns; paper is colour jitter only.",
        ),
        io.Int.Input(
            "identity_frames",
            default=TrainingSettings.identity_frames,
            min=1,
            max=64,
            advanced=True,
            tooltip="Frames a step that the identity loss looks at, 1 to 64. More is steadier, and needs "
            "more time and memory. The paper: 1.",
        ),
        io.Combo.Input(
            "gradient_checkpointing",
            options=list(CHECKPOINTING),
            default=TrainingSettings.gradient_checkpointing,
            advanced=True,
            tooltip="How much is computed again for the gradient instead of kept in memory. auto: the "
            "fastest way that fits, which the progress line names. off: nothing, fastest. steps: one "
            "sampling step at a time. blocks: also one block at a time. offload: as blocks, and what is "
            "kept waits in CPU memory; slowest and smallest.",
        ),
        io.String.Input(
            "trigger_word",
            default="sks",
            tooltip="The word for the person, the same as in Simulated Prompts; stored in the LoRA.",
        ),
        io.Combo.Input(
            "learning_rate_schedule",
            options=list(SCHEDULES),
            default=TrainingSettings.learning_rate_schedule,
            advanced=True,
            tooltip="decay: the learning rate falls to zero over the second half, which ends on a "
            "steadier likeness. constant: as in the paper.",
        ),
        io.Float.Input(
            "identity_cap",
            default=TrainingSettings.identity_cap,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="A frame more similar to the photos than this (0 to 1) earns nothing more, which "
            "keeps training from flattering the recognizer; 0.7 is a good value for photographs. 0: no "
            "cap, as in the paper.",
        ),
        io.Int.Input(
            "vae_gradient_chunks",
            default=TrainingSettings.vae_gradient_chunks,
            min=0,
            max=64,
            advanced=True,
            tooltip="For the VAEs of HunyuanVideo and CogVideoX, which decode in chunks: how many of them "
            "carry gradient before the scored frame. 1 or 2 save memory, and blur the gradient; 0: exact.",
        ),
        io.Combo.Input(
            "teacher_bank",
            options=list(BANKS),
            default="auto",
            advanced=True,
            tooltip="Where the original model's videos are kept while training. auto: in memory if they "
            "need a quarter of what is free at most and bank_folder is empty, else on disk.",
        ),
        io.String.Input(
            "bank_folder",
            default="",
            advanced=True,
            tooltip="On disk: a folder below ComfyUI's output folder, whose videos stay and are used by "
            "later runs with the same model, sampling, seed and last prompt. Empty: ComfyUI's temp "
            "folder, which it empties when it starts.",
        ),
        SemanticRewardType.Input(
            "semantic_reward",
            optional=True,
            tooltip="From Load Semantic Reward: keeps meaning and motion of the videos. "
            "Without it only the identity is rewarded.",
        ),
        io.Model.Input(
            "high_noise_model",
            optional=True,
            tooltip="For models of two experts (Wan 2.2 14B): the high-noise one, which makes the first "
            "steps and is not trained. model is then the low-noise one.",
        ),
    ]
