"""Small random files for every published text encoder and VAE that the workflows load.

They have the key names of the published files and the sizes that ``tiny_host`` gives the host's classes, so they load only
in a server that has that pack.
"""

import io
import json
from collections.abc import Callable
from pathlib import Path

import comfy.clip_model
import comfy.ops
import comfy.text_encoders.llama
import comfy.text_encoders.t5
import sentencepiece
import torch
from safetensors.torch import save_file

from devkit import tiny_vaes
from devkit.tiny_models import FAMILIES, diffusion_state, file_metadata

CONTEXT_DIM = 128
"""The width of every text encoder but CLIP-L and byT5; the families' diffusion models have to be written with it."""

SIZES = json.loads((Path(__file__).parent / "tiny_host" / "sizes.json").read_text())["text_encoders"]
CONFIGS = Path(comfy.text_encoders.t5.__file__).parent
DISTINCT_ROWS = 997
"""An embedding table has so many different rows, which the rest of the vocabulary repeats."""


def clip_l() -> dict[str, torch.Tensor]:
    config = json.loads((CONFIGS.parent / "sd1_clip_config.json").read_text())
    return _random(comfy.clip_model.CLIPTextModel, config | SIZES["clip_l"], seed=1)


def t5xxl() -> dict[str, torch.Tensor]:
    return _t5("t5_config_xxl.json", "t5xxl", seed=2) | _xxl_mark()


def umt5xxl() -> dict[str, torch.Tensor]:
    """umt5-xxl with its tokenizer in the file, as in the published one."""
    return _t5("umt5_config_xxl.json", "umt5xxl", seed=3) | _xxl_mark() | {"spiece_model": _character_tokenizer()}


def byt5() -> dict[str, torch.Tensor]:
    return _t5("byt5_config_small_glyph.json", "", seed=4)


def llama() -> dict[str, torch.Tensor]:
    return _random(comfy.text_encoders.llama.Llama2, SIZES["llama"], seed=5)


def qwen25() -> dict[str, torch.Tensor]:
    """Qwen 2.5 without the vision tower, which text never reaches."""
    return _random(comfy.text_encoders.llama.Qwen25_7BVLI, SIZES["qwen25_7b"], seed=6, only="model.")


def write_text_encoder(build: Callable[[], dict], path: Path) -> None:
    """Write what ``build``, one of the functions above, makes, in half precision as published."""
    state = {key: value.half() if value.is_floating_point() else value for key, value in build().items()}
    save_file(state, path)


def write_vae(name: str, path: Path) -> None:
    """Write the VAE that ``tiny_vaes.VAES`` has under ``name``."""
    save_file(_vae_state(name), path)


def write_checkpoint(name: str, path: Path) -> None:
    """Write the family's whole checkpoint as published: sd15 with text encoder and VAE, ltxv with its VAE."""
    family = FAMILIES[name]
    if name == "sd15":
        metadata = {}
        state = diffusion_state(name)
        parts = {"cond_stage_model.transformer.": clip_l(), "first_stage_model.": _vae_state("image")}
    else:
        state = diffusion_state(name, context_dim=CONTEXT_DIM)
        vae = tiny_vaes.VAES["ltx"].build()
        config = json.loads(file_metadata(name, CONTEXT_DIM)["config"])
        metadata = {"config": json.dumps(config | {"vae": vae.first_stage_model.config})}
        parts = {"vae.": _saved(vae)}
    state = {family.prefix + key: value for key, value in state.items()}
    for prefix, part in parts.items():
        state |= {prefix + key: value for key, value in part.items()}
    save_file(state, path, metadata=metadata)


def _vae_state(name: str) -> dict[str, torch.Tensor]:
    return _saved(tiny_vaes.VAES[name].build())


def _saved(vae) -> dict[str, torch.Tensor]:
    return {key: value.clone().contiguous() for key, value in vae.get_sd().items()}


def _t5(config_file: str, name: str, seed: int) -> dict[str, torch.Tensor]:
    config = json.loads((CONFIGS / config_file).read_text())
    return _random(comfy.text_encoders.t5.T5, config | SIZES[name], seed)


def _xxl_mark() -> dict[str, torch.Tensor]:
    """A layer by whose rows the host recognises T5-XXL; the small network has no such layer and ignores it."""
    return {"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": torch.zeros(10240, 1)}


def _random(network: type, config: dict, seed: int, only: str = "") -> dict[str, torch.Tensor]:
    """Random weights for a text network of the host, for those keys that start with ``only``."""
    with torch.device("meta"):
        shapes = network(config, torch.float32, "meta", comfy.ops.disable_weight_init).state_dict()
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, like in shapes.items():
        if not key.startswith(only) or not like.is_floating_point():
            continue
        if like.ndim == 1:
            state[key] = torch.full(like.shape, 1.0 if key.endswith("weight") else 0.0)
        elif len(like) > 10 * DISTINCT_ROWS:
            rows = torch.randn(DISTINCT_ROWS, like.shape[1], generator=generator)
            state[key] = rows[torch.arange(len(like)) % DISTINCT_ROWS]
        else:
            state[key] = torch.randn(like.shape, generator=generator) / like.shape[1] ** 0.5
    return state


def _character_tokenizer() -> torch.Tensor:
    """The bytes of a sentencepiece model of single characters with umt5's special tokens."""
    model = io.BytesIO()
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789,.-'"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(letters)] * 10), model_writer=model, model_type="char", vocab_size=100,
        hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)
