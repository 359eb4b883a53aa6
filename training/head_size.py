"""Whether the heads in the original model's clips are large enough for its VAE to hold a likeness."""

from collections.abc import Iterable
from statistics import median

from ..rewards.faces import Face

CELLS = 10
"""Latent cells that a head has to be wide, for a recognizer of photographs."""
PHOTOGRAPHS = 64
"""The smallest face, in pixels, that such a recognizer takes; one that takes fewer looks at less detail, in proportion."""


def head_cells(faces: Iterable[Face], pixels_a_cell: int) -> float | None:
    """Median width of the heads in latent cells, None without heads. pixels_a_cell: the VAE's ratio."""
    widths = [face.box[2] - face.box[0] for face in faces]
    return median(widths) / pixels_a_cell if widths else None


def head_advice(cells: float | None, minimum_face: int) -> str:
    """A sentence for heads that are too small, empty for others. minimum_face: in pixels, the recognizer's."""
    needed = round(CELLS * minimum_face / PHOTOGRAPHS)
    if cells is None or round(cells) >= needed:
        return ""
    return (
        f"The heads are about {cells:.0f} latent cells wide; about {needed} are needed to learn a face. "
        "Choose prompts that show the face closer, or raise width and height."
    )
