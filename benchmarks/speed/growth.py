"""How time and memory grow: for a frame with the length of its clip, for a training step with frames and resolution."""

from functools import partial

import torch

from benchmarks.memory.live_bytes import LiveBytes
from benchmarks.speed.clock import fitted_exponent, in_turns, medians, ratio, rounded
from benchmarks.speed.decode import clip_of, full_depth
from benchmarks.speed.world import inside_training
from devkit import tiny_vaes

LENGTHS = (9, 17, 33, 61)
LONGER = (61, 121, 241)
REACHING = ("Wan", "Wan, tiny VAE")
"""VAEs whose frames depend on a fixed number of earlier ones (Wan's on up to 40 latents): longer clips cost no more."""
VAES = {"Wan": "wan 2.1", "Wan, tiny VAE": "taehv wan 2.1", "HunyuanVideo": "hunyuan", "SD 1.5": "image"}
DECODED = 4  # latent cells a side
FRAMES, SIDES = (5, 9, 17, 33), (64, 96, 128, 192, 256)
SHORT = 16


def decode_growth(pack, rounds: int, lengths=LENGTHS, longer=LONGER) -> list[dict]:
    """The clip's last frame with gradient, which costs most, compared with the whole clip with gradient, for each VAE.

    longer: the lengths of further clips, of which only the VAEs in ``REACHING`` decode a frame, the last.
    """
    rows = []
    for title, name in VAES.items():
        build, shape = full_depth(name) or tiny_vaes.VAES[name].build, tiny_vaes.VAES[name].latents
        decoder = pack.training.decoding.frame_decoder.FrameDecoder(build(), torch.device("cpu"))
        decoder.prepare()
        row = {"vae": title, "frames": [], "one_frame_seconds": [], "clip_seconds": [], "one_frame_over_clip": []}

        for length in lengths:
            latents = clip_of(decoder, (*shape[:-2], DECODED, DECODED), length)
            wanted = {"one": [length - 1], "clip": list(range(length))}
            jobs = {what: partial(_decode_with_gradient, decoder, latents, chosen) for what, chosen in wanted.items()}
            seconds = in_turns(jobs, rounds)
            row["frames"].append(length)
            row["one_frame_seconds"].append(medians(seconds)["one"])
            row["clip_seconds"].append(medians(seconds)["clip"])
            row["one_frame_over_clip"].append(rounded(ratio(seconds, "one", "clip")))
        row["growth_exponent"] = rounded(fitted_exponent(row["frames"], row["one_frame_seconds"]))
        if longer and title in REACHING:
            clips = {length: clip_of(decoder, (*shape[:-2], DECODED, DECODED), length) for length in longer}
            jobs = {length: partial(_decode_with_gradient, decoder, clip, [length - 1]) for length, clip in clips.items()}
            seconds = medians(in_turns(jobs, rounds))
            row["beyond_its_reach"] = {
                "frames": longer, "one_frame_seconds": list(seconds.values()),
                "growth_exponent": rounded(fitted_exponent(longer, list(seconds.values()))),
            }  # fmt: skip
        rows.append(row)
    return rows


def _decode_with_gradient(decoder, latents: torch.Tensor, frames: list[int]) -> None:
    with decoder.frozen():
        decoder.decode(latents, frames).sum().backward()


def training_growth(world, rounds: int, frames=FRAMES, sides=SIDES) -> dict:
    """The time and memory of a training step over the number of frames at 64 x 64, and over the resolution of 5 frames."""
    by_frames = [_step(world, count, sides[0], rounds) for count in frames]
    by_side = [_step(world, frames[0], side, rounds) for side in sides]
    pixels = [row["width"] * row["height"] for row in by_side]
    return {
        "frames": by_frames, "resolution": by_side,
        "exponents": {
            f"{what}_with_{of}": rounded(fitted_exponent(sizes, [row[what] for row in rows]))
            for of, sizes, rows in (("frames", frames, by_frames), ("pixels", pixels, by_side))
            for what in ("seconds", "megabytes")
        },
    }  # fmt: skip


def _step(world, frames: int, side: int, rounds: int) -> dict:
    """The row of a step; its megabytes are the most that tensors hold at a time, on top of models and the bank."""
    world.latent = torch.zeros(1, 16, frames, side // 8, side // 8)
    row = {"frames": frames, "width": side, "height": side}

    def body(trainer, one_step) -> None:
        row["seconds"] = medians(in_turns({"step": one_step}, rounds))["step"]
        with LiveBytes() as memory:
            one_step()
        row["megabytes"] = rounded(memory.peak / 2**20)

    inside_training(world, body, sampling_steps=SHORT, cfg=1.0)
    return row
