"""Scores and gradients of CLIP files against open_clip and transformers, on small models of the same code path."""

import copy
import gc
import importlib
import math
import weakref
from pathlib import Path

import comfy.model_management
import comfy.sd1_clip
import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.functional as reference
import transformers
from comfy.model_patcher import ModelPatcher
from PIL import Image

TOKENIZER = Path(comfy.sd1_clip.__file__).parent / "sd1_tokenizer"
SIZE = 32
PROMPTS = [
    "A portrait of a sks woman riding a bicycle, cinematic",
    "a man in a suit, 50% off!! (masterpiece:1.2)",
    '日本 émigré &amp; &lt;b&gt; "q"',
    "it’s  a “very”\n\t long " + "word " * 100,
    "",
]


@pytest.fixture(scope="module")
def scorers(pack):
    return importlib.import_module(f"{pack.__name__}.rewards.clip_scorer")


def open_clip_model(width: int = 128, head_width: int = 64, quick_gelu: bool = False):
    torch.manual_seed(0)
    return (
        open_clip.model.CLIP(
            embed_dim=48,
            vision_cfg={"image_size": SIZE, "layers": 2, "width": width, "head_width": head_width, "patch_size": 8},
            text_cfg={"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
            quick_gelu=quick_gelu,
            init_logit_scale=math.log(100),
        )
        .eval()
        .requires_grad_(False)
    )


def transformers_model():
    shared = {"num_hidden_layers": 2, "projection_dim": 48, "hidden_act": "quick_gelu"}
    torch.manual_seed(1)
    return (
        transformers.CLIPModel(
            transformers.CLIPConfig(
                vision_config=shared
                | {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2, "image_size": SIZE, "patch_size": 8},
                text_config=shared
                | {
                    "hidden_size": 64,
                    "intermediate_size": 192,
                    "num_attention_heads": 1,
                    "vocab_size": 49408,
                    "eos_token_id": 49407,
                },
                projection_dim=48,
            )
        )
        .eval()
        .requires_grad_(False)
    )


def saved(model, path: Path) -> Path:
    torch.save({"state_dict": model.state_dict(), "epoch": 1, "name": "a"}, path)
    return path


@pytest.fixture(scope="module")
def hps(scorers, tmp_path_factory):
    """A small HPS file's scorer and open_clip's model of the same weights."""
    model = open_clip_model()
    path = saved(model, tmp_path_factory.mktemp("hps") / "HPS_small_laion.pt")
    return scorers.ClipScorer(path, TOKENIZER), model


def frames(height: int = 40, width: int = 56) -> torch.Tensor:
    """Noise without black or white, so that no resampling leaves 0..1."""
    generator = torch.Generator().manual_seed(2)
    return torch.rand(2, 3, height, width, generator=generator) * 0.4 + 0.3


def padded(pixels):
    """HPSv2's preparation by torchvision: longest side, black border, then OpenAI's normalisation."""
    height, width = (round(side * SIZE / max(pixels.shape[-2:])) for side in pixels.shape[-2:])
    pixels = reference.resize(pixels, [height, width], reference.InterpolationMode.BICUBIC, antialias=True)
    left, top = (SIZE - width) // 2, (SIZE - height) // 2
    pixels = reference.pad(pixels, [left, top, SIZE - width - left, SIZE - height - top], fill=0)
    return reference.normalize(pixels, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


def cropped(pixels):
    pixels = reference.resize(pixels, [SIZE], reference.InterpolationMode.BICUBIC, antialias=True)
    pixels = reference.center_crop(pixels, [SIZE])
    return reference.normalize(pixels, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


@pytest.mark.parametrize(
    ("name", "settings", "prepare"),
    [
        ("HPS_v2.1_compressed.pt", {"width": 1280, "head_width": 80}, padded),
        ("clip-vit-large.pt", {"quick_gelu": True}, cropped),
        ("CLIP-ViT-B-laion2B.pt", {}, cropped),
    ],
)
def test_scores_and_gradients_are_open_clips(scorers, tmp_path, name, settings, prepare):
    model = open_clip_model(**settings)
    scorer = scorers.ClipScorer(saved(model, tmp_path / name), TOKENIZER)
    text = F.normalize(model.encode_text(open_clip.get_tokenizer("ViT-H-14")(PROMPTS[:2])), dim=-1)
    assert (scorer.encode_text(PROMPTS[:2]) - text).abs().max() <= 1e-5

    ours, theirs = frames().requires_grad_(True), frames().requires_grad_(True)
    score = scorer.score(ours, text)
    expected = (F.normalize(model.encode_image(prepare(theirs)), dim=-1) * text).sum(-1)
    score.sum().backward()
    expected.sum().backward()
    assert (score - expected).abs().max() <= 1e-5
    assert (ours.grad - theirs.grad).norm() <= 1e-4 * theirs.grad.norm()


def test_scores_of_files_with_transformers_names_are_transformers(scorers, tmp_path):
    from safetensors.torch import save_file

    model = transformers_model()
    save_file(model.state_dict(), tmp_path / "PickScore_v1.safetensors")
    scorer = scorers.ClipScorer(tmp_path / "PickScore_v1.safetensors", TOKENIZER)
    tokens = open_clip.get_tokenizer("ViT-H-14")(PROMPTS[:2])
    expected = model(input_ids=tokens, pixel_values=cropped(frames()))
    assert (scorer.encode_text(PROMPTS[:2]) - expected.text_embeds).abs().max() <= 1e-5
    assert (scorer.encode_image(frames()) - expected.image_embeds).abs().max() <= 1e-5
    assert scorer.logit_scale == pytest.approx(model.logit_scale.exp().item())


def test_tokens_are_open_clips(scorers):
    assert torch.equal(scorers.tokenise(PROMPTS, TOKENIZER, 77), open_clip.get_tokenizer("ViT-H-14")(PROMPTS))


@pytest.mark.parametrize("shape", [(48, 83), (83, 48), (20, 30), (SIZE, SIZE), (41, 41)])
def test_letterbox_is_that_of_open_clips_pictures(scorers, shape):
    """Black, white and hard edges agree as far as 8 bits allow."""
    picture = (np.random.default_rng(0).random((*shape, 3)) > 0.5).astype(np.uint8) * 255
    transform = open_clip.image_transform(SIZE, is_train=False, resize_mode="longest", fill_color=0)
    expected = transform(Image.fromarray(picture))
    pixels = scorers.normalise(scorers.letterbox(torch.from_numpy(picture).movedim(-1, 0)[None] / 255, SIZE))
    assert (pixels[0] - expected).abs().max() <= 1.01 / 255 / min(open_clip.OPENAI_DATASET_STD)


@pytest.mark.parametrize("shape", [(48, 84), (84, 48), (64, 64), (40, 56)])
def test_centre_crop_is_that_of_transformers(scorers, shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    expected = processor(Image.fromarray(picture), return_tensors="pt").pixel_values
    pixels = scorers.normalise(scorers.centre_crop(torch.from_numpy(picture).movedim(-1, 0)[None] / 255, SIZE))
    assert (pixels - expected).abs().max() <= 1.01 / 255 / min(open_clip.OPENAI_DATASET_STD)


def test_half_precision_files_score_as_their_rounded_weights(scorers, hps, tmp_path):
    scorer = hps[0]
    rounded = open_clip_model().half()
    path = saved(rounded, tmp_path / "HPS_small_laion.pt")
    half = scorers.ClipScorer(path, TOKENIZER)
    full = scorers.ClipScorer(saved(rounded.float(), tmp_path / "HPS_full_laion.pt"), TOKENIZER)
    assert torch.equal(half.encode_image(frames()), full.encode_image(frames()))
    assert (half.encode_image(frames()) - scorer.encode_image(frames())).abs().max() < 1e-2
    assert {parameter.dtype for parameter in half.networks.parameters()} == {torch.float32}


def test_only_the_vision_tower_stays_after_the_prompts_are_encoded(hps):
    """Scoring works under the host's memory management, as training uses it."""
    scorer = hps[0]
    alone = scorer.encode_text(PROMPTS)
    patcher = ModelPatcher(scorer.text_networks, torch.device("cpu"), torch.device("cpu"))
    comfy.model_management.load_models_gpu([patcher])
    assert torch.equal(scorer.encode_text(PROMPTS), alone)
    tower = weakref.ref(patcher.model)
    assert scorer.text_networks is tower()
    comfy.model_management.unload_model_and_clones(patcher)
    del patcher
    gc.collect()
    assert tower() is None
    assert all(name.startswith("vision.") for name in scorer.networks.state_dict())


def test_a_reward_loaded_under_inference_mode_is_differentiable(scorers, tmp_path):
    with torch.inference_mode():
        scorer = scorers.ClipScorer(saved(open_clip_model(), tmp_path / "clip.pt"), TOKENIZER)
        text = scorer.encode_text(PROMPTS[:1])
    pixels = frames().requires_grad_(True)
    scorer.score(pixels, text[0]).sum().backward()
    assert pixels.grad.abs().sum() > 0 and not text.is_inference()


def test_the_files_logit_scale_makes_the_semantic_loss_bite(pack, hps):
    """In the pixels the gradient is as strong as that of the score itself, while raw cosines leave next to nothing."""
    scorer, loss = hps[0], pack.rewards.semantic.semantic_consistency_loss
    text = scorer.encode_text(PROMPTS[:1])[0]
    teacher = scorer.score(frames().flip(0), text)

    def gradient(objective) -> float:
        pixels = frames().requires_grad_(True)
        objective(scorer.score(pixels, text)).backward()
        return pixels.grad.norm().item()

    assert scorer.logit_scale == pytest.approx(100)
    plain = gradient(torch.Tensor.sum)
    assert gradient(lambda scores: loss(scores, teacher, scorer.logit_scale)) > plain
    assert gradient(lambda scores: loss(scores, teacher, 1.0)) < 0.01 * plain


def test_a_file_rewards_training_and_its_text_tower_is_gone_afterwards(scorers, demo, tmp_path):
    world = copy.copy(demo)
    world.semantic_reward = scorers.ClipScorer(saved(open_clip_model(), tmp_path / "HPS_small.pt"), TOKENIZER)
    run = world.train(tmp_path / "a.safetensors", steps=2, learning_rate=0.1)
    first, second = (record.semantic for record in run.state.history)
    assert abs(first) < 1e-6 and 1e-5 < second < math.inf  # a fresh adapter changes nothing yet
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is transformers.CLIPTextModelWithProjection]
