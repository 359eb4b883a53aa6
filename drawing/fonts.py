"""A font for every text: the one that comes with Pillow, which has little more than ASCII, or one of the computer's."""

import logging
import unicodedata
from functools import cache, lru_cache

from PIL import ImageFont

# File names, which Pillow finds wherever the system keeps its fonts, and the face in a collection; the best come first.
SYSTEM_FONTS = (
    # Chinese, Japanese and Korean
    ("NotoSansCJK-Regular.ttc", 2),  # Linux; face 2 is simplified Chinese
    ("NotoSansCJKsc-Regular.otf", 0),
    ("NotoSansSC-Regular.otf", 0),
    ("NotoSansSC-Regular.ttf", 0),
    ("SourceHanSansSC-Regular.otf", 0),
    ("SourceHanSansCN-Regular.otf", 0),
    ("wqy-microhei.ttc", 0),
    ("wqy-zenhei.ttc", 0),
    ("DroidSansFallbackFull.ttf", 0),
    ("PingFang.ttc", 0),  # macOS
    ("Hiragino Sans GB.ttc", 0),
    ("STHeiti Light.ttc", 0),
    ("Arial Unicode.ttf", 0),
    ("AppleSDGothicNeo.ttc", 0),
    ("msyh.ttc", 0),  # Windows
    ("simhei.ttf", 0),
    ("simsun.ttc", 0),
    ("msjh.ttc", 0),
    ("YuGothM.ttc", 0),
    ("msgothic.ttc", 0),
    ("malgun.ttf", 0),
    # Latin with accents, Greek, Cyrillic and more
    ("NotoSans-Regular.ttf", 0),
    ("DejaVuSans.ttf", 0),
    ("LiberationSans-Regular.ttf", 0),
    ("Helvetica.ttc", 0),
    ("segoeui.ttf", 0),
    ("arial.ttf", 0),
)
OMITTED = "..."
_UNASSIGNED = "\U0010ffff"  # no font has a glyph for it
_PROBE = 16  # the size, in pixels, at which glyphs are compared

Place = tuple[str, int]
"""The file of a font and its face in that file."""
_OWN: Place = ("", 0)


@lru_cache(1024)
def font_for(text: str, size: float) -> tuple[ImageFont.FreeTypeFont, str]:
    """The font for a line of text, and the text in letters that the font has.

    It is Pillow's own font if that has every letter, and otherwise the computer's font that has most of them. A letter
    that it lacks loses its accent or, if that does not help, becomes dots, which the log mentions once.
    """
    best = _OWN
    if not all(_has(_OWN, letter) for letter in text):
        best = max((_OWN, *_installed()), key=lambda place: sum(_has(place, letter) for letter in text))
    return _font(best, size), _written(text, best)


def _written(text: str, place: Place) -> str:
    parts: list[str] = []
    for letter in text:
        plain = "".join(part for part in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(part))
        form = next((form for form in (letter, plain) if all(_has(place, part) for part in form)), OMITTED)
        if form is OMITTED:
            _say_omitted()
        if form is not OMITTED or parts[-1:] != [OMITTED]:
            parts.append(form)
    return "".join(parts)


@cache
def _say_omitted() -> None:
    logging.warning(
        "PersonalVideo: a picture shows dots in place of letters that no font of this computer has; install one that has them, "
        "for Chinese, Japanese and Korean Noto Sans CJK, and restart ComfyUI."
    )


@cache
def _installed() -> tuple[Place, ...]:
    """The SYSTEM_FONTS that the computer has."""
    found = []
    for name, face in SYSTEM_FONTS:
        try:
            found.append((ImageFont.truetype(name, _PROBE, face).path, face))
        except OSError:
            continue
    return tuple(found)


@cache
def _has(place: Place, letter: str) -> bool:
    """Whether the font has the letter, which it then draws differently from one that it cannot have."""
    glyph, missing = (_font(place, _PROBE).getmask(each) for each in (letter, _UNASSIGNED))
    return letter.isspace() or (glyph.size, bytes(glyph)) != (missing.size, bytes(missing))


@cache
def _font(place: Place, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size) if place == _OWN else ImageFont.truetype(place[0], size, place[1])
