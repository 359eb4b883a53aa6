"""The semantic reward against open_clip at full size: scores and gradients down to the frame's pixels.

    .venv/bin/python -m benchmarks.faces.semantic

Weights are random, as the real files cannot be shipped; the architecture, names, half precision on disk and preparation of
frames are those of the real files. open_clip sees frames that torchvision has prepared.
"""

import gc
import json
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from devkit import hostless_pack  # noqa: F401
from devkit.comfy_host import find_host
from personalvideo_pack.rewards.clip_scorer import ClipScorer
from personalvideo_pack.rewards.semantic import semantic_consistency_loss

FILES = {
    "HPS_v2.1_compressed.pt": ("ViT-H-14", False, True),
    "clip-vit-base-patch32.pt": ("ViT-B-32", True, False),
    "CLIP-ViT-B-32-laion2B.pt": ("ViT-B-32", False, False),
}  # name on disk -> open_clip's architecture, sigmoid approximation of GELU, HPSv2's letterbox
PROMPTS = ["A portrait of a sks woman riding a bicycle, cinematic", "a man in a suit, 50% off!!"]
HEIGHT, WIDTH = 480, 832
MOST_VALUE, MOST_GRADIENT = 1e-5, 1e-4
SCALED, UNSCALED = 1.0, 0.01  # the gradient of the semantic loss, in units of the cosine's


def measure() -> dict:
    """The differences for each file, and how the semantic loss depends on the logit scale."""
    host = find_host()
    if host is None:
        raise SystemExit("There is no ComfyUI yet: run `make setup`, or set COMFYUI_PATH.")
    tokenizer = host / "comfy" / "sd1_tokenizer"
    with tempfile.TemporaryDirectory() as folder:
        rows = {name: _compare(Path(folder) / name, *settings, tokenizer) for name, settings in FILES.items()}
    text = ["semantic reward              parameters  value      gradient   seconds"]
    text += [
        f"{name:<28} {row['million_parameters']:>6.0f} M   {row['value_difference']:.1e}    "
        f"{row['gradient_difference']:.1e}    {row['seconds']:.0f}"
        for name, row in rows.items()
    ]
    hps = rows["HPS_v2.1_compressed.pt"]
    text.append(
        f"gradient of the semantic loss over that of the cosine: {hps['loss_gradient']:.2f} with the file's logit "
        f"scale of {hps['logit_scale']:.0f}, {hps['loss_gradient_unscaled']:.5f} with 1"
    )
    passed = (
        all(row["value_difference"] <= MOST_VALUE and row["gradient_difference"] <= MOST_GRADIENT for row in rows.values())
        and hps["loss_gradient"] > SCALED
        and hps["loss_gradient_unscaled"] < UNSCALED
    )
    return {"passed": passed, "text": text, "files": rows}


def _compare(path: Path, architecture: str, quick_gelu: bool, whole_frame: bool, tokenizer: Path) -> dict:
    started = time.monotonic()
    expected = _open_clip(path, architecture, quick_gelu, whole_frame)
    expected_text, expected_score, expected_gradient, parameters = expected
    scorer = ClipScorer(path, tokenizer)
    text = scorer.encode_text(PROMPTS)
    frames = _frames().requires_grad_(True)
    scores = scorer.score(frames, text[0])
    [gradient] = torch.autograd.grad(scores.sum(), frames, retain_graph=True)
    teacher = scores.detach().flip(0)
    scaled, unscaled = (
        torch.autograd.grad(semantic_consistency_loss(scores, teacher, scale), frames, retain_graph=True)[0].norm()
        / gradient.norm()
        for scale in (scorer.logit_scale, 1.0)
    )
    path.unlink()
    return {
        "architecture": architecture,
        "million_parameters": round(parameters / 1e6, 1),
        "text_difference": (text - expected_text).abs().max().item(),
        "value_difference": (scores.detach() - expected_score).abs().max().item(),
        "gradient_difference": ((gradient - expected_gradient).norm() / expected_gradient.norm()).item(),
        "logit_scale": scorer.logit_scale,
        "loss_gradient": scaled.item(),
        "loss_gradient_unscaled": unscaled.item(),
        "seconds": round(time.monotonic() - started, 1),
    }


def _open_clip(path: Path, architecture: str, quick_gelu: bool, whole_frame: bool) -> tuple:
    """open_clip's text features, scores, their gradient and number of parameters; the model goes to ``path`` in fp16."""
    import open_clip

    torch.manual_seed(0)
    settings = open_clip.get_model_config(architecture)
    model = open_clip.CLIP(**settings, quick_gelu=quick_gelu, init_logit_scale=torch.tensor(100.0).log().item())
    model = model.eval().requires_grad_(False)
    torch.save({"state_dict": {name: value.half() for name, value in model.state_dict().items()}, "epoch": 1}, path)
    for value in model.state_dict().values():
        value.copy_(value.half())
    text = F.normalize(model.encode_text(open_clip.get_tokenizer(architecture)(PROMPTS)), dim=-1)
    frames = _frames().requires_grad_(True)
    pixels = _prepared(frames, model.visual.image_size[0], whole_frame)
    scores = F.normalize(model.encode_image(pixels), dim=-1) @ text[0]
    [gradient] = torch.autograd.grad(scores.sum(), frames)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    scores = scores.detach()
    del model, pixels
    gc.collect()
    return text, scores, gradient, parameters


def _prepared(frames: torch.Tensor, size: int, whole_frame: bool) -> torch.Tensor:
    import open_clip
    import torchvision.transforms.functional as reference

    bicubic = reference.InterpolationMode.BICUBIC
    if whole_frame:
        height, width = (round(side * size / max(frames.shape[-2:])) for side in frames.shape[-2:])
        frames = reference.resize(frames, [height, width], bicubic, antialias=True)
        left, top = (size - width) // 2, (size - height) // 2
        frames = reference.pad(frames, [left, top, size - width - left, size - height - top], fill=0)
    else:
        frames = reference.center_crop(reference.resize(frames, [size], bicubic, antialias=True), [size])
    return reference.normalize(frames, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)


def _frames() -> torch.Tensor:
    """Two different frames without black or white, so that no resampling leaves 0..1."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(2, 3, HEIGHT // 16, WIDTH // 16, generator=generator)
    frames = F.interpolate(coarse, size=(HEIGHT, WIDTH), mode="bilinear", align_corners=False)
    return frames * 0.4 + torch.rand(2, 3, HEIGHT, WIDTH, generator=generator) * 0.1 + 0.25


if __name__ == "__main__":
    result = measure()
    print("\n".join(result.pop("text")))
    print(json.dumps(result, indent=1))
