"""The people of the ablation study, and the order of its jobs."""

from benchmarks.ablations.arms import ADDED, ARMS, MAIN
from benchmarks.ablations.grid import Job, jobs
from devkit.comfy_host import ROOT

OUTPUT = ROOT / "output" / "ablations"
IDENTITIES = ("Bina", "Cleo", "Dovi", "Elka", "Gilo", "Hani", "Ilva", "Jori", "Kesh", "Lumi")
PILOTS = ("Aro", "Fenn")
"""The people on whom the settings were chosen; nobody in IDENTITIES was looked at for that."""

SEEDS = (0, 1, 2)
SUBSET_IDENTITIES = IDENTITIES[:2]


def wanted(full: bool) -> list[Job]:
    """The jobs of the whole study, or of the subset that is its beginning. Main arms come first, added ones last."""
    if not full:
        return jobs(MAIN, SUBSET_IDENTITIES, SEEDS[:1])
    planned = [arm.name for arm in ARMS if arm.name not in MAIN + ADDED]
    return [job for arms in (MAIN, planned, ADDED) for job in jobs(arms, IDENTITIES, SEEDS)]
