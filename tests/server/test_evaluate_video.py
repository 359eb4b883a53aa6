"""Evaluate Identity Video in the running server: a real video file, and everything that can be wrong with one."""

import shutil
from io import BytesIO

import numpy as np
import pytest
import torch
from comfy_api.latest import InputImpl
from PIL import Image
from torchvision.models.optical_flow import raft_large

from devkit.comfy_client import PromptError
from devkit.graphs import sample_graph

PROMPT = "a sks person in the snow, wearing a blue shirt, moving left"
VIDEO = "evaluate.mp4"


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def evaluation(images, **changes):
    """The graph of the node on ``images``, with its outputs shown as text; None takes an input away."""
    inputs = {
        "images": images, "identity": ["identity", 0], "face_model": ["demo", 4], "prompt": PROMPT,
        "semantic_reward": ["demo", 5], "fps": 8.0,
    } | changes  # fmt: skip
    return {
        "demo": node("PersonalVideoLoadDemo"),
        "identity": node("PersonalVideoLoadIdentityImages", face_model=["demo", 3], folder="demo/Aro"),
        "evaluate": node("PersonalVideoEvaluateVideo", **{name: value for name, value in inputs.items() if value is not None}),
        "table": node("PreviewAny", source=["evaluate", 0]),
        "plot": node("PreviewImage", images=["evaluate", 1]),
        "similarity": node("PreviewAny", source=["evaluate", 2]),
        "dynamic": node("PreviewAny", source=["evaluate", 3]),
    }


def still(width=64, height=64, frames=4, colour=0x808080):
    return {"still": node("EmptyImage", width=width, height=height, batch_size=frames, color=colour)}


def table(run):
    """{metric: (value, how)} of the table on the node."""
    lines = run.outputs["evaluate"]["text"][0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {metric: (value, how) for metric, value, how in cells}


def picture(server, run, name="plot"):
    return np.asarray(Image.open(BytesIO(server.view(run.files(name)[0]))))


@pytest.fixture(scope="module")
def video(server):
    """A file that Sample Video and Save Video wrote, with an identity LoRA, moved into the input folder."""
    graph = sample_graph(
        positive={"text": PROMPT},
        apply={"lora_name": "demo identity Aro.safetensors"},
        sample={"length": 8, "steps": 8, "cfg": 2.0},
        save={
            "class_type": "SaveVideo",
            "inputs": {"video": ["sample", 2], "filename_prefix": "evaluate", "format": "mp4", "codec": "h264"},
        },
    )
    run = server.run(graph, timeout=120)
    saved = run.files("save")[0]
    shutil.move(server.base / "output" / saved["subfolder"] / saved["filename"], server.base / "input" / VIDEO)
    return server.base / "input" / VIDEO


@pytest.fixture(scope="module")
def scored(server, video):
    """The run of Load Video -> Get Video Components -> Evaluate Identity Video."""
    graph = evaluation(["parts", 0], fps=["parts", 2]) | {
        "load": node("LoadVideo", file=VIDEO),
        "parts": node("GetVideoComponents", video=["load", 0]),
    }
    return server.run(graph, timeout=120)


def test_a_video_file_is_scored(scored, video, pack, demo):
    """The server's figures are those of the metrics on the file's frames."""
    evaluated = pack.evaluation
    parts = InputImpl.VideoFromFile(str(video)).get_components()
    frames = evaluated.frames.frames_of(parts.images)
    judge = pack.demo.load.load_face_model("judge")
    references = evaluated.face_similarity.reference_embeddings(demo.identity, judge)
    faces = evaluated.face_similarity.face_similarity(judge, frames, references)
    dynamics = evaluated.dynamic_degree.dynamic_degree(frames, 8.0, evaluated.lucas_kanade.lucas_kanade)
    features = evaluated.clip_metrics.image_features(demo.semantic_reward, frames)
    text = demo.semantic_reward.encode_text([PROMPT])[0]

    rows = table(scored)
    assert len(frames) == 8 and rows["Video"] == ("8 frames", "64 x 64 pixels, 8 frames a second")
    assert rows["Face Similarity"][0] == f"{faces.score:.3f}" and faces.score > 0.5  # a LoRA of this very person
    assert rows["Frames with a face"][0] == "16 of 16"
    assert rows["Dynamic Degree"][0] == ("moves" if dynamics.moves else "does not move")
    assert rows["Flow, strongest 5 %"][0] == f"{dynamics.strength:.2f} pixels"
    assert rows["Flow, all pixels"][0] == f"{dynamics.mean:.2f} pixels"
    assert rows["Temporal Consistency"][0] == f"{evaluated.clip_metrics.temporal_consistency(features):.4f}"
    assert rows["CLIP-T"][0] == f"{evaluated.clip_metrics.clip_t(features, text):.2f}"
    assert float(scored.outputs["similarity"]["text"][0]) == pytest.approx(faces.score, abs=1e-5)
    assert float(scored.outputs["dynamic"]["text"][0]) == pytest.approx(dynamics.strength, abs=1e-4)


def test_the_table_goes_out_as_it_is_shown_and_says_whose_flow_it_is(scored):
    assert scored.outputs["table"]["text"][0] == scored.outputs["evaluate"]["text"][0]
    how = table(scored)["Dynamic Degree"][1]
    assert "flow: Lucas-Kanade" in how and "raft_large_C_T_V1-22a6c225.pth of torchvision is not in models/optical_flow" in how
    assert "Attention" not in table(scored)


def test_the_plot_is_on_the_node_and_goes_out_as_it_is_shown(server, scored):
    shown, out = picture(server, scored, "evaluate"), picture(server, scored)
    assert shown.shape == out.shape and shown.shape[1] == 1040 and (shown == out).all()
    blue = (shown == np.array([0, 114, 178])).all(-1)
    assert blue[180:400].any() and blue[400:660].any() and blue[660:].any()  # boxes of faces, and both curves


def test_another_person_scores_lower(server, scored):
    graph = evaluation(["parts", 0]) | {
        "load": node("LoadVideo", file=VIDEO),
        "parts": node("GetVideoComponents", video=["load", 0]),
    }
    graph["identity"]["inputs"]["folder"] = "demo/Bina"
    other = server.run(graph, timeout=120)
    assert float(other.outputs["similarity"]["text"][0]) < float(scored.outputs["similarity"]["text"][0]) - 0.3


def test_raft_is_used_when_its_weights_are_there_and_named_when_they_are_damaged(server, video):
    folder = server.base / "models" / "optical_flow"
    folder.mkdir(parents=True, exist_ok=True)
    weights, others = folder / "raft_large_C_T_V1-22a6c225.pth", folder / "raft_large_other.pth"
    graph = evaluation(["some", 0], semantic_reward=None) | {
        "load": node("LoadVideo", file=VIDEO),
        "parts": node("GetVideoComponents", video=["load", 0]),
        "some": node("ImageFromBatch", image=["parts", 0], batch_index=0, length=2),
    }
    try:
        torch.save(raft_large(weights=None).state_dict(), others)
        how = table(server.run(graph, timeout=120))["Dynamic Degree"][1]
        assert how.endswith(
            "flow: RAFT (raft_large_other.pth); not VBench's flow, whose weights are raft_large_C_T_V1-22a6c225.pth"
        )
        shutil.copy(others, weights)
        graph["evaluate"]["inputs"]["prompt"] = "with VBench's"
        how = table(server.run(graph, timeout=120))["Dynamic Degree"][1]
        assert how.endswith("flow: RAFT (raft_large_C_T_V1-22a6c225.pth)")
        weights.write_bytes(weights.read_bytes()[:1000])
        graph["evaluate"]["inputs"]["prompt"] = "again"
        how = table(server.run(graph, timeout=120))["Dynamic Degree"][1]
        assert "flow: Lucas-Kanade" in how and "raft_large_C_T_V1-22a6c225.pth cannot be used" in how
    finally:
        weights.unlink()
        others.unlink()


# trouble: (frames, changed inputs, {row: words of its value or explanation})
TROUBLES = {
    "the judge was the reward": (
        still(), {"face_model": ["demo", 3]}, {"Attention": "judge: demo is the very network that training rewarded"}
    ),
    "no frame shows a face": (
        still(), {}, {"Face Similarity": "finds no face in any frame", "Frames with a face": "0 of 16"}
    ),
    "a still video": (still(), {}, {"Dynamic Degree": "does not move", "Flow, strongest 5 %": "0.00 pixels"}),
    "one frame": (
        still(frames=1), {},
        {"Dynamic Degree": "a single frame", "Flow, all pixels": "not measured", "Temporal Consistency": "a single frame"},
    ),
    "odd size": (still(width=97, height=65, frames=3), {}, {"Video": "97 x 65 pixels"}),
    "no prompt": (still(), {"prompt": "  "}, {"CLIP-T": "enter the prompt of the video"}),
    "no semantic reward": (
        still(), {"semantic_reward": None}, {"CLIP-I": "connect semantic_reward", "CLIP-T": "not measured"}
    ),
    "left at its defaults": (still(), {"prompt": None, "fps": None, "semantic_reward": None}, {"Video": "8 frames a second"}),
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble_gets_its_row(server, trouble):
    frames, changes, rows = TROUBLES[trouble]
    run = server.run(frames | evaluation(["still", 0], **changes), timeout=120)
    shown = table(run)
    for metric, words in rows.items():
        assert words in " ".join(shown[metric])
    assert picture(server, run).std() > 1


@pytest.mark.parametrize(
    ("frames", "changes", "words"),
    [
        (still(width=16, height=24), {}, "images: frames of 16 x 24 pixels show no face; use frames of 32 or more a side."),
        (still(), {"fps": ["zero", 0]}, "fps: 0 is no number of frames a second; enter that of the video"),
    ],
)
def test_mistake_gets_its_sentence(server, frames, changes, words):
    zero = {"zero": node("PrimitiveFloat", value=0.0)}
    with pytest.raises(PromptError) as caught:
        server.run(frames | zero | evaluation(["still", 0], **changes), timeout=120)
    assert words in str(caught.value) and caught.value.node_type == "PersonalVideoEvaluateVideo"


def test_cancel_answers_at_once(server):
    """Cancel takes effect long before the flow of all pairs is computed."""

    def cancel(kind, data):
        if kind == "progress":
            server.interrupt()

    with pytest.raises(PromptError) as caught:
        server.run(still(512, 512, frames=100) | evaluation(["still", 0]), timeout=60, on_event=cancel)
    assert caught.value.kind == "interrupted" and caught.value.node_type == "PersonalVideoEvaluateVideo"


def test_out_of_memory_names_the_size(pack, demo, monkeypatch):
    def full(frames):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    judge = pack.demo.load.load_face_model("judge")
    monkeypatch.setattr(judge, "find", full)
    with pytest.raises(ValueError, match="^images: out of memory at 96 x 64 pixels; scale the frames down first[.]$"):
        pack.nodes.evaluate_video.EvaluateVideo.execute(torch.zeros(2, 64, 96, 3), demo.identity, judge)


def test_frames_with_alpha_grey_ones_and_holes_are_scored_as_their_pictures(pack):
    frames = pack.evaluation.frames
    colour = torch.rand(2, 40, 50, 3)
    assert torch.equal(frames.frames_of(torch.cat([colour, torch.rand(2, 40, 50, 1)], -1)), colour.movedim(-1, 1))
    assert torch.equal(frames.frames_of(colour[..., :1]), colour[..., :1].movedim(-1, 1).expand(-1, 3, -1, -1))
    holes = torch.tensor([float("nan"), -1.0, 2.0, 0.25])
    assert frames.tidy(holes, "cpu").tolist() == [0, 0, 1, 0.25]


def test_a_batch_without_a_frame_is_an_error(pack):
    with pytest.raises(ValueError, match="^images: there is no frame in it"):
        pack.evaluation.frames.frames_of(torch.zeros(0, 64, 64, 3))
