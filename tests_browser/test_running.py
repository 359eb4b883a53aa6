"""The Run and Cancel buttons on the demo's templates: what a user sees while it works, afterwards, and after a mistake."""

import re
from functools import partial

import pytest

from devkit.comfy_client import PromptError

TRAIN = "PersonalVideoTrainAdapter"
TRAIN_TEMPLATE, SAMPLE_TEMPLATE = "Demo 1 - Train an identity", "Demo 2 - Sample with identity and style LoRA"
MINUTES = 60


def texts_until_end(screen, kind: str, timeout: float) -> tuple[list[str], list[float], int]:
    """What the node shows until the run ends: its lines of text, its progress, and how many pictures it had at most."""
    texts, progress, pictures = [], [], 0

    def look() -> bool:
        nonlocal pictures
        node = screen.node(kind)
        if node["text"] and node["text"] not in texts:
            texts.append(node["text"])
        if node["progress"] is not None:
            progress.append(node["progress"])
        pictures = max(pictures, len([width for width in node["pictures"] if width]))
        return screen.page.evaluate("() => window.ends.length > 0")

    screen.wait_until(look, timeout, every=0.1)
    screen.wait_end(1)
    return texts, progress, pictures


def shows_pictures(screen, kind, count) -> bool:
    return sum(width > 0 for width in screen.node(kind)["pictures"]) == count


def test_training_shows_its_progress_its_preview_and_its_results(screen, server):
    screen.open_template(TRAIN_TEMPLATE)
    screen.set(TRAIN, "steps", 12)
    screen.press_run()
    texts, progress, pictures = texts_until_end(screen, TRAIN, 15 * MINUTES)
    assert any("clips" in text for text in texts) and any("of 12" in text for text in texts)
    assert any("left" in text and "similarity" in text for text in texts)
    assert any(0 < part < 1 for part in progress)
    assert pictures > 0
    for kind, count in (("PreviewImage", 5), ("LossGraphNode", 1), ("SaveAnimatedWEBP", 1)):
        screen.wait_until(partial(shows_pictures, screen, kind, count), 60)
    assert screen.node("SaveAnimatedWEBP")["animated"]
    report = screen.page.evaluate("() => app.graph.nodes.find(n => n.title === 'Report').widgets.map(w => w.value).join()")
    assert "12 steps" in report and ".safetensors" in report

    (lora,) = (server.base / "output" / "loras").glob("demo identity_*.safetensors")
    screen.page.keyboard.press("r")
    screen.pause()
    assert lora.name in screen.page.evaluate(
        "() => LiteGraph.createNode('PersonalVideoApplyLateStepLora').widgets[0].options.values"
    )


@pytest.mark.parametrize("name", [SAMPLE_TEMPLATE, "Demo 3 - Two style LoRAs", "Demo 5 - Core KSampler"])
def test_sampling_shows_the_video(screen, name):
    screen.open_template(name)
    screen.press_run()
    screen.wait_end(5 * MINUTES)
    screen.wait_until(lambda: screen.node("SaveAnimatedWEBP")["pictures"] == [64], 60)
    assert screen.node("SaveAnimatedWEBP")["animated"]
    screen.wait_until(lambda: screen.page.locator("video").count() == 1, 60)


def test_evaluation_shows_table_and_plot(screen):
    screen.open_template("Demo 4 - Evaluate a video")
    screen.press_run()
    screen.wait_end(5 * MINUTES)
    screen.wait_until(lambda: min(screen.node("PersonalVideoEvaluateVideo")["pictures"], default=0) > 0, 60)
    assert "Face Similarity" in screen.node("PersonalVideoEvaluateVideo")["text"]
    table = screen.page.evaluate("() => app.graph.nodes.find(n => n.title.startsWith('Table')).widgets.map(w => w.value).join()")
    assert "Face Similarity" in table and "Dynamic" in table


def test_cancel_says_where_the_work_is(screen, server):
    screen.open_template(TRAIN_TEMPLATE)
    screen.set(TRAIN, "seed", 7)
    screen.set(TRAIN, "steps", 100)
    screen.set(TRAIN, "filename_prefix", "loras/cancelled")
    screen.press_run()
    screen.wait_until(lambda: re.search(r"step [2-9]|step \d\d", screen.node(TRAIN)["text"]), 15 * MINUTES)
    screen.press_cancel()
    with pytest.raises(PromptError) as caught:
        screen.wait_end(60)
    assert caught.value.kind == "interrupted"
    (lora,) = (server.base / "output" / "loras").glob("cancelled_*.safetensors")
    text = screen.node(TRAIN)["text"]
    assert text.startswith("Cancelled at step") and lora.name in text


MISTAKES = {
    "window without a step": (TRAIN, "start_percent", 0.99, "none of the 16 sampling steps lies after 0.99"),
    "width between tokens": (TRAIN, "width", 72, "width: 72 is not a multiple of 16; use 64 or 80"),
    "another trigger word than the prompts'": (TRAIN, "trigger_word", "ohwx", "does not contain the trigger word ohwx"),
}
REFUSAL = ("PersonalVideoLoadIdentityImages", "folder", "empty folder", "choose another folder")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_explained_on_the_node_that_made_it(screen, mistake):
    kind, widget, value, sentence = MISTAKES[mistake]
    screen.open_template(TRAIN_TEMPLATE)
    screen.set(kind, widget, value)
    screen.press_run()
    with pytest.raises(PromptError):
        screen.wait_end(3 * MINUTES)
    shown = screen.node(kind)
    assert sentence in shown["text"] and shown["stroke"]
    assert screen.page.get_by_test_id("error-overlay").is_visible()
    seen = screen.page.locator(".dom-widget").all_inner_texts()
    assert any(sentence in text for text in seen)


def test_refused_input_is_explained_on_its_node(screen):
    kind, widget, value, sentence = REFUSAL
    screen.open_template(TRAIN_TEMPLATE)
    screen.set(kind, widget, value)
    screen.press_run()
    screen.wait_until(lambda: sentence in screen.node(kind)["text"], 60)
    screen.pause()
    assert screen.page.get_by_test_id("error-overlay").is_visible()
    assert any(sentence in text for text in screen.page.locator(".dom-widget").all_inner_texts())


def test_refused_prompts_are_explained_while_the_rest_of_the_workflow_runs(screen):
    """ComfyUI runs what does not need the refused node, and answers as if nothing were wrong."""
    screen.open_template(TRAIN_TEMPLATE)
    screen.set("PersonalVideoSimulatedPrompts", "prompts", "a dog on the beach")
    screen.press_run()
    screen.wait_end(MINUTES)
    screen.pause()
    sentence = 'line 1 ("a dog on the beach") has neither V nor the trigger word "sks"'
    assert sentence in screen.node("PersonalVideoSimulatedPrompts")["text"]
    assert any(sentence in text for text in screen.page.locator(".dom-widget").all_inner_texts())


def test_message_goes_away_with_the_next_run(screen):
    screen.open_template(TRAIN_TEMPLATE)
    screen.set(TRAIN, "width", 72)
    screen.press_run()
    with pytest.raises(PromptError):
        screen.wait_end(3 * MINUTES)
    screen.set(TRAIN, "start_percent", 0.99)
    screen.set(TRAIN, "width", 64)
    screen.press_run()
    with pytest.raises(PromptError):
        screen.wait_end(3 * MINUTES)
    assert "72" not in screen.node(TRAIN)["text"]
