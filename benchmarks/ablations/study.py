"""Who the ablation study is about, and in which order its jobs are done."""

from benchmarks.ablations.arms import ADDED, ARMS, MAIN
from benchmarks.ablations.grid import Job, jobs
from devkit.comfy_host import ROOT

OUTPUT = ROOT / "output" / "ablations"
IDENTITIES = ("Bina", "Cleo", "Dovi", "Elka", "Gilo", "Hani", "Ilva", "Jori", "Kesh", "Lumi")
PILOTS = ("Aro", "Fenn")
"""On whom the settings were chosen; nobody of IDENTITIES was looked at for that."""

SEEDS = (0, 1, 2)
SUBSET_IDENTITIES = IDENTITIES[:2]


def wanted(full: bool) -> list[Job]:
    """The jobs of the whole study or of its subset, which is its beginning. Main arms come first, added ones last."""
    if not full:
        return jobs(MAIN, SUBSET_IDENTITIES, SEEDS[:1])
    planned = [arm.name for arm in ARMS if arm.name not in MAIN + ADDED]
    return [job for arms in (MAIN, planned, ADDED) for job in jobs(arms, IDENTITIES, SEEDS)]
