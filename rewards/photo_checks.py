"""Which photos show the person well enough to become part of an identity.

Each photo is used or not, with the reason in a line; one bad photo never stops the others.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .face_files import OPENCV_PAIR
from .faces import Face, FaceModel, Identity
from .photos import Photo

MINIMUM_DETAIL = 0.0025  # sharp photographs: 0.03 and more; a blur that halves the similarity: 0.001
FLAT = 1e-4  # variance, in 0..1, below which there is little more than rounding and noise
COARSER = 4
THUMBNAIL = 32
PORTRAIT_ROOM, PORTRAIT_SIDE = 2.0, 512  # in heads; in pixels
SAME_PICTURE = 0.04  # in 0..1; recompression and scaling stay below 0.025


def choose_photos(photos: list[Photo], face_model: FaceModel) -> tuple[Identity, str]:
    """The identity of the photos that can be used, and a line a photo that says whether it is and why.

    ValueError, with the same lines: no photo can be used.
    """
    verdicts = [_Verdict(photo) for photo in photos]
    _reject_duplicates(verdicts)
    for verdict in verdicts:
        if verdict.photo.pixels is not None and not verdict.problem:
            _recognize(verdict, verdict.photo.pixels, face_model)
    attention = _reject_others([verdict for verdict in verdicts if verdict.face], face_model)
    lines = [verdict.line for verdict in verdicts]
    faces = [verdict.face for verdict in verdicts if verdict.face and not verdict.problem]
    if not faces:
        raise ValueError("\n".join([_remedy(photos, face_model), *lines]))
    report = [f"{len(faces)} of {len(photos)} photos are used.", *([attention] if attention else []), *lines]
    embeddings, crops = torch.cat([face.embedding for face in faces]), torch.cat([face.crop for face in faces])
    return Identity(embeddings.cpu(), crops.cpu(), face_model, tuple(face.portrait for face in faces)), "\n".join(report)


@dataclass(frozen=True, eq=False)
class _KnownFace:
    """What an identity takes from a photo: crop [1, 3, S, S], portrait [3, H, W] and embedding [1, D]."""

    crop: Tensor
    portrait: Tensor
    embedding: Tensor


def _remedy(photos: list[Photo], face_model: FaceModel) -> str:
    if face_model.knows_only and any(photo.pixels is not None for photo in photos):
        return (
            f"face_model: {face_model.name} knows only {face_model.knows_only}; for photographs add Load Face Model and "
            f"choose {OPENCV_PAIR} or an insightface pack there."
        )
    inputs = ", ".join(dict.fromkeys(photo.source for photo in photos))
    return f"{inputs}: no photo can be used; choose sharp photos of one face from the front."


@dataclass(eq=False)
class _Verdict:
    """A photo on its way through the checks. problem: why it is not used, empty if it is. face: once it is found."""

    photo: Photo
    problem: str = ""
    remark: str = ""
    face: _KnownFace | None = None

    def __post_init__(self):
        self.problem = self.photo.problem or ""

    @property
    def name(self) -> str:
        return self.photo.name

    @property
    def line(self) -> str:
        return f"not used: {self.problem}" if self.problem else f"used: {self.name}{self.remark}"


def _reject_duplicates(verdicts: list[_Verdict]) -> None:
    kept: list[tuple[str, Tensor]] = []
    for verdict in verdicts:
        if verdict.photo.pixels is None:
            continue
        thumbnail = _thumbnail(verdict.photo.pixels)
        twin = next((name for name, other in kept if _same_picture(thumbnail, other)), None)
        if twin is None:
            kept.append((verdict.name, thumbnail))
        else:
            verdict.problem = f"{verdict.name} is the same picture as {twin}: it would only count twice."


def _thumbnail(pixels: Tensor) -> Tensor:
    size = [THUMBNAIL, THUMBNAIL]
    return F.interpolate(pixels[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]


def _same_picture(thumbnail: Tensor, other: Tensor) -> bool:
    """No part of it differs: in a series of shots the background may be the same, the face is not."""
    return (thumbnail - other).abs().max().item() < SAME_PICTURE


def _recognize(verdict: _Verdict, pixels: Tensor, face_model: FaceModel) -> None:
    frame = pixels[None].to(face_model.device)
    faces = face_model.find(frame)[0]
    if not faces:
        verdict.problem = (
            f"{verdict.name} shows no face that {face_model.name} can find: use a photo from the front in good light."
        )
        return
    if len(faces) > 1:
        verdict.remark = f", the largest of {len(faces)} faces"
    crop = face_model.crop(frame, faces[:1])
    verdict.problem = _flaw(verdict.name, faces[0], crop, face_model)
    if not verdict.problem:
        verdict.face = _KnownFace(crop, portrait(pixels, faces[0].box), face_model.embed(crop))


def portrait(pixels: Tensor, head: tuple[float, float, float, float]) -> Tensor:
    """The square around a head that is PORTRAIT_ROOM times as large, as far as it lies in the photo [3, H, W], reduced
    to PORTRAIT_SIDE; a photo that is no larger stays as it is."""
    height, width = pixels.shape[1:]
    if max(height, width) > PORTRAIT_SIDE:
        left, top, right, bottom = head
        x, y, reach = (left + right) / 2, (top + bottom) / 2, PORTRAIT_ROOM * max(right - left, bottom - top) / 2
        pixels = pixels[:, max(0, int(y - reach)) : int(y + reach), max(0, int(x - reach)) : int(x + reach)]
    factor = PORTRAIT_SIDE / max(pixels.shape[1:])
    if factor < 1:
        size = [max(1, round(side * factor)) for side in pixels.shape[1:]]
        pixels = F.interpolate(pixels[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    return pixels.clone()


def _flaw(name: str, face: Face, crop: Tensor, face_model: FaceModel) -> str:
    """What keeps the face in the photo ``name`` from being used, empty if nothing does."""
    side = face.scale * face_model.crop_size
    if side < face_model.minimum_face:
        return (
            f"the face in {name} is only {side:.0f} pixels wide, less than {face_model.minimum_face}: use a "
            "photo taken from closer, or the original instead of a reduced copy."
        )
    if detail(crop) < MINIMUM_DETAIL:
        return f"the face in {name} is blurred: use a photo in focus."
    return ""


def detail(crop: Tensor) -> float:
    """Share of the contrast of a crop [1, 3, S, S] that is lost when it is reduced to a quarter of its side."""
    grey = crop.mean(dim=1, keepdim=True)
    size = grey.shape[-1]
    coarse = F.interpolate(grey, size=[size // COARSER] * 2, mode="bilinear", antialias=True, align_corners=False)
    coarse = F.interpolate(coarse, size=[size] * 2, mode="bicubic", align_corners=False)
    inside = (grey - coarse)[..., COARSER:-COARSER, COARSER:-COARSER]
    return (inside.var() / (grey.var() + FLAT)).item()


def _reject_others(verdicts: list[_Verdict], face_model: FaceModel) -> str:
    """Reject photos of somebody else than most photos show; what to tell the user if no one is in most of them.

    Photos belong together if a chain of similar photos connects them, so that a profile is not
    lost as long as one other photo is near it. The person is the one with at least half of the
    photos, and more of them than anybody else; of two photos that differ nobody knows which is right.
    """
    embeddings = [verdict.face.embedding for verdict in verdicts if verdict.face]
    if len(embeddings) < 2:
        return ""
    similarity = torch.cat(embeddings) @ torch.cat(embeddings).T
    groups = _groups(similarity >= face_model.same_person)
    if len(groups) == 1:
        return ""
    first, second = groups[:2]
    if len(first) == len(second) or 2 * len(first) < len(verdicts):
        people = "; ".join(", ".join(verdicts[index].name for index in group) for group in groups)
        return (
            f"Attention: the photos look like {len(groups)} different people ({people}) and nobody is in most of them, "
            "so the identity is a mixture: remove the photos that are wrong, or add more of the right person."
        )
    for index in set(range(len(verdicts))) - set(first):
        nearest = similarity[index, first].max().item()
        verdicts[index].problem = (
            f"{verdicts[index].name} shows somebody else than most photos (similarity {nearest:.2f} to the "
            f"nearest of them, {face_model.same_person:.2f} is needed): remove it, or put it into a folder of its own."
        )
    return ""


def _groups(similar: Tensor) -> list[list[int]]:
    """Indices connected by ``similar`` [N, N], symmetric; the largest group first."""
    left, groups = set(range(len(similar))), []
    while left:
        group = [min(left)]
        left.remove(group[0])
        for index in group:
            near = [other for other in sorted(left) if similar[index, other]]
            group += near
            left -= set(near)
        groups.append(sorted(group))
    return sorted(groups, key=len, reverse=True)
