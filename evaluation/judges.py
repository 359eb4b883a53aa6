"""Whether a judge is independent of the reward: a recognizer that was rewarded, or its twin, praises its own work."""

from ..rewards.faces import FaceModel


def judge_warning(reward: FaceModel, judge: FaceModel) -> str | None:
    """A sentence if ``judge`` cannot judge what was optimised for ``reward``, or None if it can.

    It cannot if both have the same weights, or the same architecture trained on the same data. If a face model has two
    recognizers, one in common is enough.
    """
    if set(reward.fingerprints) & set(judge.fingerprints):
        reason = "is the very network that training rewarded"
    elif common := _networks(reward) & _networks(judge):
        reason = f"has the architecture and the training data of the rewarded recognizer ({'; '.join(sorted(common))})"
    else:
        return None
    return (
        f"judge: {judge.name} {reason}, so its similarity says little about the person; judge with another recognizer, "
        "such as buffalo_l or SFace where antelopev2 was rewarded."
    )


def _networks(face_model: FaceModel) -> set[str]:
    """Names for those recognizers of ``face_model`` whose architecture and training data are known."""
    return {name.strip() for name in face_model.network_name.split("+") if name.strip()}
