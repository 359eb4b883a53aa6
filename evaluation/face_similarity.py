"""Face Similarity as ConsisID measures it, to any number of reference photos.

The measure is that of Yuan et al., "Identity-Preserving Text-to-Video Generation by Frequency Decomposition" (2024), and
their ``eval/get_facesim_fid.py``. It looks at 16 evenly spaced frames (``evenly_spaced``) and takes the largest face of
each. If the detector finds none, it looks once more with a grey border of a quarter of the height above and below and a
quarter of the width left and right. A frame scores max(0, cosine) to the reference, and the video the mean over its frames
with a face, or 0 if there are none.

Frames without a face are left out of the mean, so a video is not punished for hiding the face: read the share of frames
with a face beside it. Two things differ from ConsisID: with several references the mean of max(0, cosine) counts, and the
detector works at its own size (ConsisID's at 320 pixels).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..rewards.faces import Face, FaceModel, Identity
from .frames import evenly_spaced, tidy

JUDGED_FRAMES = 16
BORDER = 0.25  # the border on each side, as a share of the height or width
GREY = 128 / 255


@dataclass(frozen=True)
class JudgedFrame:
    """A judged frame, by its number from 0.

    similarity is in 0..1 and box is the head's (left, top, right, bottom) in pixels; both are None if it has no face.
    """

    index: int
    similarity: float | None
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class FaceSimilarity:
    """How similar the faces of a video are: its 16 judged ``frames``, some of which repeat if the clip is shorter."""

    frames: list[JudgedFrame]

    @property
    def score(self) -> float:
        """The mean similarity of the frames with a face, 0..1; 0 if no frame has one."""
        known = [frame.similarity for frame in self.frames if frame.similarity is not None]
        return sum(known) / len(known) if known else 0.0

    @property
    def share(self) -> float:
        """The share of the judged frames that have a face, 0..1."""
        return sum(frame.similarity is not None for frame in self.frames) / len(self.frames)


@torch.no_grad()
def reference_embeddings(identity: Identity, judge: FaceModel) -> Tensor:
    """The embeddings [R, D], each of length 1, that ``judge`` gives the R of the identity's photos in which it finds a face.

    Raises ValueError if it finds a face in none of them.
    """
    pictures = identity.photos or identity.crops
    found = [_recognize(judge, picture)[0] for picture in pictures]
    known = [embedding for embedding in found if embedding is not None]
    if not known:
        raise ValueError(
            f"face_model: {judge.name} finds no face in any photo of the identity; choose a judge for the "
            "same kind of pictures as the rewarded face model."
        )
    return torch.stack(known)


@torch.no_grad()
def face_similarity(
    judge: FaceModel, frames: Tensor, references: Tensor, after_frame: Callable[[], None] = lambda: None
) -> FaceSimilarity:
    """The similarity of the faces in ``frames`` [F, 3, H, W] to reference embeddings [R, D] of the same judge."""
    places = evenly_spaced(len(frames), JUDGED_FRAMES)
    judged = {}
    for index in sorted(set(places)):
        embedding, box = _recognize(judge, frames[index])
        similarity = None
        if embedding is not None:
            similarity = (references.to(embedding) @ embedding).clamp(min=0).mean().item()
        judged[index] = JudgedFrame(index, similarity, box)
        after_frame()
    return FaceSimilarity([judged[index] for index in places])


def _recognize(judge: FaceModel, picture: Tensor) -> tuple[Tensor | None, tuple[float, ...] | None]:
    """The embedding [D] and head box of the largest face in a picture [3, H, W], or None and None if it has no face."""
    height, width = picture.shape[-2:]
    picture = tidy(picture, judge.device)
    for top, left in ((0, 0), (int(BORDER * height), int(BORDER * width))):
        roomy = F.pad(picture[None], (left, left, top, top), value=GREY)
        faces: list[Face] = judge.find(roomy)[0]
        if faces:
            embedding = judge.embed(judge.crop(roomy, faces[:1]))[0].float()
            x0, y0, x1, y1 = faces[0].box
            return embedding, (x0 - left, y0 - top, x1 - left, y1 - top)
    return None, None
