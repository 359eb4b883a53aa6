"""Is a judge independent of the reward? A recognizer that was rewarded, or its twin, praises its own work."""

from ..rewards.faces import FaceModel


def judge_warning(reward: FaceModel, judge: FaceModel) -> str | None:
    """One sentence if ``judge`` cannot judge what ``reward`` was optimised for; None if it can.

    It cannot with the same weights, nor with the same architecture trained on the same data. Of two
    recognizers in one face model, one is enough.
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
    """Of the recognizers whose architecture and training data are known."""
    return {name.strip() for name in face_model.network_name.split("+") if name.strip()}
