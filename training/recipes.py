"""How long, how large and how fast each family is trained: the presets of the Train node, value by value with its reason.

A recipe is for one person on one 24 GB card in about an hour (``benchmarks/results/cost.json`` has the operations). Of
real models none has been tried: the likeness at these sizes is unproven. What was shown, on the bundled demo model, is
the demo's own recipe, and the others take from it what carries over.

What all families share, and why:
- 17 frames: the fewest in which a head turns, and 2 to 5 latent frames, so that frames differ for the semantic reward.
- 400 steps at 2e-4 go as far as the paper's 4000 at 2e-5 (800 at 1e-4 for a UNet): the sum of learning rates is 0.08.
  Public reward tuning of video models goes up to 2e-4. The rate falls to zero over the second half.
- preserve_weight 8 and 4 identity frames: as the demo's people were learnt. Without the first, motion fell from 2.0 to 1.2
  pixels a frame, and 3 of 30 runs failed.
- identity_cap 0.7: about as alike as a recognizer finds two photographs of one person; beyond it flatters the recognizer.
  The demo's recognizer knows drawings, and was rewarded without a cap.
- 1 noise a prompt: 50 prompts are 50 clips, each of which 400 steps visit 8 times. A clip costs as much as 1 to 4 steps.
- gradient_steps: 1. On the demo 1, 2 and 4 gained 0.73, 0.76 and 0.79 at 1, 2 and 4 times the cost of what is trained.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from comfy.model_base import BaseModel

from ..adapters.architectures import architecture_of, defaults_of
from .settings import PRESETS, TrainingSettings, apply_preset, fill_defaults

STANDARD, QUICK, CUSTOM = "standard", "quick", "custom"
PRESET_NAMES = (QUICK, STANDARD, *(name for name in PRESETS if name != CUSTOM), CUSTOM)


@dataclass(frozen=True)
class Recipe:
    """What the presets quick and standard decide; the fields are inputs of the Train node.

    width, height [pixels], length [frames]: of the training videos.
    """

    width: int
    height: int
    sampling_steps: int
    cfg: float
    length: int = 17
    steps: int = 400
    learning_rate: float = 2e-4
    gradient_steps: int = 1
    preserve_weight: float = 8.0
    identity_frames: int = 4
    identity_cap: float = 0.7
    bank_seeds: int = 1


RECIPES = {
    # 48 cells across, so that a head of a fifth of the width has 10. Motion modules were trained on 16 frames. 10 steps
    # leave 2 or 3 in the window; cfg and so two model calls a step are what Stable Diffusion needs. 225 at 3.5e-4: the
    # paper's distance for a UNet, 800 at 1e-4.
    "sd15": Recipe(384, 384, 10, 7.5, length=16, steps=225, learning_rate=3.5e-4),
    # Upright as the family's own size, 48 x 64 cells: the head of a half-body portrait has about 16. Guidance is an input.
    # 8 steps are made for the step-distilled LoRA (FastHunyuan); without it the videos are soft.
    "hunyuan_video": Recipe(384, 512, 8, 1.0),
    # A cell is 16 pixels: 10 of them are a head of 160, a close-up at this height. Not distilled: the family's own cfg.
    "hunyuan_video_15": Recipe(448, 384, 8, 6.0),
    # 1.3B, not distilled: the family's own cfg, and 8 steps, of which the window holds 2. 48 x 40 cells: a close-up's
    # head has 13.
    "wan": Recipe(384, 320, 8, 6.0),
    # 14B of Wan 2.1, and the low-noise expert of Wan 2.2: 4 steps at cfg 1 are what the distilled LoRA (lightx2v) is made
    # for, and the window is the last one. 56 x 40 cells: a close-up's head has 13. Larger ones take more than 22 GB.
    "wan22_14b": Recipe(448, 320, 4, 1.0),
    # A cell is 16 pixels, so that a close-up's head of 160 has 10. Not distilled: the family's own cfg.
    "wan22_5b": Recipe(512, 448, 8, 5.0),
    # A cell is 32 pixels: even at this size only a face that fills the picture has 10. Not distilled: the family's own cfg.
    "ltxv": Recipe(704, 704, 8, 3.0),
    # 60 x 40 cells, a close-up's head has 13. Its noise schedule needs more steps than a flow's.
    "cogvideox": Recipe(480, 320, 10, 6.0),
    # The bundled demo: its whole picture is 8 x 8 cells. These are the values that docs/evidence.md was made with.
    "demo": Recipe(64, 64, 16, 1.0, length=8, steps=260, learning_rate=2e-3, gradient_steps=4, identity_cap=0.0),
}
"""By family, the names of adapters/architectures.py; Wan 2.1's is split by size."""

DEMO_WIDTH, LARGE_WIDTH = 512, 5120
"""Channels of a Wan below which it is the bundled demo, and from which it is one of 14B."""

UNCHANGED = {field.name: getattr(TrainingSettings, field.name, 0) for field in fields(Recipe)}
"""The values of the node's inputs that say nothing; those of width, height and length are 0."""


def recipe_name(model: BaseModel) -> str:
    """Which of RECIPES is for a host base model. Raises ValueError for a family that is not supported."""
    name = architecture_of(model).name
    if name != "wan":
        return name
    width = model.diffusion_model.dim
    return "demo" if width < DEMO_WIDTH else "wan22_14b" if width >= LARGE_WIDTH else "wan"


def recipe_of(model: BaseModel, preset: str) -> Recipe:
    """standard: the family's recipe. quick: a quarter of its steps at twice the rate, to see whether photos, prompts and
    model work at all."""
    recipe = RECIPES[recipe_name(model)]
    if defaults_of(model).cfg == 1.0:  # guidance is an input of the model
        recipe = replace(recipe, cfg=1.0)
    if preset == QUICK:
        return replace(recipe, steps=recipe.steps // 4, learning_rate=2 * recipe.learning_rate)
    return recipe


@dataclass(frozen=True)
class Choice:
    """What a run is going to do. width, height, length: of its videos. sentence: every value of the recipe, and where it
    came from."""

    width: int
    height: int
    length: int
    settings: TrainingSettings
    sentence: str


def choose(values: Mapping, preset: str, model: BaseModel) -> Choice:
    """The node's inputs, completed. values: width, height, length and the fields of TrainingSettings, by name.

    quick and standard decide what the user has left as it was: each field of Recipe whose value is still the node's own
    default. Whatever else stands there wins. A paper preset replaces what the paper states; custom takes every value as
    it stands, 0 being the family's own.
    """
    values, own, told = dict(values), [name for name, default in UNCHANGED.items() if values[name] != default], {}
    if preset in (QUICK, STANDARD):
        told = {name: value for name, value in asdict(recipe_of(model, preset)).items() if name not in own}
    values |= told
    defaults = defaults_of(model)
    width, height, length = (values.pop(name) or getattr(defaults, name) for name in ("width", "height", "length"))
    settings = TrainingSettings(**values)
    if preset in PRESETS:
        settings = apply_preset(settings, preset)
    settings = fill_defaults(settings, defaults)
    found = {"width": width, "height": height, "length": length} | asdict(settings)
    stated = PRESETS.get(preset, {})

    def listed(names) -> str:
        return ", ".join(f"{name} {found[name]:g}" for name in names) or "nothing"

    by_preset = [name for name in UNCHANGED if name in told or name in stated]
    by_user = [name for name in own if name not in stated]
    usual = [name for name in UNCHANGED if name not in by_preset and name not in by_user]
    sentence = f"Preset {preset} decided {listed(by_preset)}; you decided {listed(by_user)}"
    return Choice(width, height, length, settings, f"{sentence}; left as usual: {listed(usual)}.")
