"""What a person costs, by family and preset: operations counted on the architectures at full size, without their weights.

    python -m benchmarks.cost.cost                 (every row of benchmarks/results/cost.json, its plot, the documents' tables)
    python -m benchmarks.cost.cost --only ltxv     (those of this family again)
    python -m benchmarks.cost.cost --tables        (plot and tables alone)

A person is 50 prompts, all clips of the original model that the steps draw, and the steps. Counted are the model calls,
the frames' decoding by the VAE that the memory plan picks for a card of 24 GB, backward with everything that the plan
computes again, and rewards as large as HPSv2's and antelopev2's. Hours are operations by the rate that was measured
(``rate``). Memory is what the plan needs with its margin, and what those rewards take.
"""

import argparse
import json
import logging
import tempfile
import warnings
from pathlib import Path

from devkit.comfy_host import ROOT
from devkit.comfy_process import load_pack, open_host

RESULTS = ROOT / "benchmarks" / "results" / "cost.json"


def measured(only: str) -> list[dict]:
    """The rows, those of other families than ``only`` from the file."""
    rows = json.loads(RESULTS.read_text()) if only else []
    with tempfile.TemporaryDirectory(prefix="personalvideo-") as base:
        open_host(Path(base))
        logging.disable(logging.WARNING)
        warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter")
        pack = load_pack(Path(base))
        from benchmarks.cost.runs import CASES, rows_of

        for case in CASES:
            if only in ("", case.family):
                rows = [row for row in rows if row["family"] != case.family]
                for row in rows_of(pack, case):
                    print(json.dumps(row), flush=True)
                    rows.append(row)
    order = [case.family for case in CASES]
    return sorted(rows, key=lambda row: order.index(row["family"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="FAMILY")
    parser.add_argument("--tables", action="store_true")
    arguments = parser.parse_args()
    if not arguments.tables:
        lines = ",\n ".join(json.dumps(row) for row in measured(arguments.only))
        RESULTS.write_text(f"[\n {lines}\n]\n")
    from benchmarks.cost.report import write_documents, write_plot

    rows = json.loads(RESULTS.read_text())
    write_plot(rows)
    write_documents(rows)


if __name__ == "__main__":
    main()
