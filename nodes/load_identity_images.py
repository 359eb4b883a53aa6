"""Load Identity Images: photos of one person become a pool of identity embeddings."""

from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..host.autograd import managed, resident
from ..rewards.faces import FaceModel
from ..rewards.photo_checks import choose_photos
from ..rewards.photos import MAX_PHOTOS, folder_fingerprint, list_identity_folders, photos_of_batch, read_folder
from ..sentences import one_line
from .contract import checked
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
            "Photos that are damaged, blurred, doubled or of somebody else are left out. Use it only for people who agreed.",
            search_aliases=["reference images", "face images", "photos", "identity", "PersonalVideo"],
            inputs=[
                FaceModelType.Input("face_model", tooltip="The recognizer that training will reward."),
                io.Combo.Input(
                    "folder",
                    options=[NO_FOLDER, *_folders()],
                    tooltip="A folder with photos inside ComfyUI's input folder; names with demo/ are the bundled "
                    "drawn people. Choose [None] to use only the images input.",
                ),
                io.Image.Input("images", optional=True, tooltip="Photos from other nodes, added to those of the folder."),
            ],
            outputs=[
                IdentityType.Output(display_name="identity", tooltip="The person, for training and for judging."),
                io.Image.Output(display_name="faces", tooltip="The face that was found in each photo that is used."),
                io.String.Output(display_name="report", tooltip="A line a photo: used or not, and why."),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder=None):
        if folder in (None, NO_FOLDER) or folder in _folders():
            return True
        return (
            f"folder: {one_line(str(folder))} is not there any more, or holds no pictures; refresh (R) and choose another "
            "folder of the input folder."
        )

    @classmethod
    def fingerprint_inputs(cls, folder=None, **kwargs):
        if folder in (None, NO_FOLDER):
            return ""
        try:
            return folder_fingerprint(_path(folder))
        except ValueError as error:
            return str(error)

    @classmethod
    @checked
    def execute(cls, face_model: FaceModel, folder: str, images=None) -> io.NodeOutput:
        with torch.inference_mode(False), torch.no_grad():
            photos = [] if folder == NO_FOLDER else read_folder(_path(folder))
            if images is not None:
                photos += photos_of_batch(images)
            if not photos:
                raise ValueError("folder: choose a folder with photos of a person, or connect the images input.")
            with resident(managed(face_model.networks)):
                identity, report = choose_photos(photos, face_model)
        faces = identity.crops.movedim(1, -1).contiguous()
        return io.NodeOutput(identity, faces, report)


def _folders() -> list[str]:
    own = list_identity_folders([folder_paths.get_input_directory()])
    own = [name for name in own if name != HOST_CLIPSPACE]
    return own + [DEMO_PREFIX + name for name in list_identity_folders([DEMO_IDENTITIES])]


def _path(folder: str) -> Path:
    if folder.startswith(DEMO_PREFIX):
        return DEMO_IDENTITIES / folder.removeprefix(DEMO_PREFIX)
    return Path(folder_paths.get_input_directory()) / folder
