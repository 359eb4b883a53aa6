"""The thumbnails of the template browser. The demo model sampled all pictures in them, and they say so."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageSequence

from devkit import hostless_pack  # noqa: F401
from personalvideo_pack.drawing.frames import fitted

SIZE = 400
INK, PALE, PAPER = "#f2f2f2", "#a9b4bd", "#1f2a33"
DEMO = {
    "Demo 1 - Train an identity": ("before and after.webp", "Train an identity", "before and after"),
    "Demo 2 - Sample with identity and style LoRA": ("sample.webp", "Identity + style", "one video, four frames"),
    "Demo 3 - Two style LoRAs": ("two styles.webp", "Identity + two styles", "one video, four frames"),
    "Demo 4 - Evaluate a video": ("evaluate.png", "Evaluate a video", "what the node shows"),
    "Demo 5 - Core KSampler": ("core.webp", "Core KSampler", "one video, four frames"),
}  # fmt: skip
KINDS = {
    "1": ("before and after.webp", "1 Train an identity"),
    "2": ("core.webp", "2 Sample with identity"),
    "3": ("sample.webp", "3 Identity + style LoRA"),
}
HONEST = "pictures: the bundled demo model"


def write_thumbnails(pictures: Path, workflows: list[Path]) -> None:
    """Write `<workflow>.jpg` beside every workflow. `pictures`: where the screenshots kept what was sampled."""
    for path in workflows:
        if path.stem in DEMO:
            file, title, caption = DEMO[path.stem]
            heading = "Demo"
        else:
            heading, _, kind = path.stem.partition(" - ")
            heading, _, number = heading.rpartition(" ")
            (file, title), caption = KINDS[number], HONEST
        card(pictures / file, heading, title, caption).save(path.with_suffix(".jpg"), quality=88)


def card(file: Path, heading: str, title: str, caption: str) -> Image.Image:
    """A square with a heading, the frames, and a caption."""
    image = Image.new("RGB", (SIZE, SIZE), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((20, 14), heading, INK, ImageFont.load_default(30))
    draw.text((20, 52), title, PALE, ImageFont.load_default(22))
    draw.text((20, SIZE - 32), caption, PALE, ImageFont.load_default(16))
    shown = fitted(frames_of(file), SIZE - 40, SIZE - 140)
    image.paste(shown, ((SIZE - shown.width) // 2, 88 + (SIZE - 140 - shown.height) // 2))
    return image


def frames_of(file: Path) -> Image.Image:
    """The picture that stands for a file: itself, or some frames if it is an animation.

    Of a square animation these are four, as 2 x 2; of a wide one the first and the last, one above the other.
    """
    pages = [page.convert("RGB") for page in ImageSequence.Iterator(Image.open(file))]
    if len(pages) == 1:
        return pages[0]
    width, height = pages[0].size
    columns = 1 if width > height else 2
    chosen = [pages[round(i * (len(pages) - 1) / (2 * columns - 1))] for i in range(2 * columns)]
    sheet = Image.new("RGB", (columns * width + columns - 1, 2 * height + 1), PAPER)
    for i, page in enumerate(chosen):
        sheet.paste(page, ((i % columns) * (width + 1), (i // columns) * (height + 1)))
    return sheet
