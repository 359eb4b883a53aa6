"""Who the ablation study is about, and in which order its jobs are done."""

from pathlib import Path

from ablation_arms import ARMS, MAIN
from ablation_grid import Job, jobs

OUTPUT = Path(__file__).resolve().parent.parent / "output" / "ablations"
IDENTITIES = ("Bina", "Cleo", "Dovi", "Elka", "Gilo", "Hani", "Ilva", "Jori", "Kesh", "Lumi")
PILOTS = ("Aro", "Fenn")
"""On whom the settings were chosen; nobody of IDENTITIES was looked at for that."""

SEEDS = (0, 1, 2)
SUBSET_IDENTITIES = IDENTITIES[:2]


def wanted(full: bool) -> list[Job]:
    """The jobs of the whole study or of its subset, which is its beginning: seed by seed, the main arms of all people first."""
    if not full:
        return jobs(MAIN, SUBSET_IDENTITIES, SEEDS[:1])
    others = [arm.name for arm in ARMS if arm.name not in MAIN]
    return [job for seed in SEEDS for arms in (MAIN, others) for job in jobs(arms, IDENTITIES, [seed])]
