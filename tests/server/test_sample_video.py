"""Sample Video in the running server: what the core KSampler shows and makes, and a file that says what it is."""

import json
from io import BytesIO

import av
import comfy.utils
import pytest
import torch
from comfy.taesd.taehv import TAEHV
from PIL import Image

from devkit import tiny_vaes
from devkit.graphs import sample_graph

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
SAVE_VIDEO = {
    "class_type": "SaveVideo",
    "inputs": {"video": ["sample", 2], "filename_prefix": "marked", "format": "auto", "codec": "auto"},
}
WORKFLOW = {"nodes": [], "made": "by hand"}


@pytest.fixture(scope="module")
def fast_decoder(server):
    """A random TAEHV where the host looks for the one that decodes Wan's previews."""
    torch.manual_seed(0)
    folder = server.base / "models" / "vae_approx"
    folder.mkdir(exist_ok=True)
    comfy.utils.save_torch_file(tiny_vaes.random_state(TAEHV(16)), str(folder / "lighttaew2_1.safetensors"))


def run(server, graph, on_event=None, **extra_data):
    """The run as the frontend queues it, with the workflow and the preview method of its settings."""
    extra_data["extra_pnginfo"] = {"workflow": WORKFLOW}
    answer = server.post("/prompt", json={"prompt": graph, "client_id": server.client_id, "extra_data": extra_data})
    return server.wait(answer.json()["prompt_id"], timeout=120, on_event=on_event)


def both_samplers(seed):
    """Sample Video and the core KSampler on the same inputs, with their latents saved; the demo has a latent for each frame."""
    graph = sample_graph(sample={"seed": seed, "cfg": 2.0})
    inputs = graph["sample"]["inputs"]
    shared = {
        name: inputs[name] for name in ("model", "positive", "negative", "seed", "steps", "cfg", "sampler_name", "scheduler")
    }
    graph |= {
        "empty": {"class_type": "EmptyHunyuanLatentVideo", "inputs": {"width": 64, "height": 64, "length": 13, "batch_size": 1}},
        "core": {"class_type": "KSampler", "inputs": shared | {"latent_image": ["empty", 0], "denoise": 1.0}},
        "latent sample": {"class_type": "SaveLatent", "inputs": {"samples": ["sample", 0], "filename_prefix": "sample"}},
        "latent core": {"class_type": "SaveLatent", "inputs": {"samples": ["core", 0], "filename_prefix": "core"}},
    }
    return graph


@pytest.mark.parametrize("method", ["latent2rgb", "taesd"])
def test_live_previews_progress_and_latents_are_those_of_the_core_sampler(server, fast_decoder, method):
    shown = {"sample": [], "core": []}
    node = None

    def watch(kind, data):
        nonlocal node
        if kind == "progress":
            node = data["node"]
            if node in shown:
                shown[node].append((data["value"], data["max"]))
        elif kind == "preview" and node in shown:
            shown[node].append(data)

    done = run(server, both_samplers(seed=3 if method == "taesd" else 4), watch, preview_method=method)
    assert shown["sample"] == shown["core"]
    pictures = [item for item in shown["core"] if isinstance(item, bytes)]
    assert len(set(pictures)) == 4 and all(Image.open(BytesIO(picture)).size == (512, 512) for picture in pictures)
    latents = [server.view(done.files(f"latent {name}")[0]) for name in shown]
    assert len(latents[0]) > 2048 and tensors(latents[0]) == tensors(latents[1])


def tensors(file: bytes) -> bytes:
    """What follows the header of a safetensors file."""
    return file[8 + int.from_bytes(file[:8], "little") :]


def test_saved_video_carries_the_workflow_and_says_that_it_is_synthetic(server):
    graph = sample_graph(video=SAVE_VIDEO)
    done = run(server, graph)
    file = server.view(done.files("video")[0])
    with av.open(BytesIO(file)) as container:
        tags = container.metadata
        assert json.loads(tags["workflow"]) == WORKFLOW
        assert json.loads(tags["prompt"])["sample"] == graph["sample"]
        assert tags["DigitalSourceType"] == DIGITAL_SOURCE_TYPE and tags["comment"].startswith("Synthetic")
        assert sum(1 for frame in container.decode(video=0)) == 4
    assert xmp_boxes(file) == [True]


def xmp_boxes(file: bytes) -> list[bool]:
    """For each XMP packet among the boxes of an ISO media file, whether it names IPTC's term for synthetic media."""
    found, at = [], 0
    while at < len(file):
        size, kind = int.from_bytes(file[at : at + 4], "big"), file[at + 4 : at + 8]
        assert size >= 8 and at + size <= len(file)
        if kind == b"uuid" and file[at + 8 : at + 24].hex() == "be7acfcb97a942e89c71999491e3afac":
            found.append(f'Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"'.encode() in file[at + 24 : at + size])
        at += size
    return found


@pytest.mark.parametrize("options", [{}, {"crf": 10.0}, {"bit_depth": 10}])
def test_mark_leaves_frames_and_metadata_as_the_host_writes_them(pack, tmp_path, options):
    components = pack.nodes.synthetic_video.Types.VideoComponents(torch.rand(5, 32, 48, 3), 12)
    plain, marked = tmp_path / "plain.mp4", tmp_path / "marked.mp4"
    video = pack.nodes.synthetic_video.SyntheticVideo(components)
    type(video).__base__(components).save_to(str(plain), metadata={"prompt": {"a": 1}}, **options)
    video.save_to(str(marked), metadata={"prompt": {"a": 1}}, **options)
    assert frames(marked) == frames(plain)
    with av.open(str(marked)) as container, av.open(str(plain)) as reference:
        assert dict(reference.metadata).items() <= dict(container.metadata).items()
        assert container.duration == reference.duration


def frames(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]


def test_mark_survives_trimming(pack, tmp_path):
    components = pack.nodes.synthetic_video.Types.VideoComponents(torch.rand(8, 32, 32, 3), 8)
    video = pack.nodes.synthetic_video.SyntheticVideo(components)
    video.as_trimmed(0.0, 0.5).save_to(str(tmp_path / "short.mp4"))
    with av.open(str(tmp_path / "short.mp4")) as container:
        assert container.metadata["DigitalSourceType"] == DIGITAL_SOURCE_TYPE


def test_saved_pictures_carry_the_workflow(server):
    done = run(server, sample_graph(sample={"seed": 11}))
    exif = Image.open(BytesIO(server.view(done.files("save")[0]))).getexif()
    assert json.loads(exif[0x010F].removeprefix("workflow:")) == WORKFLOW
