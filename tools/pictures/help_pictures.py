"""Draws the pictures of the help pages with the demo models, each from the output of the node itself.

    .venv/bin/python -m tools.pictures.help_pictures [words of the names]

PersonalVideoLoadMotionModule/graph.png alone is not among them: it is part of a screenshot.
"""

import sys
import tempfile
from pathlib import Path

from devkit.comfy_host import ROOT, find_host
from devkit.comfy_process import load_pack, open_host
from devkit.comfy_server import ComfyServer

DOCS = ROOT / "web" / "docs"
HELD_OUT = "a sks person in the forest, wearing a yellow shirt, moving down"  # one of demo/held_out.txt
PROMPT = "a sks person in the snow, wearing a blue shirt, nodding"
PROMPTS = (  # some of prompts/demo.txt
    "a sks person on the beach, wearing a red shirt, moving left",
    "a sks person in the forest, wearing a white shirt, moving down",
    "a sks person in the city at night, wearing a white shirt, nodding",
)
PERSON, OTHER = "Aro", "Hani"
LORA = f"demo identity {PERSON}.safetensors"
SEED = 3
SAMPLING = {
    "width": 64, "height": 64, "length": 8, "steps": 16, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple",
    "fps": 8.0,
}  # fmt: skip
CELL, GAP, LABEL, TEXT = 96, 6, 22, 14  # pixels
STRIP = (0, 2, 4, 6)  # the frames of a clip that are shown


class World:
    """The demo's nodes in one process: the models, people, and clips of them."""

    def __init__(self, pack):
        self.nodes = pack.nodes
        self.model, self.clip, self.vae, self.face_model, self.judge, self.scorer = self.run("load_demo", "LoadDemo")

    def run(self, module: str, node: str, **inputs):
        """The outputs of a node of ours for these inputs."""
        import torch

        with torch.inference_mode():
            return getattr(getattr(self.nodes, module), node).execute(**inputs).args

    def person(self, name: str):
        """The (identity, faces, report) of a person."""
        return self.run("load_identity_images", "LoadIdentityImages", face_model=self.face_model, folder=f"demo/{name}")

    def frames(self, prompt: str, strength: float = 1.0, start: float = -1.0):
        """A clip [F, H, W, 3] with the bundled identity."""
        import torch

        (model,) = self.run(
            "apply_late_step_lora",
            "ApplyLateStepLora",
            model=self.model,
            lora_name=LORA,
            strength_model=strength,
            start_percent=start,
            end_percent=-1.0,
        )
        with torch.inference_mode():
            positive, negative = (self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text)) for text in (prompt, ""))
        return self.run(
            "sample_video", "SampleVideo", model=model, positive=positive, negative=negative, vae=self.vae, seed=SEED, **SAMPLING
        )[1]


def picture(frame):
    """A frame [H, W, 3] in 0..1 as a cell of a sheet."""
    from PIL import Image

    return Image.fromarray((frame.clamp(0, 1) * 255).round().byte().cpu().numpy()).resize((CELL, CELL), Image.LANCZOS)


def sheet(rows: list[tuple[str, list]]):
    """A sheet of rows of pictures, each below its label; an empty label takes no room."""
    from PIL import Image, ImageDraw, ImageFont

    width = max(len(cells) for _, cells in rows) * (CELL + GAP) + GAP
    height = sum(CELL + GAP + (LABEL if label else 0) for label, _ in rows) + GAP
    canvas = Image.new("RGB", (width, height), "white")
    draw, top = ImageDraw.Draw(canvas), GAP
    for label, cells in rows:
        if label:
            draw.text((GAP, top), label, "black", ImageFont.load_default(TEXT))
            top += LABEL
        for column, cell in enumerate(cells):
            canvas.paste(cell, (GAP + column * (CELL + GAP), top))
        top += CELL + GAP
    return canvas


def number(value: float):
    from PIL import Image, ImageDraw, ImageFont

    cell = Image.new("RGB", (CELL, CELL), "white")
    ImageDraw.Draw(cell).text((CELL / 2, CELL / 2), f"{value:.2f}", "black", ImageFont.load_default(2 * TEXT), anchor="mm")
    return cell


def strip(clip) -> list:
    return [picture(clip[index]) for index in STRIP]


def photos(name: str) -> list:
    from PIL import Image

    files = sorted((ROOT / "demo" / "identities" / name).glob("*.png"))
    return [Image.open(path).convert("RGB").resize((CELL, CELL), Image.LANCZOS) for path in files]


def similarity(world: World):
    """How similar the photos of two people are to each other."""
    import torch
    from PIL import Image

    shown = [(person, index) for person in (PERSON, OTHER) for index in (0, 1)]
    embeddings = torch.stack([world.person(person)[0].embeddings[index] for person, index in shown])
    cells = [photos(person)[index] for person, index in shown]
    empty = Image.new("RGB", (CELL, CELL), "white")
    return sheet(
        [("", [empty, *cells])]
        + [("", [cell, *map(number, row)]) for cell, row in zip(cells, (embeddings @ embeddings.T).tolist())]
    )


def faces(world: World):
    return sheet([("", photos(PERSON)), ("", [picture(face) for face in world.person(PERSON)[1]])])


def scores(world: World):
    """One frame from each of three clips, with its score for the prompt of the first."""
    import torch

    frames = [world.frames(prompt)[0] for prompt in PROMPTS]
    with torch.inference_mode():
        text = world.scorer.encode_text([PROMPTS[0]])[0]
        values = world.scorer.score(torch.stack(frames).movedim(-1, 1), text).tolist()
    cells = [cell for frame, value in zip(frames, values) for cell in (picture(frame), number(value))]
    return sheet([(PROMPTS[0], cells)])


def prompts(world: World):
    return sheet([(prompt, strip(world.frames(prompt))) for prompt in PROMPTS])


def window(world: World):
    rows = [("strength_model 0", world.frames(PROMPT, strength=0.0))]
    rows += [(f"start_percent {start:g}", world.frames(PROMPT, start=start)) for start in (0.75, 0.5, 0.0)]
    return sheet([(label, strip(clip)) for label, clip in rows])


def clip(world: World):
    return sheet([("", [picture(frame) for frame in world.frames(PROMPT)])])


def before_after(world: World):
    return sheet([("", strip(world.frames(HELD_OUT, strength=0.0))), ("", strip(world.frames(HELD_OUT)))])


def people(world: World):
    names = sorted(path.name for path in (ROOT / "demo" / "identities").iterdir() if path.is_dir())
    cells = [photos(name)[0] for name in names]
    return sheet([("", cells[:6]), ("", cells[6:])])


def plot(world: World):
    """The picture that Evaluate Identity Video shows for a clip; the node has to run in a server for it."""
    import io

    from PIL import Image

    def node(kind: str, **inputs) -> dict:
        return {"class_type": kind, "inputs": inputs}

    graph = {
        "demo": node("PersonalVideoLoadDemo"),
        "identity": node("PersonalVideoLoadIdentityImages", face_model=["demo", 3], folder=f"demo/{PERSON}"),
        "model": node(
            "PersonalVideoApplyLateStepLora",
            model=["demo", 0],
            lora_name=LORA,
            strength_model=1.0,
            start_percent=-1.0,
            end_percent=-1.0,
        ),
        "text": node("CLIPTextEncode", clip=["demo", 1], text=PROMPT),
        "clip": node(
            "PersonalVideoSampleVideo",
            model=["model", 0],
            positive=["text", 0],
            negative=["text", 0],
            vae=["demo", 2],
            seed=SEED,
            **SAMPLING,
        ),
        "plot": node(
            "PersonalVideoEvaluateVideo",
            images=["clip", 1],
            identity=["identity", 0],
            face_model=["demo", 4],
            prompt=PROMPT,
            semantic_reward=["demo", 5],
            fps=8.0,
        ),
    }
    with tempfile.TemporaryDirectory() as base, ComfyServer(find_host(), Path(base)) as server:
        return Image.open(io.BytesIO(server.view(server.run(graph).files("plot")[0]))).convert("RGB")


PICTURES = {
    "LoadFaceModel/similarity": similarity,
    "LoadIdentityImages/faces": faces,
    "LoadSemanticReward/scores": scores,
    "SimulatedPrompts/prompts": prompts,
    "TrainAdapter/before_after": before_after,
    "ApplyLateStepLora/window": window,
    "SampleVideo/clip": clip,
    "LoadDemo/people": people,
    "EvaluateVideo/plot": plot,
}


def main() -> None:
    from PIL.Image import Dither

    with tempfile.TemporaryDirectory() as base:
        open_host(Path(base))
        world = World(load_pack(Path(base)))
        for name, draw in PICTURES.items():
            if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
                continue
            path = DOCS / f"PersonalVideo{name}.png"
            draw(world).quantize(256, dither=Dither.NONE).save(path, optimize=True)
            print(path.relative_to(ROOT), path.stat().st_size)


if __name__ == "__main__":
    main()
