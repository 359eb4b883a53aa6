"""The blind comparison page before a rater: answered by mouse and keys, gone on with later, saved and tallied."""

import json
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

from devkit.comfy_host import ROOT

COLOURS = {"ours": (20, 160, 60), "theirs": (190, 40, 40)}
"""The colour of a method's videos, except for a moving square, by which the test knows what is left and right."""

CLIPS = {"anna/01": ".mp4", "anna/02": ".webp", "ben/01": ".mp4"}
SIDE, FRAMES = 96, 8
CORNER = """side => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1}), drawing = canvas.getContext("2d");
  drawing.drawImage(document.querySelector(`#${side} > *`), 0, 0, 4, 4, 0, 0, 1, 1);
  return [...drawing.getImageData(0, 0, 1, 1).data.slice(0, 3)];
}"""
LOADED = """() => [...document.querySelectorAll(".videos video, .videos img, .references img")]
  .every(e => e.tagName === "VIDEO" ? e.readyState >= 2 && e.currentTime > 0 : e.complete && e.naturalWidth > 0)"""


def pictures(colour) -> list[np.ndarray]:
    frames = [np.full((SIDE, SIDE, 3), colour, np.uint8) for _ in range(FRAMES)]
    for number, frame in enumerate(frames):
        frame[40:56, 16 + 6 * number : 32 + 6 * number] = 255
    return frames


def write_clip(path, colour) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".webp":
        first, *others = map(Image.fromarray, pictures(colour))
        first.save(path, save_all=True, append_images=others, duration=125, loop=0)
        return
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=8)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for frame in pictures(colour):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The page that the tool makes of three clips by two methods."""
    folder = tmp_path_factory.mktemp("study")
    for method, colour in COLOURS.items():
        for clip, suffix in CLIPS.items():
            write_clip(folder / method / f"{clip}{suffix}", colour)
            (folder / method / f"{clip}.txt").write_text(f"a sks person, {clip}")
    for person in ("anna", "ben"):
        (folder / "photos" / person).mkdir(parents=True)
        Image.new("RGB", (48, 64), "teal").save(folder / "photos" / person / "1.png")
    sides = [f"{method}={folder / method}" for method in COLOURS]
    run("blind_page", *sides, "--references", folder / "photos", "--out", folder / "study.html")
    return folder / "study.html"


def run(tool: str, *arguments) -> str:
    command = [sys.executable, "-m", f"benchmarks.user_study.{tool}", *arguments]
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, cwd=ROOT).stdout


@pytest.fixture
def rater(browser, file):
    """A rater's browser with the page open, on the first pair; errors on it fail the test."""
    page, errors = browser.page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.goto(file.as_uri())
    assert page.locator("#count").inner_text() == "3"
    page.fill("#rater", "Ann")
    page.click("#start")
    yield page
    page.context.close()
    assert not errors


def side_of(page, method: str) -> str:
    """left or right, seen by the colour of what plays there."""
    page.wait_for_function(LOADED)
    wanted = np.array(COLOURS[method])
    found = [side for side in ("left", "right") if np.abs(page.evaluate(CORNER, side) - wanted).max() < 30]
    assert len(found) == 1
    return found[0]


def answer_pair(page) -> None:
    """Ours is the person and the better one, theirs moves more, both fit the text."""
    mine, other = side_of(page, "ours").capitalize(), side_of(page, "theirs").capitalize()
    page.keyboard.press(f"Arrow{mine}")
    page.keyboard.press("ArrowDown")
    page.get_by_role("group", name="Dynamic Degree").get_by_role("button", name=other).click()
    page.get_by_role("group", name="Overall Quality").get_by_role("button", name=mine).click()


def save(page, button: str, folder) -> dict:
    with page.expect_download() as download:
        page.click(button)
    assert download.value.suggested_filename == "answers Ann.json"
    download.value.save_as(folder / "answers Ann.json")
    return json.loads((folder / "answers Ann.json").read_text())


def test_answers_reach_the_methods_they_were_meant_for(rater, tmp_path):
    prompts = set()
    for number in (1, 2, 3):
        assert rater.locator("#place").inner_text() == f"{number} of 3"
        prompts.add(rater.locator("#prompt").inner_text())
        answer_pair(rater)
        shown = rater.locator("body").inner_text()
        assert not any(word in shown for word in COLOURS)
        rater.locator("#next").click() if number == 1 else rater.keyboard.press("Enter")
    assert prompts == {f"a sks person, {clip}" for clip in CLIPS}

    answers = save(rater, "#save-end", tmp_path)
    assert len(answers["answers"]) == 12 and {each["clip"] for each in answers["answers"]} == set(CLIPS)
    header, _, ours, theirs = (line.split(" | ") for line in run("blind_tally", tmp_path / "answers Ann.json").splitlines())
    assert [name.strip(" |") for name in header[1:]] == [
        "Identity Fidelity",
        "Text Alignment",
        "Dynamic Degree",
        "Overall Quality",
    ]
    assert [cell.split(" ")[0] for cell in ours[1:]] == ["100%", "50%", "0%", "100%"]
    assert [cell.split(" ")[0] for cell in theirs[1:]] == ["0%", "50%", "100%", "0%"]


def test_a_pair_cannot_be_left_with_a_question_open(rater):
    side_of(rater, "ours")
    for _ in range(3):
        rater.keyboard.press("ArrowLeft")
    rater.keyboard.press("Enter")
    assert rater.locator("#next").is_disabled() and rater.locator("#place").inner_text() == "1 of 3"
    rater.keyboard.press("ArrowDown")
    rater.keyboard.press("Enter")
    assert rater.locator("#place").inner_text() == "2 of 3"


def test_who_closes_the_page_goes_on_where_they_were(rater, tmp_path):
    answer_pair(rater)
    rater.keyboard.press("Enter")
    rater.reload()
    assert rater.input_value("#rater") == "Ann"
    rater.click("#start")
    assert rater.locator("#place").inner_text() == "2 of 3"
    rater.click("#back")
    assert rater.locator("button[aria-pressed=true]").count() == 4
    mine = side_of(rater, "ours")
    kept = {each["question"]: each for each in save(rater, "#save", tmp_path)["answers"]}
    assert kept["Identity Fidelity"]["choice"] == kept["Identity Fidelity"][mine] == "ours"
    assert kept["Text Alignment"]["choice"] is None


def test_raters_at_the_same_computer_do_not_share_answers(rater):
    answer_pair(rater)
    rater.keyboard.press("Enter")
    for name, where, answered in (("Bob", "1 of 3", 0), ("Ann", "2 of 3", 4)):
        rater.reload()
        rater.fill("#rater", name)
        rater.click("#start")
        assert rater.locator("#place").inner_text() == where
        if answered:
            rater.click("#back")
        assert rater.locator("button[aria-pressed=true]").count() == answered
