"""Text in pictures: Chinese and accents where the computer has a font, dots and never a box or a question mark where not."""

import importlib

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import ImageChops, ImageFont

SIZE = 40


@pytest.fixture
def fonts(pack, tmp_path, monkeypatch):
    """The module, on a computer whose fonts are those that a test puts into ``tmp_path / "fonts"``."""
    module = importlib.import_module(f"{pack.__name__}.drawing.fonts")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_DIRS", str(tmp_path))
    (tmp_path / "fonts").mkdir()
    cached = [each for each in vars(module).values() if hasattr(each, "cache_clear")]
    for each in cached:
        each.cache_clear()
    yield module
    for each in cached:
        each.cache_clear()


@pytest.fixture
def canvas(pack, fonts):
    return importlib.import_module(f"{pack.__name__}.drawing.canvas")


def install(path, letters):
    """A font file in which every letter is as many bars as its place in ``letters`` says, and a missing one nine."""

    def bars(count):
        pen = TTGlyphPen(None)
        for left in range(100, 100 + 200 * count, 200):
            for step, (x, y) in enumerate([(left, 0), (left, 700), (left + 100, 700), (left + 100, 0)]):
                (pen.lineTo if step else pen.moveTo)((x, y))
            pen.closePath()
        return pen.glyph()

    names = [".notdef", *(f"letter{number}" for number in range(len(letters)))]
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, letters), names[1:])))
    builder.setupGlyf(dict(zip(names, [bars(9), *(bars(number + 1) for number in range(len(letters)))])))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200, usWinAscent=800, usWinDescent=200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupPost()
    builder.save(path)


def drawn(canvas, text):
    page = canvas.Canvas(400, 60)
    page.text(10, 5, text, SIZE)
    return page.image()


def same(one, other):
    return ImageChops.difference(one, other).getbbox() is None


def test_a_chinese_name_is_drawn_with_the_computers_font(canvas, fonts, tmp_path):
    install(tmp_path / "fonts" / "wqy-microhei.ttc", "张三")
    name = drawn(canvas, "张三")
    assert not any(same(name, drawn(canvas, other)) for other in ("张张", "三三", "李四", "??", "...", ""))
    font, text = fonts.font_for("张三", SIZE)
    assert text == "张三" and font.path == str(tmp_path / "fonts" / "wqy-microhei.ttc")
    columns = [any(name.getpixel((x, y)) == (31, 35, 40) for y in range(60)) for x in range(10, 90)]
    starts = [x for x in range(1, 80) if columns[x] and not columns[x - 1]]
    assert starts == [4, 44, 52]  # one bar at 100 thousandths of 40 pixels, the next letter's two at 1100 and 1300


def test_the_font_that_knows_most_of_a_text_draws_it(fonts, tmp_path):
    install(tmp_path / "fonts" / "wqy-microhei.ttc", "张三a")
    install(tmp_path / "fonts" / "DejaVuSans.ttf", "éèa")
    assert fonts.font_for("张三 é", SIZE)[0].path.endswith("wqy-microhei.ttc")
    assert fonts.font_for("张三 é", SIZE)[1] == "张三 ..."
    assert fonts.font_for("éè", SIZE)[0].path.endswith("DejaVuSans.ttf")


def test_what_pillows_own_font_knows_is_drawn_with_it_on_every_computer(fonts, tmp_path):
    install(tmp_path / "fonts" / "DejaVuSans.ttf", "Ada")
    assert fonts.font_for("Ada", SIZE)[0].getname() == ImageFont.load_default(SIZE).getname()


def test_without_a_font_dots_stand_for_what_is_lost_and_the_log_says_so_once(canvas, fonts, caplog):
    assert fonts.font_for("José 张三, smiling", SIZE)[1] == "Jose ..., smiling"
    assert same(drawn(canvas, "a man 张三"), drawn(canvas, "a man ..."))
    [record] = caplog.records
    assert "dots in place of letters that no font of this computer has; install one" in record.message


def test_chinese_wraps_between_letters_and_no_line_begins_with_a_comma(canvas, tmp_path):
    install(tmp_path / "fonts" / "wqy-microhei.ttc", "张三在雪地里，笑")
    lines = canvas.wrap("张三在雪地里，笑", 10, 61, most=9)
    assert lines == ["张三在雪地", "里，笑"]
    assert canvas.wrap("张三在雪地里，笑", 10, 61, most=1)[0].endswith("...")
    assert canvas.wrap("Ada 张三 smiles", 14, 1000, most=1) == ["Ada 张三 smiles"]


def test_text_wraps_within_its_width(canvas):
    lines = canvas.wrap("a person on the beach, wearing a purple shirt, moving left " * 3, 14, 200, most=2)
    assert len(lines) == 2 and lines[1].endswith("...")
    assert all(canvas.text_width(line, 14) <= 200 for line in lines)
    assert canvas.wrap("Donaudampfschifffahrtsgesellschaft", 14, 80, most=1)[0].endswith("...")
