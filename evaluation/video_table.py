"""The figures of a video as a table, to read on the node, to paste elsewhere, and to draw into the plot."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from .clip_metrics import clip_i, clip_t, temporal_consistency
from .dynamic_degree import Dynamics
from .face_similarity import FaceSimilarity

NOT_MEASURED = "not measured"


class Row(NamedTuple):
    """A figure, or a mark in its place; ``how`` says what it is, or why there is none."""

    metric: str
    value: str
    how: str


def face_rows(faces: FaceSimilarity, judge: str, used: int, photos: int) -> list[Row]:
    """The figures of the faces. used: in how many of the ``photos`` the judge found one."""
    judged = len(faces.frames)
    repeated = ", some of them twice or more" if len({frame.index for frame in faces.frames}) < judged else ""
    seen = round(faces.share * judged)
    how = f"mean of max(0, cosine) to {photos} photo{'s' * (photos > 1)}, over the frames with a face; judge: {judge}"
    if used < photos:
        how += f", which finds no face in {photos - used} of the photos"
    if not seen:
        how = f"{judge} finds no face in any frame"
    return [
        Row("Face Similarity", f"{faces.score:.3f}", how),
        Row(
            "Frames with a face",
            f"{seen} of {judged}",
            f"evenly spaced frames{repeated}; those without a face do not lower the similarity",
        ),
    ]


def motion_rows(dynamics: Dynamics, flow: str, remark: str) -> list[Row]:
    """The figures of the motion. flow: the name of the network or method. remark: why it is not VBench's, or empty."""
    names = ("Dynamic Degree", "Flow, strongest 5 %", "Flow, all pixels")
    if not dynamics.strengths:
        return [Row(name, NOT_MEASURED, "the video has a single frame at 8 frames a second") for name in names]
    pairs = len(dynamics.strengths)
    verdict = (
        f"{dynamics.moving_pairs} of {pairs} pairs move by more than {dynamics.threshold:.2f} pixels, "
        f"{dynamics.needed} are needed; flow: {flow}"
    )
    return [
        Row(names[0], "moves" if dynamics.moves else "does not move", f"{verdict}; {remark}" if remark else verdict),
        Row(names[1], f"{dynamics.strength:.2f} pixels", "mean over the pairs of frames, about 8 a second"),
        Row(names[2], f"{dynamics.mean:.2f} pixels", "mean over the same pairs"),
    ]


def clip_rows(scorer: str, frames: Tensor, text: Tensor | None, photos: Tensor) -> list[Row]:
    """The figures by CLIP from features of length 1: frames [F, D], photos [R, D], and text [D], None without a prompt."""
    steady = temporal_consistency(frames)
    return [
        Row("Temporal Consistency", f"{steady:.4f}", f"mean cosine of neighbouring frames; features: {scorer}")
        if steady is not None
        else Row("Temporal Consistency", NOT_MEASURED, "the video has a single frame"),
        Row("CLIP-T", f"{clip_t(frames, text):.2f}", f"100 x mean cosine of frames and prompt; features: {scorer}")
        if text is not None
        else Row("CLIP-T", NOT_MEASURED, "enter the prompt of the video"),
        Row("CLIP-I", f"{clip_i(frames, photos):.2f}", f"100 x mean cosine of frames and photos; features: {scorer}"),
    ]


def missing_clip_rows() -> list[Row]:
    return [Row(name, NOT_MEASURED, "connect semantic_reward") for name in ("Temporal Consistency", "CLIP-T", "CLIP-I")]


def markdown(rows: Iterable[Row]) -> str:
    """A Markdown table whose columns are aligned, so that it reads well as plain text too."""
    table = [Row("Metric", "Value", "How"), *(Row(*(cell.replace("|", "/") for cell in row)) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(2)]

    def line(cells: Row) -> str:
        return f"| {cells[0]:<{widths[0]}} | {cells[1]:<{widths[1]}} | {cells[2]} |"

    rule = f"| {'-' * widths[0]} | {'-' * widths[1]} | --- |"
    return "\n".join([line(table[0]), rule, *map(line, table[1:])])
