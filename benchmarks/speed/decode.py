"""What one frame with gradient costs, compared with the whole clip with gradient, for the VAE of every family.

    python -m benchmarks.speed.decode        (prints the table, writes benchmarks/results/decode.json)

The multiplications of forward and backward are counted, on random VAEs with few channels and as many layers as the real
ones. The frame is the clip's last, which costs most in a VAE that decodes from the start of the clip.
"""

import json
import logging
import tempfile
from functools import partial
from pathlib import Path

from devkit.comfy_host import ROOT
from devkit.comfy_process import load_pack, open_host

RESULTS = ROOT / "benchmarks" / "results" / "decode.json"
FRAMES = (9, 17, 33, 81)


def operations(decoder, latents, frames: list[int]) -> int:
    """How many operations decoding ``frames`` and the gradient of their sum take."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, decoder.frozen():
        decoder.decode(latents, frames).sum().backward()
    return counter.get_total_flops()


def clip_of(decoder, shape: tuple[int, ...], frames: int):
    """Latents that decode to ``frames`` frames, or None if there are none of any length."""
    import torch

    for length in range(1, frames + 1):
        size = (length, *shape[1:]) if len(shape) == 4 else (*shape[:2], length, *shape[3:])
        latents = torch.zeros(size)
        if decoder.count(latents) == frames:
            return latents.normal_(generator=torch.Generator().manual_seed(0)).requires_grad_()
    return None


def full_depth(name: str):
    """A builder for a VAE with the published number of layers, also if it is shallower in the tests."""
    from devkit import tiny_vaes

    row, rise = ["res_x", {"num_layers": 5}], ["compress_all", {"residual": True, "multiplier": 2}]
    return {
        "hunyuan": partial(tiny_vaes.hunyuan, layers=2),
        "hunyuan 1.5": partial(tiny_vaes.hunyuan15, layers=2),
        "cogvideo": partial(tiny_vaes.cogvideo, layers=3),
        "ltx": partial(tiny_vaes.ltx, timestep=True, decoder_blocks=[*[row, rise] * 3, row]),
    }.get(name)


def measured(base: Path) -> list[dict]:
    """A row for each VAE and number of frames, printed as it comes."""
    open_host(base)
    logging.disable(logging.WARNING)
    pack = load_pack(base)
    import torch

    from devkit import tiny_vaes

    vaes = {
        name: (full_depth(name) or tiny.build, tiny.latents)
        for name, tiny in tiny_vaes.VAES.items()
        if name not in ("ltx timestep", "ltx noise", "ltx grouped")
    }
    rows = []
    print(f"{'VAE':18}" + "".join(f"{f'{frames} frames':>12}" for frames in FRAMES))
    for name, (build, shape) in vaes.items():
        decoder = pack.training.decoding.frame_decoder.FrameDecoder(build(), torch.device("cpu"))
        decoder.prepare()
        line = f"{name:18}"
        for frames in FRAMES:
            latents = clip_of(decoder, shape, frames)
            if latents is None:
                line += f"{'-':>12}"
                continue
            ratio = operations(decoder, latents, [frames - 1]) / operations(decoder, latents, list(range(frames)))
            rows.append({"vae": name, "frames": frames, "one_frame_of_clip": round(ratio, 3)})
            line += f"{ratio:12.3f}"
        print(line, flush=True)
    return rows


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="personalvideo-") as base:
        rows = measured(Path(base))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
