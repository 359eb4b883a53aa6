"""The memory that decoding single frames with gradient takes, counted on narrow decoders of every kind."""

import torch

from benchmarks.memory.live_bytes import LiveBytes
from devkit import tiny_vaes

# Latents of a short and of a long clip, and the host's VAE, by kind; depth and growth are those of the published decoders.
DECODERS = {
    "ImageFrames": lambda: ((3, 4, 8, 8), (5, 4, 8, 8), tiny_vaes.image()),
    "TAESD": lambda: ((3, 4, 8, 8), (5, 4, 8, 8), tiny_vaes.taesd()),
    "Wan21Frames": lambda: ((1, 16, 11, 4, 4), (1, 16, 13, 4, 4), tiny_vaes.wan21()),
    "Wan22Frames": lambda: ((1, 48, 11, 4, 4), (1, 48, 13, 4, 4), tiny_vaes.wan22()),
    "HunyuanFrames": lambda: ((1, 16, 5, 4, 4), (1, 16, 7, 4, 4), tiny_vaes.hunyuan(layers=2, growth=(1, 2, 4, 4))),
    "Hunyuan15Frames": lambda: (
        (1, 32, 11, 3, 3),
        (1, 32, 13, 3, 3),
        tiny_vaes.hunyuan15(layers=2, channels=(16, 32, 64, 128, 128)),
    ),
    "CogVideoFrames": lambda: ((1, 16, 5, 4, 4), (1, 16, 7, 4, 4), tiny_vaes.cogvideo(layers=3, channels=(32, 64, 64, 128))),
    "LtxFrames": lambda: ((1, 128, 9, 2, 2), (1, 128, 11, 2, 2), tiny_vaes.ltx()),
    "TinyVideoFrames": lambda: ((1, 16, 7, 4, 4), (1, 16, 9, 4, 4), tiny_vaes.taehv(16)),
}


def decoder_cost(pack, build) -> dict[str, dict[str, float]]:
    """What decoding takes without ("plain") and with recomputation ("recomputed"), in frames of the decoder's last layer.

    It is "fixed" plus so much for each wanted "frame" and each frame of the "clip", and at "most" that for each of these.
    """
    short, long, vae = build()
    cost = {}
    for name, checkpointing in (("plain", False), ("recomputed", True)):
        decoder = pack.training.decoding.frame_decoder.FrameDecoder(vae, torch.device("cpu"), None, checkpointing)
        frames = decoder.count(torch.zeros(short))
        longer = decoder.count(torch.zeros(long)) - frames
        one, two, longer_clip = (
            counted_frames(pack, decoder, shape, [count - 1, count // 2 - 1][:wanted])
            for shape, wanted, count in ((short, 1, frames), (short, 2, frames), (long, 1, frames + longer))
        )
        everything = counted_frames(pack, decoder, short, list(range(frames)))
        frame, clip = max(0.0, two - one), max(0.0, (longer_clip - one) / longer)
        rates = {"fixed": max(0.0, one - frame - clip * frames), "frame": frame, "clip": clip, "most": everything / frames}
        cost[name] = {rate: round(value, 3) for rate, value in rates.items()}
    return cost


def counted_frames(pack, decoder, shape: tuple[int, ...], wanted: list[int]) -> float:
    """The peak of decoding and its gradient, in frames of the decoder's last layer."""
    autograd = pack.host.autograd
    latents = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    with autograd.resident(decoder.patcher), autograd.training_mode(), decoder.frozen(), LiveBytes() as counter:
        pixels = decoder.decode(latents, wanted)
        pixels.sum().backward()
    width = pack.training.memory.layers.decoder_width(decoder.network)
    return counter.peak / (pixels.shape[-1] * pixels.shape[-2] * width * latents.element_size())
