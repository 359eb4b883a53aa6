"""The figures of ``report.json`` on clips of the demo world.

Identity comes from the judge recognizer and attributes from a classifier, and neither was ever a reward. Two figures do
come from rewards: the similarity by the rewarded recognizer, reported beside the judge's, and the image-text score, for
which the demo has no other scorer than the semantic reward's.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from devkit import hostless_pack  # noqa: F401
from devkit.metrics import agreement, drift_outside, head_motion, pool_similarity
from personalvideo_pack.demo import weights
from personalvideo_pack.demo.faces import DemoFaceModel
from personalvideo_pack.demo.semantic import DemoSemanticReward
from personalvideo_pack.rewards.faces import Face


@dataclass(frozen=True)
class ClipFigures:
    """The figures of one clip.

    They are the mean cosine to the references by the judge and by the rewarded recognizer, the motion in pixels a frame,
    the image-text score, and the share of attributes that agree with the references. A clip without any head shows nobody:
    all its figures but the image-text score are 0.
    """

    judge: float
    reward: float
    dynamic: float
    prompt: float
    attributes: float


class DemoMetrics:
    """Measures clips [F, 3, H, W] in 0..1 against the references of one identity."""

    def __init__(self):
        self.judge = DemoFaceModel("judge", weights.locator(), weights.judge_recognizer())
        self.reward = DemoFaceModel("reward", weights.locator(), weights.reward_recognizer())
        self.classifier = weights.attribute_classifier()
        scorer = weights.scorer()
        self.scorer = DemoSemanticReward(scorer, scorer.logit_scale)

    @torch.no_grad()
    def references(self, photos: list[Tensor]) -> dict[str, Tensor]:
        """What the pictures [3, H, W] of a person show: embeddings by both recognizers, and the numbers of attributes."""
        crops = torch.cat([self.judge.crop(photo[None], self.judge.find(photo[None])[0][:1]) for photo in photos])
        return {"judge": self.judge.embed(crops), "reward": self.reward.embed(crops), "attributes": self._attributes(crops)}

    @torch.no_grad()
    def measure(self, clip: Tensor, prompt: str, references: dict[str, Tensor]) -> ClipFigures:
        prompt_score = self.scorer.score(clip, self.scorer.encode_text([prompt])).mean().item()
        faces = self.faces(clip)
        if not faces:
            return ClipFigures(judge=0.0, reward=0.0, dynamic=0.0, prompt=prompt_score, attributes=0.0)
        crops = self.judge.crop(clip, faces)
        return ClipFigures(
            judge=pool_similarity(self.judge.embed(crops), references["judge"]),
            reward=pool_similarity(self.reward.embed(crops), references["reward"]),
            dynamic=head_motion(_boxes(faces)),
            prompt=prompt_score,
            attributes=agreement(self._attributes(crops), references["attributes"]),
        )

    def drift(self, before: Tensor, after: Tensor) -> float:
        """The mean absolute change of the colours (0..1) outside the heads of both clips."""
        heads = [_boxes(self.faces(clip)) for clip in (before, after)]
        return drift_outside(before, after, torch.stack([boxes for boxes in heads if len(boxes)], dim=1))

    def faces(self, clip: Tensor) -> list[Face]:
        """The head in every frame, or an empty list if the locator sees none in any.

        In a frame in which the locator sees none, it is the head of the frame before, or after.
        """
        found = [faces[0] if faces else None for faces in self.judge.find(clip)]
        known = next((face for face in found if face is not None), None)
        if known is None:
            return []
        for index, face in enumerate(found):
            known = found[index] = face or known
        return found

    def _attributes(self, crops: Tensor) -> Tensor:
        logits, _ = self.classifier(crops)
        return torch.stack([answer.argmax(dim=-1) for answer in logits.values()], dim=-1)


def _boxes(faces: list[Face]) -> Tensor:
    return torch.tensor([face.box for face in faces])
