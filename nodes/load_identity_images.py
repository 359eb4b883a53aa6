"""Load Identity Images: photos of one person become a pool of identity embeddings."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..rewards.faces import FaceModel, Identity
from ..rewards.photos import MAX_PHOTOS, Photo, folder_fingerprint, list_identity_folders, read_folder
from .wire_types import CATEGORY, FaceModelType, IdentityType

DEMO_IDENTITIES = Path(__file__).parent.parent / "demo" / "identities"
DEMO_PREFIX = "demo/"
NO_FOLDER = "[None]"
HOST_CLIPSPACE = "clipspace"


class LoadIdentityImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoLoadIdentityImages",
            display_name="Load Identity Images",
            category=CATEGORY,
            description=f"Reads 1 to {MAX_PHOTOS} photos of one person, finds the face in each and measures who it is. "
            "Use it only for people who agreed.",
            search_aliases=["reference images", "face images", "identity"],
            inputs=[
                FaceModelType.Input("face_model", tooltip="The recognizer that training will reward."),
                io.Combo.Input(
                    "folder",
                    options=[NO_FOLDER] + _folders(),
                    tooltip="A folder with photos inside ComfyUI's input folder; names with demo/ are the bundled "
                    "drawn people. Choose [None] to use only the images input.",
                ),
                io.Image.Input("images", optional=True, tooltip="Photos from other nodes, added to those of the folder."),
            ],
            outputs=[
                IdentityType.Output(display_name="identity"),
                io.Image.Output(display_name="faces", tooltip="The face that was found in each photo that is used."),
                io.String.Output(display_name="report", tooltip="A line a photo: used or not, and why."),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder=None):
        if folder in (None, NO_FOLDER) or folder in _folders():
            return True
        return f"folder: {folder} is not there any more; refresh (R) and choose another folder of the input folder."

    @classmethod
    def fingerprint_inputs(cls, folder=None, **kwargs):
        if folder in (None, NO_FOLDER):
            return ""
        try:
            return folder_fingerprint(_path(folder))
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(cls, face_model: FaceModel, folder: str, images=None) -> io.NodeOutput:
        with torch.inference_mode(False), torch.no_grad():
            photos = [] if folder == NO_FOLDER else read_folder(_path(folder))
            if images is not None:
                photos += [
                    Photo(f"images[{index}]", image[..., :3].movedim(-1, 0).float().clone(), None, "")
                    for index, image in enumerate(images[:MAX_PHOTOS])
                ]
            if not photos:
                raise ValueError("folder: choose a folder with photos of a person, or connect the images input.")
            identity, report = _recognize(photos, face_model)
        faces = identity.crops.movedim(1, -1).contiguous()
        return io.NodeOutput(identity, faces, report)


def _recognize(photos: list[Photo], face_model: FaceModel) -> tuple[Identity, str]:
    """The pool of embeddings and one line a photo; ValueError with the same lines if no photo can be used."""
    embeddings, crops, lines = [], [], []
    for photo in photos:
        if photo.problem:
            lines.append(f"not used: {photo.problem}")
            continue
        frame = photo.pixels[None]
        faces = face_model.find(frame)[0]
        if not faces:
            lines.append(f"not used: {photo.name} shows no face that {face_model.name} can find.")
            continue
        crop = face_model.crop(frame, faces[:1])
        crops.append(crop)
        embeddings.append(face_model.embed(crop))
        several = f", the largest of {len(faces)} faces" if len(faces) > 1 else ""
        lines.append(f"used: {photo.name}{several}")
    report = "\n".join(lines)
    if not crops:
        raise ValueError(f"folder: no photo can be used; choose sharp photos with one face from the front.\n{report}")
    return Identity(torch.cat(embeddings), torch.cat(crops), face_model), report


def _folders() -> list[str]:
    own = list_identity_folders([folder_paths.get_input_directory()])
    own = [name for name in own if name != HOST_CLIPSPACE]
    return own + [DEMO_PREFIX + name for name in list_identity_folders([DEMO_IDENTITIES])]


def _path(folder: str) -> Path:
    if folder.startswith(DEMO_PREFIX):
        return DEMO_IDENTITIES / folder.removeprefix(DEMO_PREFIX)
    return Path(folder_paths.get_input_directory()) / folder
