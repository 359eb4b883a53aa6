"""``make screenshots`` takes the pictures for README, help and template browser in the real frontend.

    .venv/bin/python -m tools.pictures.screenshots [--only templates training mistake sampling thumbnails]

`docs/screenshots` gets what a user sees (each template, training, its result, a mistake, a sampled video),
`docs/training.webp` a whole training in a few seconds, and `workflows` the templates' thumbnails, which are made from what
the demo sampled.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image

from devkit.comfy_client import PromptError
from devkit.comfy_host import ROOT, find_host
from devkit.comfy_server import ComfyServer
from tools.pictures.browser import Browser, Screen
from tools.pictures.thumbnails import write_thumbnails

SHOTS = ROOT / "docs" / "screenshots"
CLIP = ROOT / "docs" / "training.webp"
KEPT = ROOT / "output" / "screenshots"
"""Where sampled videos are kept from one run to the next, so that thumbnails can be made alone."""

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
TRAIN, IDENTITY, CHART, ANIMATION = (
    "PersonalVideoTrainAdapter", "PersonalVideoLoadIdentityImages", "LossGraphNode", "SaveAnimatedWEBP",
)  # fmt: skip
TRAINING = (TRAIN, IDENTITY, CHART, ANIMATION)
CLIP_WIDTH, CLIP_FRAMES, CLIP_MS = 900, 60, 250
HOUR = 3600


def templates(browser: Browser, server: ComfyServer) -> None:
    screen = browser.open(server)
    for path in WORKFLOWS:
        screen.open_template(path.stem)
        close_overlay(screen)
        screen.picture(SHOTS / f"{path.stem}.jpg")
    screen.close()


def training(browser: Browser, server: ComfyServer) -> None:
    """Run the whole of Demo 1, with a picture every second for the animation."""
    screen = browser.open(server)
    screen.open_template("Demo 1 - Train an identity")
    screen.zoom_to(*TRAINING)
    frames, halfway = [], False
    screen.press_run()

    def look() -> bool:
        nonlocal halfway
        node = screen.node(TRAIN)
        frames.append(screen.page.screenshot(type="jpeg", quality=80))
        if not halfway and (node["progress"] or 0) > 0.4 and node["pictures"]:
            screen.picture(SHOTS / "training.jpg")
            halfway = True
        return screen.page.evaluate("() => window.ends.length > 0")

    screen.wait_until(look, HOUR, every=1.0)
    screen.wait_end(1)
    screen.pause(3000)
    screen.picture(SHOTS / "result.jpg")
    frames.append(screen.page.screenshot(type="jpeg", quality=80))
    write_clip(frames)
    keep(server, "before and after", "before and after")
    screen.close()


def write_clip(shots: list[bytes]) -> None:
    """Write an animation of at most `CLIP_FRAMES` of the shots, without the frontend's own bars."""
    chosen = [shots[round(i * (len(shots) - 1) / (CLIP_FRAMES - 1))] for i in range(min(CLIP_FRAMES, len(shots)))]
    pictures = []
    for shot in chosen:
        picture = Image.open(io.BytesIO(shot))
        picture = picture.crop((60, 95, picture.width, picture.height))
        pictures.append(picture.resize((CLIP_WIDTH, CLIP_WIDTH * picture.height // picture.width), Image.Resampling.LANCZOS))
    durations = [CLIP_MS] * (len(pictures) - 1) + [3000]
    pictures[0].save(CLIP, save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=55, method=4)


def mistake(browser: Browser, server: ComfyServer) -> None:
    screen = browser.open(server)
    screen.open_template("Demo 1 - Train an identity")
    screen.set(TRAIN, "start_percent", 0.99)
    screen.press_run()
    try:
        screen.wait_end(HOUR)
    except PromptError:
        screen.picture(SHOTS / "mistake.jpg")
    screen.close()


def sampling(browser: Browser, server: ComfyServer) -> None:
    for name, shot in (
        ("Demo 2 - Sample with identity and style LoRA", "sample"), ("Demo 3 - Two style LoRAs", "two styles"),
        ("Demo 4 - Evaluate a video", "evaluate"), ("Demo 5 - Core KSampler", "core"),
    ):  # fmt: skip
        screen = browser.open(server)
        screen.open_template(name)
        screen.press_run()
        screen.wait_end(HOUR)
        screen.pause(3000)
        screen.picture(SHOTS / f"{shot}.jpg")
        if shot == "evaluate":
            keep_plot(screen, shot)
        else:
            keep(server, "demo", shot)
        screen.close()


def keep(server: ComfyServer, prefix: str, name: str) -> None:
    """Keep the newest animation that was saved with that prefix as `name`."""
    newest = max((server.base / "output" / "personalvideo").glob(f"{prefix}_*.webp"), key=lambda path: path.stat().st_mtime)
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.webp").write_bytes(newest.read_bytes())


def keep_plot(screen: Screen, name: str) -> None:
    address = screen.page.evaluate("() => app.graph.nodes.find(n => n.type === 'PersonalVideoEvaluateVideo').imgs[0].src")
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.png").write_bytes(screen.page.request.get(address).body())


def close_overlay(screen: Screen) -> None:
    """Close the list of models that this machine does not have."""
    button = screen.page.get_by_test_id("error-overlay-dismiss")
    if button.count():
        button.click()
        screen.pause(300)


def main() -> None:
    parts = {"thumbnails": None, "templates": templates, "mistake": mistake, "sampling": sampling, "training": training}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    only = parser.parse_args().only
    if work := [parts[name] for name in parts if name in only and parts[name]]:
        with tempfile.TemporaryDirectory() as base, ComfyServer(find_host(), Path(base)) as server, Browser() as browser:
            for part in work:
                part(browser, server)
    if "thumbnails" in only:
        write_thumbnails(KEPT, WORKFLOWS)


if __name__ == "__main__":
    main()
