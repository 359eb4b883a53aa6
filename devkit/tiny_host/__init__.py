"""A node pack for the test server alone, with which published text encoders and VAEs are built small.

Their sizes are written in the host's code, so no small file could be loaded in their place. This pack hands smaller sizes
(``sizes.json``) to the host's own classes; loader nodes, file detection, tokenizers, network classes and key names stay the
host's. It changes no more than this:

- ``comfy.sd.load_clip`` and ``comfy.sd.load_checkpoint_guess_config`` get the model options that the host itself looks up
  as "<text encoder>_model_config" (layers, widths; for umt5-xxl the vocabulary, whose tokenizer is in the file). "" is the
  name under which the host looks up the byT5 encoder of HunyuanVideo 1.5.
- ``comfy.sd.AutoencoderKL`` (Stable Diffusion and HunyuanVideo), ``comfy.sd.AutoencodingEngine`` (HunyuanVideo 1.5) and the
  VAE classes of Wan 2.2 and CogVideoX are built with fewer channels.

Wan 2.1's VAE and LTX-Video's models need nothing, as their sizes are read from the file.

The pack's one node gives what random weights cannot: a video in which a face can be found.
"""

import copy
import dataclasses
import functools
import inspect
import json
import sys
from pathlib import Path

import comfy.ldm.cogvideo.vae
import comfy.ldm.wan.vae2_2
import comfy.sd
import torch

SIZES = json.loads((Path(__file__).parent / "sizes.json").read_text())
TEXT_OPTIONS = {f"{name}_model_config": config for name, config in SIZES["text_encoders"].items()}
TEXT_OPTIONS["model_config"] = TEXT_OPTIONS["clip_l_model_config"]  # by which the host replaces CLIP-L's in load_clip
VAES = SIZES["vaes"]


class FaceInTheMiddle:
    """The demo's face model, except that it finds a face in the middle of every frame."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"identity": ("PV_IDENTITY",)}})
    RETURN_TYPES = ("PV_IDENTITY",)
    FUNCTION = "put"

    def put(self, identity):
        model = copy.copy(identity.face_model)
        Face = next(sys.modules[kind.__module__].Face for kind in type(model).__mro__ if kind.__name__ == "FaceModel")

        def find(frames):
            height, width = frames.shape[-2:]
            side = 0.6 * min(height, width)
            left, top, scale = (width - side) / 2, (height - side) / 2, side / model.crop_size
            matrix = torch.tensor([[scale, 0, left + (scale - 1) / 2], [0, scale, top + (scale - 1) / 2]])
            return [[Face(matrix, (left, top, left + side, top + side), 1.0)] for _ in frames]

        model.find = find
        return (dataclasses.replace(identity, face_model=model),)


NODE_CLASS_MAPPINGS = {"TinyFaceInTheMiddle": FaceInTheMiddle}


def _with_text_options(load, keyword):
    signature = inspect.signature(load)

    @functools.wraps(load)
    def loader(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        return load(**given | {keyword: TEXT_OPTIONS | given.get(keyword, {})})

    return loader


def _with_smaller(build, **smaller):
    """``build``, with these keyword arguments whatever the caller gives."""

    @functools.wraps(build, updated=())
    def builder(*args, **kwargs):
        return build(*args, **kwargs | smaller)

    return builder


def _autoencoder_kl(build):
    @functools.wraps(build, updated=())
    def builder(ddconfig, **kwargs):
        family = "hunyuan_video" if ddconfig.get("conv3d") else "stable_diffusion"
        return build(ddconfig=ddconfig | VAES[family], **kwargs)

    return builder


def _autoencoding_engine(build):
    @functools.wraps(build, updated=())
    def builder(**kwargs):
        for part in ("encoder_config", "decoder_config"):
            if ".vae_refiner." in kwargs[part]["target"]:
                kwargs[part] = kwargs[part] | {"params": kwargs[part]["params"] | VAES["hunyuan_video_15"]}
        return build(**kwargs)

    return builder


comfy.sd.load_clip = _with_text_options(comfy.sd.load_clip, "model_options")
comfy.sd.load_checkpoint_guess_config = _with_text_options(comfy.sd.load_checkpoint_guess_config, "te_model_options")
comfy.sd.AutoencoderKL = _autoencoder_kl(comfy.sd.AutoencoderKL)
comfy.sd.AutoencodingEngine = _autoencoding_engine(comfy.sd.AutoencodingEngine)
comfy.ldm.wan.vae2_2.WanVAE = _with_smaller(comfy.ldm.wan.vae2_2.WanVAE, **VAES["wan22"])
comfy.ldm.cogvideo.vae.AutoencoderKLCogVideoX = _with_smaller(comfy.ldm.cogvideo.vae.AutoencoderKLCogVideoX, **VAES["cogvideox"])
