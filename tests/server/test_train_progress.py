"""What the user sees on the Train node while it works, when it is cancelled, and when it is done."""

import re
import time
from io import BytesIO
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from devkit.comfy_client import PromptError
from devkit.graphs import train_graph

PHASES = ["Encoding prompts", "Original model's clips", "Training", "Comparison", "Done"]
DIGITAL_SOURCE_TYPE = b"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def listen(server, graph, react=lambda text: None):
    """The run, or how it ended, and the node's events in order.

    They are texts (str), bars (value, total), pictures (bytes), and None for the moment at which no node makes progress any
    more, so that the frontend forgets their pictures when they next do.
    """
    events = []

    def watch(kind, data):
        if kind == "text":
            events.append(data["text"])
            react(data["text"])
        elif kind == "progress" and data["node"] == "train":
            events.append((data["value"], data["max"]))
        elif kind == "preview":
            events.append(data)
        elif kind == "progress_state" and not data["nodes"]:
            events.append(None)

    try:
        end = server.run(graph, timeout=120, on_event=watch)
    except PromptError as error:
        end = error
    return end, events


@pytest.fixture(scope="module")
def finished(server):
    """A run of 12 steps, in a folder of its own."""
    return listen(server, train_graph(train={"steps": 12, "seed": 21, "filename_prefix": "loras/people/ada"}))


def texts(events):
    return [event for event in events if isinstance(event, str)]


def test_phases_are_named_in_their_order(finished):
    _, events = finished
    phases = [text.partition(":")[0] for text in texts(events)]
    assert [phase for phase in dict.fromkeys(phases) if phase in PHASES] == PHASES
    counted = [text for text in texts(events) if text.startswith("Encoding prompts") and text.endswith(" of 3")]
    assert counted[0] == "Encoding prompts: 1 of 3"  # the server's run before may still have a last word


def test_line_on_the_node_says_step_time_left_likeness_hit_rate_and_memory(finished):
    _, events = finished
    line = next(text for text in texts(events) if "step 12 of 12" in text)
    pattern = (
        r"Training: step 12 of 12, 0 s left; similarity -?\d\.\d\d, loss \d+\.\d{3}, faces found 100%, "
        r"memory \d+\.\d( of \d+\.\d)? GB"
    )
    assert re.fullmatch(pattern, line)


def test_bar_runs_over_clips_and_then_over_steps(finished):
    _, events = finished
    bars = [event for event in events if isinstance(event, tuple)]
    assert bars[0] == (1, 3) and (3, 3) in bars  # one held-out clip, two prompts
    steps = [value for value, total in bars if total == 12]
    assert steps == sorted(steps) and steps[-1] == 12


def test_previews_show_both_frames_enlarged(finished):
    _, events = finished
    pictures = [Image.open(BytesIO(event)) for event in events if isinstance(event, bytes)]
    assert pictures
    for picture in pictures:
        assert picture.format == "JPEG" and picture.size == (768, 384 + 36)
        left, right = (picture.crop((x, 36, x + 384, 420)) for x in (0, 384))
        assert len(set(left.resize((8, 8)).getdata())) > 8 and len(set(right.resize((8, 8)).getdata())) > 8


def test_live_preview_is_dropped_for_the_result(finished):
    _, events = finished
    last_picture = max(index for index, event in enumerate(events) if isinstance(event, bytes))
    dropped = events.index(None)
    assert last_picture < dropped and (12, 12) in events[dropped:]


def test_node_shows_the_clip_before_and_after_and_the_rewards(server, finished):
    run, _ = finished
    clip, plot = run.files("train")
    file = server.view(clip)
    picture = Image.open(BytesIO(file))
    assert picture.format == "WEBP" and picture.n_frames == 4 and DIGITAL_SOURCE_TYPE in file
    assert Image.open(BytesIO(server.view(plot))).size == picture.size == (512, 279)


def test_report_tells_likeness_before_and_after_time_memory_and_file(finished):
    run, events = finished
    (report,) = run.outputs["train"]["text"]
    before, after = re.search(r"similarity to the photos (\S+) before, (\S+) after", texts(events)[-1]).groups()
    assert -1 < float(before) < 1 and -1 < float(after) < 1
    assert f"on a clip that training never saw: {before} before, {after} after" in report
    for part in (
        "Saved as ada_",
        "judge the result with another",
        "rank 4",
        "Time of this run: ",
        "Original model's clips: 3, ",
        "GB at most",
        "trigger word: sks",
    ):
        assert part in report


def test_saved_lora_is_in_every_list(server, finished):
    nodes = server.object_info()
    for kind, name in (
        ("PersonalVideoApplyLateStepLora", "lora_name"),
        ("PersonalVideoTrainAdapter", "existing_lora"),
        ("LoraLoaderModelOnly", "lora_name"),
    ):
        assert "people/ada_00001_.safetensors" in str(nodes[kind]["input"]["required"][name]), kind


# phase: (what its text begins with, what the node says in the end)
CANCELLED = {
    "encoding prompts": ("Encoding prompts: 1", r"Cancelled before the first step; nothing was saved\."),
    "original model's clips": ("Original model's clips: 1", r"Cancelled before the first step; nothing was saved\."),
    "training": (
        "Training: step",
        r"Cancelled at step \d+; saved as people/phase_0000\d_\.safetensors; choose it under "
        r"existing_lora to go on\.",
    ),
}


@pytest.mark.parametrize("phase", CANCELLED)
def test_cancel_says_where_the_work_is(server, phase):
    begin, end = CANCELLED[phase]
    asked = []

    def cancel(text):
        if text.startswith(begin) and not asked:
            server.interrupt()
            asked.append(time.monotonic())

    prompts = train_graph()["train"]["inputs"]["prompts"]
    graph = train_graph(
        train={
            "steps": 5000,
            "seed": 30,
            "filename_prefix": "loras/people/phase",
            "bank_seeds": 20 if "clips" in phase else 1,
            "prompts": "\n".join([prompts] * 100) if phase == "encoding prompts" else prompts,
        }
    )
    ended, events = listen(server, graph, cancel)
    assert ended.kind == "interrupted" and time.monotonic() - asked[0] < 5
    assert re.fullmatch(end, texts(events)[-1])


def test_run_in_which_no_face_is_found_fails_with_a_remedy_and_keeps_its_work(server):
    failed, _ = listen(
        server, train_graph(train={"width": 16, "height": 16, "steps": 30, "filename_prefix": "loras/people/small"})
    )
    assert failed.kind == "failed" and str(failed) == (
        "A face was found in only 0% of the last 25 steps' frames; use prompts that show the face large and from the front, "
        "or raise width and height. Step 25 is saved as people/small_00001_.safetensors."
    )


class Watched:
    """A TrainProgress on a clock that the test moves; shown: texts, bars: (step, whether with a picture)."""

    def __init__(self, module, monkeypatch, first_step=0):
        self.now, self.shown, self.bars = 0.0, [], []
        self.record = SimpleNamespace(similarity=0.5, loss=0.5, hit_rate=1.0)
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.progress = module.TrainProgress("1", torch.device("cpu"), first_step, 1000, preview_every=10)
        monkeypatch.setattr(self.progress, "text", self.shown.append)
        monkeypatch.setattr(self.progress, "_bar", lambda value, total, picture=None: self.bars.append((value, bool(picture))))

    def say(self, line, seconds):
        self.now += seconds
        self.progress.say(line)

    def step(self, seconds):
        self.now += seconds
        frame = torch.zeros(1, 3, 64, 64)
        self.progress(self.record, (frame, frame))

    @property
    def left(self):
        return self.shown[-1].split(", ")[1].split(";")[0]


@pytest.fixture
def watched(pack, monkeypatch):
    return lambda **options: Watched(pack.nodes.train_progress, monkeypatch, **options)


def test_fast_steps_send_a_few_messages_a_second_and_no_picture_too_many(watched):
    run = watched()
    for _ in range(200):
        run.step(0.02)
    assert 10 <= len(run.shown) <= 17 and len(run.bars) == len(run.shown)
    assert sum(picture for _, picture in run.bars) >= 10


def test_slow_steps_each_send_a_bar_and_every_tenth_a_picture(watched):
    run = watched()
    for _ in range(30):
        run.step(30)
    assert run.bars == [(step, step % 10 == 0) for step in range(1, 31)]


def test_time_left_counts_neither_what_came_before_nor_a_slow_start(watched):
    run = watched()
    run.say("Encoding prompts: 1 of 2", 0)
    run.say("Original model's clips: 0 of 50", 5)
    run.say("Training: from step 0 to 1000", 3600)
    run.step(60)
    for _ in range(9):
        run.step(6)
    assert run.left == "1.6 h left"  # 990 steps of 6 s
    assert run.progress.seconds == {"Encoding prompts": 5, "Original model's clips": 3600, "Training": 60 + 9 * 6}


def test_time_left_of_a_resumed_run_is_that_of_its_own_steps(watched):
    run = watched(first_step=900)
    run.say("Training: from step 900 to 1000", 100)
    run.step(2)
    assert run.left == "3 min left"  # 99 steps of 2 s
