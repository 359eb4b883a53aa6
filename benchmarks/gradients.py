"""How exact the gradients through the host are, for every family and way of checkpointing, by finite differences.

    make gradients          (prints the table, writes benchmarks/results/gradients.json)

A tiny random model of each family has a random adapter. The loss is a random linear function of the video's latents after
the last two of eight sampling steps. Finite differences go along the whole gradient and along that of every second
parameter, and the worse of the two counts.
"""

import json
import logging
import tempfile
from pathlib import Path

from devkit.comfy_host import ROOT
from devkit.comfy_process import load_pack, open_host
from devkit.gradients import relative_error

RESULTS = ROOT / "benchmarks" / "results" / "gradients.json"
MODES = ("plain", "steps", "blocks", "style", "fp8")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="personalvideo-") as base:
        rows = measured(Path(base))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


def measured(base: Path) -> list[dict]:
    """A row for each family and mode, printed as it comes."""
    open_host(base)
    logging.disable(logging.WARNING)
    pack = load_pack(base)
    from devkit.families import FAMILIES, family_case, fp8_error

    rows = []
    print(f"{'family':18}" + "".join(f"{mode:>10}" for mode in MODES))
    for family in FAMILIES:
        line = f"{family:18}"
        for mode in MODES:
            if mode == "fp8":
                error = fp8_error(pack, family, base)
            else:
                case = family_case(pack, family, base, style=mode == "style")
                error = relative_error(pack, case, "steps" if mode == "style" else mode.replace("plain", "off"))
            rows.append({"family": family, "mode": mode, "rel_error": float(f"{error:.2e}")})
            line += f"{error:10.1e}"
        print(line, flush=True)
    return rows


if __name__ == "__main__":
    main()
