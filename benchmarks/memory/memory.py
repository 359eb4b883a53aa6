"""The costs that the memory plan uses: what training keeps in memory, counted on small models of every family.

    python -m benchmarks.memory.memory [name ...]      (writes training/memory/costs.json; for these decoders and models alone)

The bytes of tensors are counted as operations return them (see ``live_bytes``), on the CPU, with numbers of 32 and of 16
bits. The costs of blocks are for each token and each channel of the block's width (and of its MLP's, for Wan). Those of
decoders are in frames, each of which has as many numbers as the picture's pixels times the channels of the last layer.
``tests/training/test_memory_plan.py`` checks the plan's peaks on models of other depth, width and resolution.
"""

import json
import logging
import sys
import tempfile
from pathlib import Path

from devkit.comfy_host import ROOT
from devkit.comfy_process import load_pack, open_host

COSTS = ROOT / "training" / "memory" / "costs.json"
SHAPES = {
    "wan21": (1, 16, 5, 16, 16), "hunyuan_video": (1, 16, 5, 16, 16), "hunyuan_video_15": (1, 32, 5, 10, 10),
    "wan22_5b": (1, 48, 5, 16, 16), "ltxv": (1, 128, 5, 10, 10), "cogvideox": (1, 16, 5, 16, 16), "sd15": (4, 4, 16, 16),
}  # fmt: skip
SHALLOW, DEEP = 2, 4
DEPTHS = {"hunyuan_video": ("depth", "depth_single_blocks"), "hunyuan_video_15": ("depth",), "sd15": ()}
MLPS = (384, 1152)
WITH_MLP = ("wan21", "wan22_5b")


def block_costs(pack, folder: Path, name: str, element_size: int) -> tuple[dict, dict]:
    """The rates of each kind of block and those of the whole family, for one model and element size."""
    from benchmarks.memory.counting import Sample, counted_peak, saved_by_kind

    depths = DEPTHS.get(name, ("num_layers",))

    def sample(depth: int, mlp: int = MLPS[0]) -> Sample:
        return Sample(
            name, SHAPES[name], {key: depth for key in depths} | ({"ffn_dim": mlp} if name in WITH_MLP else {}), element_size
        )

    kinds, rest = {}, {}
    for what, mode in (("saved", "off"), ("kept", "blocks")):
        layers, shallow = saved_by_kind(pack, sample(SHALLOW), folder, mode)
        rates = dict(_rates(layers, shallow))
        if depths:  # the first block also counts what all blocks share
            deeper, deep = saved_by_kind(pack, sample(DEEP), folder, mode)
            rates = {kind: (deep[kind] - shallow[kind]) / (_units(deeper, kind) - _units(layers, kind)) for kind in rates}
        inside = {kind: 0.0 for kind in rates}
        if name in WITH_MLP:
            wider, wide = saved_by_kind(pack, sample(SHALLOW, MLPS[1]), folder, mode)
            for kind in rates:
                tokens = sum(layer.tokens for layer in layers if layer.kind == kind)
                inside[kind] = (wide[kind] - shallow[kind]) / (tokens * (MLPS[1] - MLPS[0]))
                rates[kind] -= inside[kind] * MLPS[0] / layers[0].width
        for kind in rates:
            kinds.setdefault(kind, {})[what] = {"width": round(rates[kind], 3), "hidden": round(inside[kind], 3)}
        rest[what] = sum(shallow.values()) - sum(
            layer.tokens * (rates[layer.kind] * layer.width + inside[layer.kind] * layer.hidden) for layer in layers
        )
    widest = max(layer.tokens * layer.width for layer in layers)
    largest = max(
        layer.tokens * (kinds[layer.kind]["saved"]["width"] * layer.width + kinds[layer.kind]["saved"]["hidden"] * layer.hidden)
        for layer in layers
    )
    (_, steps), (_, blocks) = (counted_peak(pack, sample(SHALLOW), folder, mode, 1) for mode in ("steps", "blocks"))
    _, saved = saved_by_kind(pack, sample(SHALLOW), folder, "off")
    _, kept = saved_by_kind(pack, sample(SHALLOW), folder, "blocks")
    family = {"rest": rest["kept"], "steps": steps - sum(saved.values()), "blocks": blocks - sum(kept.values()) - largest}
    return kinds, {key: round(max(0.0, value) / widest, 3) for key, value in family.items()}


def _units(layers, kind: str) -> int:
    return sum(layer.tokens * layer.width for layer in layers if layer.kind == kind)


def _rates(layers, sums: dict[str, int]):
    for kind in {layer.kind for layer in layers}:
        yield kind, sums[kind] / _units(layers, kind)


def main() -> None:
    only = set(sys.argv[1:])
    costs = json.loads(COSTS.read_text()) if only else {"blocks": {}, "families": {}, "decoders": {}}
    with tempfile.TemporaryDirectory(prefix="personalvideo-") as base:
        open_host(Path(base))
        logging.disable(logging.WARNING)
        pack = load_pack(Path(base))
        from benchmarks.memory.decoders import DECODERS, decoder_cost

        for kind, build in DECODERS.items():
            if not only or kind in only:
                costs["decoders"][kind] = decoder_cost(pack, build)
                print(kind, costs["decoders"][kind], flush=True)
        for name in SHAPES:
            if only and name not in only:
                continue
            family = {"wan21": "wan"}.get(name, name)
            for element_size in (4, 2):
                kinds, rates = block_costs(pack, Path(base), name, element_size)
                for kind, found in kinds.items():
                    for what, rates_of_kind in found.items():
                        costs["blocks"].setdefault(kind, {}).setdefault(what, {})[str(element_size)] = rates_of_kind
                costs["families"].setdefault(family, {})[str(element_size)] = rates
                print(family, element_size, kinds, rates, flush=True)
    COSTS.write_text(json.dumps(costs, indent=1) + "\n")


if __name__ == "__main__":
    main()
