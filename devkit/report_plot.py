"""report.png: the numbers of report.json as one picture."""

from pathlib import Path

from PIL import Image

from devkit import hostless_pack  # noqa: F401
from personalvideo_pack.evaluation.charts import LABEL, bar_chart, line_chart
from personalvideo_pack.evaluation.drawing import AFTER, BEFORE, GREY, SERIES, Canvas, text_width, wrap

METRICS = (
    ("judge", "Is it the person?", "cosine to the photos, by the judge"),
    ("attributes", "Does it look like them?", "share of attributes that agree"),
    ("dynamic", "Does it still move?", "motion of the head, pixels a frame"),
    ("prompt", "Does it follow the prompt?", "image-text score"),
)
_PANEL_HEIGHT, _MARGIN, _HEADER, _FOOTER, _WARNING_LINE = 320, 24, 76, 48, 22


def report_plot(report: dict, out: str | Path | None = None) -> Image.Image:
    """Bars before and after for each identity, and its loss curves if it has any; saved to `out`.

    report["identities"] is a list of objects with `name`, `<metric>_before` and `<metric>_after`
    for each of METRICS (None = not measured), `drift_outside_head`, `train_seconds`, and optionally
    `losses`: {name of the loss: [value a training step]}. report["total_seconds"] is all of it,
    report["judge_warning"], where there is one, why the judge's figures are not to be trusted.

    ValueError: no identity in the report.
    """
    identities = report["identities"]
    if not identities:
        raise ValueError("report has no identities: run the evaluation of at least one.")
    size = (max(340, 100 + 74 * len(identities)), _PANEL_HEIGHT)  # room for the numbers on the bars
    panels = [
        bar_chart(
            title,
            unit,
            [identity["name"] for identity in identities],
            [identity[f"{metric}_before"] for identity in identities],
            [identity[f"{metric}_after"] for identity in identities],
            size,
        )
        for metric, title, unit in METRICS
    ]
    panels += [
        line_chart(f"Training {identity['name']}", "loss", "training step", identity["losses"], size)
        for identity in identities
        if identity.get("losses")
    ]
    page = _page(panels, _columns(len(identities), len(panels)), size, _summary(report))
    if report.get("judge_warning"):
        page = _with_warning(page, report["judge_warning"])
    if out is not None:
        page.save(out)
    return page


def _columns(identities: int, panels: int) -> int:
    if identities == 1:
        return panels
    return 4 if identities <= 4 else 2


def _summary(report: dict) -> str:
    identities = report["identities"]
    drift = [identity["drift_outside_head"] for identity in identities]
    seconds = sum(identity["train_seconds"] for identity in identities) / len(identities)
    return (
        f"Change outside the head: {sum(drift) / len(drift):.3f} on average, {max(drift):.3f} at most "
        f"(mean absolute RGB, 0..1).   Training: {seconds:.0f} s an identity, {report['total_seconds']:.0f} s in all."
    )


def _page(panels: list[Image.Image], columns: int, size: tuple[int, int], summary: str) -> Image.Image:
    rows = -(-len(panels) // columns)
    width = columns * size[0] + 2 * _MARGIN
    canvas = Canvas(width, _HEADER + rows * size[1] + _FOOTER)
    canvas.text(_MARGIN + 8, 22, "Before and after the identity adapter", 26)
    x = width - _MARGIN - 20
    for name, colour in (("after", AFTER), ("before", BEFORE)):
        x -= text_width(name, LABEL)
        canvas.text(x, 30, name, LABEL)
        canvas.box(x - 22, 30, x - 8, 44, colour)
        x -= 46
    canvas.text(_MARGIN + 8, _HEADER + rows * size[1] + 14, summary, LABEL, GREY)
    page = canvas.image()
    for index, panel in enumerate(panels):
        page.paste(panel, (_MARGIN + index % columns * size[0], _HEADER + index // columns * size[1]))
    return page


def _with_warning(page: Image.Image, warning: str) -> Image.Image:
    """The page with lines of warning under it."""
    lines = wrap(warning, LABEL, page.width - 2 * (_MARGIN + 8), most=3)
    below = Canvas(page.width, _WARNING_LINE * len(lines) + _MARGIN)
    for number, line in enumerate(lines):
        below.text(_MARGIN + 8, _WARNING_LINE * number, line, LABEL, SERIES[1])
    below = below.image()
    both = Image.new("RGB", (page.width, page.height + below.height))
    both.paste(page, (0, 0))
    both.paste(below, (0, page.height))
    return both
