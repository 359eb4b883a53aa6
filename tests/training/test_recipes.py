"""What the Train node's presets decide, and what they leave alone."""

from dataclasses import asdict, fields, replace

import pytest

from benchmarks.ablations.arms import TRAINING
from devkit.family_world import FamilyWorld
from tools.workflows import demo as demo_workflow

# A 0.1.0 graph whose user has touched nothing, as ComfyUI saved it.
UNTOUCHED = {
    "width": 0, "height": 0, "length": 0, "steps": 0, "sampling_steps": 0, "cfg": 0.0, "scheduler": "simple",
    "start_percent": 0.75, "seed": 0, "gradient_steps": 4, "rank": 16, "alpha": 16.0, "learning_rate": 0.0,
    "weight_decay": 0.01, "identity_weight": 1.0, "semantic_weight": 1.0, "preserve_weight": 0.0, "num_frames": 4,
    "bank_seeds": 1, "augmentation": "robust", "identity_frames": 1, "gradient_checkpointing": "auto",
    "learning_rate_schedule": "decay", "identity_cap": 0.0, "vae_gradient_chunks": 0,
}  # fmt: skip
OWN = {
    "width": 256, "height": 128, "length": 9, "steps": 77, "sampling_steps": 6, "cfg": 2.5, "learning_rate": 3e-5,
    "gradient_steps": 2, "preserve_weight": 0.5, "identity_frames": 3, "identity_cap": 0.9, "bank_seeds": 5,
}  # fmt: skip
FAMILIES = {
    "sd15": ("sd15",), "hunyuan_video": ("hunyuan_video",), "hunyuan_video_15": ("hunyuan_video_15",),
    "wan21": ("wan", "wan22_14b"), "wan22_5b": ("wan22_5b",), "ltxv": ("ltxv",), "cogvideox": ("cogvideox",),
}  # fmt: skip


@pytest.fixture(scope="module")
def recipes(pack):
    return pack.training.recipes


@pytest.fixture(scope="module")
def wan(demo, tmp_path_factory):
    """A host base model of the Wan family."""
    return FamilyWorld(demo, "wan21", tmp_path_factory.mktemp("wan")).model.model


@pytest.fixture
def wan_of(wan, monkeypatch):
    def wide(channels: int):
        monkeypatch.setattr(wan.diffusion_model, "dim", channels)
        return wan

    return wide


def test_every_family_has_a_recipe(pack, recipes):
    names = {architecture.name for architecture in pack.adapters.architectures.ARCHITECTURES}
    assert recipes.RECIPES.keys() == names | {"wan22_14b", "demo"}


@pytest.mark.parametrize("channels, name", [(256, "demo"), (1536, "wan"), (5120, "wan22_14b")])
def test_recipe_of_a_wan_goes_by_its_width(recipes, wan_of, channels, name):
    assert recipes.recipe_name(wan_of(channels)) == name


@pytest.mark.parametrize("family", FAMILIES)
def test_videos_of_every_recipe_fit_model_and_vae(demo, recipes, tmp_path, family):
    world = FamilyWorld(demo, family, tmp_path)
    for name in FAMILIES[family]:
        recipe = recipes.RECIPES[name]
        empty_latent = demo.pack.nodes.video_latent.empty_latent
        if family == "sd15":  # without motion modules it makes no videos
            assert recipe.width % 8 == recipe.height % 8 == 0 and recipe.length == 16
            continue
        latent = empty_latent(world.model, world.vae, recipe.width, recipe.height, recipe.length)
        assert latent.numel() and (name == "ltxv" or min(latent.shape[-2:]) >= 24)


def test_demos_recipe_is_what_its_template_and_its_evidence_use(recipes, demo):
    choice = recipes.choose(UNTOUCHED, "standard", demo.model.model)
    found = {"width": choice.width, "height": choice.height, "length": choice.length} | asdict(choice.settings)
    template = {name: value for name, value in demo_workflow.TRAINING.items() if name in found}
    memory = {"gradient_checkpointing": found["gradient_checkpointing"]}
    assert len(template) > 10 and found == found | template | memory
    assert found == found | TRAINING | memory


@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_recipe_fills_what_the_user_left_alone(recipes, wan_of, preset):
    model = wan_of(5120)
    choice = recipes.choose(UNTOUCHED, preset, model)
    recipe = recipes.recipe_of(model, preset)
    found = {"width": choice.width, "height": choice.height, "length": choice.length} | asdict(choice.settings)
    assert found == found | asdict(recipe)
    decided = {field.name for field in fields(recipe)}
    assert {name: found[name] for name in UNTOUCHED if name not in decided} == {
        name: value for name, value in UNTOUCHED.items() if name not in decided
    }


@pytest.mark.parametrize("preset", ["quick", "standard"])
@pytest.mark.parametrize("name", OWN)
def test_what_the_user_changed_wins_over_the_recipe(recipes, wan_of, preset, name):
    model = wan_of(1536)
    choice = recipes.choose(UNTOUCHED | {name: OWN[name]}, preset, model)
    expected = replace(recipes.recipe_of(model, preset), **{name: OWN[name]})
    found = {"width": choice.width, "height": choice.height, "length": choice.length} | asdict(choice.settings)
    assert found == found | asdict(expected)
    assert f"you decided {name} {OWN[name]:g};" in choice.sentence


def test_quick_is_a_quarter_of_standard_at_twice_the_rate(recipes, wan_of):
    quick, standard = (recipes.recipe_of(wan_of(1536), preset) for preset in ("quick", "standard"))
    assert quick == replace(standard, steps=100, learning_rate=4e-4)


def test_models_with_guidance_as_an_input_are_sampled_without_negative_prompt(demo, recipes, tmp_path):
    world = FamilyWorld(demo, "hunyuan_video_15", tmp_path)
    assert recipes.recipe_of(world.model.model, "standard").cfg == 6.0
    world.model.model.diffusion_model.params.guidance_embed = True
    assert recipes.recipe_of(world.model.model, "standard").cfg == 1.0


def test_saved_graph_of_0_1_0_means_what_it_meant(pack, recipes, wan):
    settings = pack.training.settings.TrainingSettings
    choice = recipes.choose(UNTOUCHED, "custom", wan)
    as_before = {name: value for name, value in UNTOUCHED.items() if name not in ("width", "height", "length")}
    as_before |= {"steps": 4000, "sampling_steps": 30, "cfg": 6.0, "learning_rate": 2e-5}
    assert choice.settings == settings(**as_before)
    assert (choice.width, choice.height, choice.length) == (832, 480, 33)


@pytest.mark.parametrize(
    "preset, own",
    [
        ("paper (AnimateDiff)", {"steps": 800, "learning_rate": 1e-4, "weight_decay": 1e-2, "cfg": 7.5}),
        ("paper (HunyuanVideo)", {"steps": 4000, "learning_rate": 2e-5, "weight_decay": 1e-4, "cfg": 1.0}),
    ],
)
def test_saved_graph_of_0_1_0_with_a_paper_preset_means_what_it_meant(pack, recipes, wan, preset, own):
    choice = recipes.choose(UNTOUCHED | OWN, preset, wan)
    paper = {
        "start_percent": 0.75, "sampling_steps": 50, "identity_weight": 1.0, "semantic_weight": 1.0, "preserve_weight": 0.0,
        "identity_frames": 1, "identity_cap": 0.0, "augmentation": "paper", "learning_rate_schedule": "constant",
    }  # fmt: skip
    as_before = {name: value for name, value in (UNTOUCHED | OWN | paper | own).items()}
    size = tuple(as_before.pop(name) for name in ("width", "height", "length"))
    assert choice.settings == pack.training.settings.TrainingSettings(**as_before)
    assert (choice.width, choice.height, choice.length) == size == (256, 128, 9)


def test_new_graph_starts_with_standard(pack):
    inputs = {entry.id: entry for entry in pack.nodes.train_inputs.train_inputs()}
    assert inputs["preset"].default == "standard" and list(inputs["preset"].options) == list(pack.training.recipes.PRESET_NAMES)


def test_every_input_that_a_recipe_decides_has_the_default_that_leaves_it_to_the_recipe(pack, recipes):
    inputs = {entry.id: entry for entry in pack.nodes.train_inputs.train_inputs()}
    assert {name: inputs[name].default for name in recipes.UNCHANGED} == recipes.UNCHANGED
    assert all(name in inputs["preset"].tooltip for name in recipes.UNCHANGED)
