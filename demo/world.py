"""The renderer, which turns people, scenes, shirts and motions into clips of 8 frames of 64 x 64 pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .captions import MOTION_NAMES, SCENES, SHIRTS
from .people import People
from .scenes import BACKGROUNDS, PIXEL, X, Y, edge

FRAMES = 8
EYE_U, EYE_V = 0.36, -0.1  # the place of the eyes in head coordinates
CROP_SIZE = 40  # the side, in pixels, of the head crop that recognizers see
CROP_SCALE = 1.18  # half the side of the head crop, in units of the head's s

HAIR = torch.tensor(
    [[0.06, 0.05, 0.07], [0.36, 0.19, 0.08], [0.92, 0.74, 0.30], [0.82, 0.27, 0.08], [0.78, 0.78, 0.80], [0.20, 0.35, 0.85]]
)
IRIS = torch.tensor([[0.30, 0.16, 0.05], [0.12, 0.50, 0.20], [0.10, 0.40, 0.90], [0.45, 0.48, 0.52]])
SHIRT = torch.tensor(
    [[0.85, 0.13, 0.13], [0.15, 0.30, 0.88], [0.10, 0.60, 0.25], [0.95, 0.82, 0.12], [0.52, 0.20, 0.68], [0.95, 0.95, 0.95]]
)
LIGHT_SKIN, DARK_SKIN = torch.tensor([0.99, 0.84, 0.72]), torch.tensor([0.38, 0.22, 0.13])
LENS, RIM = torch.tensor([0.88, 0.94, 1.00]), torch.tensor([0.07, 0.06, 0.09])
LIPS, WHITE, BLACK = torch.tensor([0.50, 0.12, 0.14]), torch.tensor([0.98] * 3), torch.tensor([0.05] * 3)


@dataclass
class Poses:
    """The places of N heads: ``box`` [N, 3], (cx, cy, s) in frame coordinates of -1..1, and ``pitch`` [N] in -1..1."""

    box: Tensor
    pitch: Tensor

    def __getitem__(self, index) -> Poses:
        return Poses(self.box[index], self.pitch[index])


def poses(motion: Tensor, progress: Tensor, generator: torch.Generator) -> Poses:
    """The B * T poses of clips whose motions have the numbers ``motion`` [B], at the times ``progress`` [B, T] in 0..1."""

    def jitter(width: float) -> Tensor:
        return (torch.rand(len(motion), 1, generator=generator) - 0.5) * width

    def only(name: str) -> Tensor:
        return (motion == MOTION_NAMES.index(name)).float()[:, None]

    way = (progress * 2 - 1) * (1 + jitter(0.2))
    nod = torch.sin(progress * 2.5 * math.pi) * (1 + jitter(0.2)) * only("nod")
    cx = jitter(0.06) + 0.3 * way * (only("right") - only("left"))
    cy = -0.13 + jitter(0.05) + 0.2 * way * (only("down") - only("up")) + 0.07 * nod
    s = (0.60 + jitter(0.04)) * (1 + 0.25 * way * only("zoom"))
    return Poses(torch.stack([cx, cy, s], -1).flatten(0, 1), 0.9 * nod.flatten())


class _Heads:
    """Paints N heads over N frames; u and v are head coordinates, in which 1 is about half the height of a head."""

    def __init__(self, frames: Tensor, people: People, where: Poses):
        cx, cy, s = (value.view(-1, 1, 1) for value in where.box.unbind(-1))
        self.frames, self.people = frames, people
        self.pixel = PIXEL / s
        self.u, self.v = (X - cx) / s, (Y - cy) / s
        self.face_v = self.v - where.pitch.view(-1, 1, 1) * 0.2

    def between(self, shape: int, low: float, high: float) -> Tensor:
        return (low + (high - low) * self.people.shape[:, shape]).view(-1, 1, 1)

    def has(self, attribute: str, *values: int) -> Tensor:
        mine = getattr(self.people, attribute)
        return torch.isin(mine, torch.tensor(values)).float().view(-1, 1, 1)

    def cover(self, distance: Tensor) -> Tensor:
        return edge(distance, self.pixel)

    def paint(self, mask: Tensor, colour: Tensor) -> None:
        """Blend ``colour`` [3] or [N, 3] over the frames, by ``mask`` [N, 64, 64] in 0..1."""
        colour = colour.expand(len(self.frames), 3)[:, :, None, None]
        self.frames.lerp_(colour.expand_as(self.frames), mask[:, None].expand_as(self.frames))


def _ellipse(u: Tensor, v: Tensor, a, b) -> Tensor:
    """About the signed distance to an ellipse with half axes a and b."""
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return (1 - torch.hypot(u / a, v / b)) * torch.minimum(a, b)


def _all(*distances: Tensor) -> Tensor:
    """The signed distance to the intersection of shapes."""
    out = distances[0]
    for distance in distances[1:]:
        out = torch.minimum(out, distance)
    return out


def _draw(frames: Tensor, people: People, where: Poses, shirt: Tensor) -> None:
    head = _Heads(frames, people, where)
    u, v, cover, paint, has = head.u, head.v, head.cover, head.paint, head.has
    width, height = head.between(1, 0.66, 0.92), 0.95
    hair = HAIR[people.hair_colour]
    skin = LIGHT_SKIN.lerp(DARK_SKIN, people.skin()[:, None])
    shade = skin * 0.72

    curtain = _all(width + 0.2 - u.abs(), v + 0.1, 1.15 - v)
    paint(cover(torch.maximum(_ellipse(u, v + 0.1, width + 0.26, 1.02), curtain)) * has("hair_style", 1), hair * 0.85)
    paint(cover(_ellipse(u, v + 0.38, width + 0.34, 0.92)) * has("hair_style", 2), hair)

    paint(cover(_all(0.32 - u.abs(), v - 0.3)), shade)
    shoulders = torch.maximum(cover(_ellipse(u, v - 2.05, 1.4, 1.0)), cover(_all(1.38 - u.abs(), v - 2.05)))
    paint(shoulders, SHIRT[shirt])
    for side in (-1, 1):
        paint(cover(_ellipse(u - side * width * 0.98, v - 0.02, 0.13, 0.18)), shade)
    outline = _ellipse(u, v, width * (1 - 0.22 * v.clamp(0, 1.2) ** 1.5), height)
    paint(cover(outline), skin)

    _draw_face(head, width, outline, hair, skin, shade)
    _draw_hair(head, width, height, hair)
    _draw_rims(head)


def _draw_face(head: _Heads, width: Tensor, outline: Tensor, hair: Tensor, skin: Tensor, shade: Tensor) -> None:
    u, v, cover, paint, has = head.u, head.face_v, head.cover, head.paint, head.has
    brow, eye = head.between(2, -0.4, 0.4), head.between(3, 0.16, 0.23)
    mouth, nose = head.between(4, 0.18, 0.38), head.between(5, 0.06, 0.15)
    beard = hair * 0.82

    cheeks = v - (0.24 + 0.12 * (1 - (u / width) ** 2))
    paint(cover(_all(outline, cheeks, -_ellipse(u, v - 0.54, mouth * 0.9, 0.15))) * has("beard", 2), beard)
    paint(cover(_ellipse(u, v - 0.39, mouth * 1.05, 0.09)) * has("beard", 1, 2), beard)
    smile = v - 0.54 + 0.1 * ((u / mouth) ** 2).clamp(max=2) - 0.05
    paint(cover(_ellipse(u, smile, mouth, 0.075)), skin * 0.35 + LIPS)
    paint(cover(_ellipse(u, v - 0.22, nose, nose * 0.8)), shade)
    paint(cover(_all(0.03 - u.abs(), v + 0.06, 0.22 - v)) * 0.7, shade)

    for side in (-1, 1):
        eye_u, eye_v = u - side * EYE_U, v - EYE_V
        for style, lens in _lenses(eye_u, eye_v):
            paint(cover(lens) * has("glasses", style) * 0.4, LENS)
        white = cover(_ellipse(eye_u, eye_v, eye, eye * 0.85))
        paint(white, WHITE)
        paint(cover(_ellipse(eye_u, eye_v, eye * 0.64, eye * 0.64)) * white, IRIS[head.people.eye_colour])
        paint(cover(_ellipse(eye_u, eye_v, eye * 0.26, eye * 0.26)) * white, BLACK)
        brow_v = eye_v + eye * 0.85 + 0.13 + side * brow * eye_u
        paint(cover(_all(0.055 - brow_v.abs(), 0.22 - eye_u.abs())), beard * 0.75)


def _lenses(eye_u: Tensor, eye_v: Tensor):
    """The number of each style of glasses, with the signed distance to its lens around one eye."""
    yield 1, 0.31 - torch.hypot(eye_u, eye_v)
    yield 2, -torch.maximum(eye_u.abs() - 0.31, eye_v.abs() - 0.24)


def _draw_rims(head: _Heads) -> None:
    u, v, cover, paint, has = head.u, head.face_v, head.cover, head.paint, head.has
    for side in (-1, 1):
        for style, lens in _lenses(u - side * EYE_U, v - EYE_V):
            paint(cover(0.05 - lens.abs()) * has("glasses", style), RIM)
    paint(cover(_all(0.035 - (v - EYE_V).abs(), 0.07 - u.abs())) * has("glasses", 1, 2), RIM)


def _draw_hair(head: _Heads, width: Tensor, height: float, hair: Tensor) -> None:
    u, v = head.u, head.v
    bow = (u / width) ** 2
    zigzag = (torch.remainder(u * 2.6 + 0.5, 1.0) - 0.5).abs() * 2
    top = v + 0.06

    styles = (
        _all(_ellipse(u, top, width + 0.06, height + 0.04), 0.22 * bow - v - 0.48),
        _all(_ellipse(u, top, width + 0.1, height + 0.08), 0.5 * bow - v - 0.42),
        _all(_ellipse(u, top, width + 0.1, height + 0.1), 0.35 * bow - v - 0.5),
        _all(width + 0.06 - u.abs(), v + height - 0.1 + 0.42 * zigzag - 0.2 * bow, 0.15 * zigzag + 0.2 * bow - v - 0.5),
    )
    for style, distance in enumerate(styles):
        head.paint(head.cover(distance) * head.has("hair_style", style), hair)


def render(people: People, where: Poses, scene: Tensor, shirt: Tensor, chunk: int = 12) -> Tensor:
    """Render frames [N, 3, 64, 64] in 0..1, in chunks so small that they stay in the processor's cache."""
    frames = BACKGROUNDS[scene].clone()
    for start in range(0, len(frames), chunk):
        part = slice(start, start + chunk)
        _draw(frames[part], people[part], where[part], shirt[part])
    return frames.clamp_(0, 1)


@dataclass
class Clips:
    """B clips: ``frames`` [B, 8, 3, 64, 64] in 0..1, ``action`` [B, 3] (scene, shirt, motion) and ``box`` [B, 8, 3]."""

    frames: Tensor
    action: Tensor
    box: Tensor


def random_actions(count: int, generator: torch.Generator) -> Tensor:
    """The numbers [count, 3] of random scenes, shirts and motions."""
    sizes = (len(SCENES), len(SHIRTS), len(MOTION_NAMES))
    return torch.stack([torch.randint(size, (count,), generator=generator) for size in sizes], -1)


def make_clips(people: People, action: Tensor, generator: torch.Generator) -> Clips:
    """One clip for each of the people."""
    scene, shirt, motion = action.unbind(-1)
    progress = torch.linspace(0, 1, FRAMES).expand(len(people), FRAMES)
    where = poses(motion, progress, generator)
    frames = render(people.repeat(FRAMES), where, scene.repeat_interleave(FRAMES), shirt.repeat_interleave(FRAMES))
    return Clips(frames.unflatten(0, (-1, FRAMES)), action, where.box.unflatten(0, (-1, FRAMES)))


def crop(frames: Tensor, box: Tensor, size: int = CROP_SIZE) -> Tensor:
    """Head crops [N, 3, size, size] of frames [N, 3, H, W] at boxes [N, 3], differentiable."""
    cx, cy, s = box.unbind(-1)
    half, zero = s * CROP_SCALE, torch.zeros_like(s)
    theta = torch.stack([torch.stack([half, zero, cx], -1), torch.stack([zero, half, cy - 0.05 * s], -1)], 1)
    grid = F.affine_grid(theta, (len(frames), 3, size, size), align_corners=False)
    return F.grid_sample(frames, grid, align_corners=False, padding_mode="border")


def noir(frames: Tensor) -> Tensor:
    """Frames [..., 3, H, W] in 0..1 in a film-noir look: pale colours, strong contrast, a vignette and cool shadows."""
    grey = (frames * frames.new_tensor([0.30, 0.59, 0.11]).view(3, 1, 1)).sum(-3, keepdim=True)
    pale = grey + 0.28 * (frames - grey)
    contrast = torch.sigmoid((pale - 0.45) * 6.5)
    gain, lift = (contrast.new_tensor(rgb).view(3, 1, 1) for rgb in ([0.97, 0.98, 1.00], [0.0, 0.005, 0.03]))
    vignette = 1 - 0.55 * ((X**2 + Y**2) / 2).to(frames) ** 1.2
    return ((contrast * gain + lift) * vignette).clamp(0, 1)


def sunset(frames: Tensor) -> Tensor:
    """Frames [..., 3, H, W] in 0..1 in an evening look: orange light from the upper left and violet shadows."""
    grey = (frames * frames.new_tensor([0.30, 0.59, 0.11]).view(3, 1, 1)).sum(-3, keepdim=True)
    light, shadow = (frames.new_tensor(rgb).view(3, 1, 1) for rgb in ([1.0, 0.72, 0.36], [0.28, 0.12, 0.36]))
    tinted = frames * (0.45 + 0.55 * light) + 0.30 * (1 - grey) * shadow
    glow = ((1 - X) * (1 - Y) / 4).to(frames)
    return (tinted * (0.80 + 0.45 * glow) + 0.22 * glow * light).clamp(0, 1)
