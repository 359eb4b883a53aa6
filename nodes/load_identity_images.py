"""Load Identity Images: photos of one person become a pool of identity embeddings."""

import torch
from comfy_api.latest import io
from server import PromptServer

from ..host.autograd import managed, resident
from ..rewards.faces import FaceModel
from ..rewards.photo_checks import Judged, judge_photos
from ..rewards.photos import MAX_PHOTOS, folder_fingerprint, legible, photos_of_batch, read_folder
from .identity_folders import BUNDLED, NO_FOLDER, gone, identity_folders
from .wire_types import CATEGORY, FaceModelType, IdentityType

NONE_USED = "personalvideo.no_photo_used"
"""Sent to the frontend with what is otherwise the node's ui output, which a failed node does not have."""


class LoadIdentityImages(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PersonalVideoLoadIdentityImages",
            display_name="Load Identity Images",
            category=CATEGORY,
            description=f"Reads 1 to {MAX_PHOTOS} photos of one person, finds the face in each and measures who it is. "
            "Photos that are damaged, blurred, doubled or of somebody else are left out. Use it only for people who agreed.",
            search_aliases=["reference images", "face images", "photos", "upload", "identity", "PersonalVideo"],
            hidden=[io.Hidden.unique_id],
            has_intermediate_output=True,  # what it says of the photos is sent again when its result is a cached one
            inputs=[
                FaceModelType.Input("face_model", tooltip="The recognizer that training will reward."),
                io.Combo.Input(
                    "folder",
                    options=[NO_FOLDER, *identity_folders().names()],
                    tooltip="A folder with photos inside ComfyUI's input folder; New person makes one. Names with demo/ are "
                    "the bundled drawn people. Choose [None] to use only the images input.",
                ),
                io.Image.Input("images", optional=True, tooltip="Photos from other nodes, added to those of the folder."),
                io.String.Input(
                    "name",
                    default="",
                    optional=True,
                    tooltip="What the person is called, for the report and for files of this person. Empty: as the folder.",
                ),
            ],
            outputs=[
                IdentityType.Output(display_name="identity", tooltip="The person, for training and for judging."),
                io.Image.Output(display_name="faces", tooltip="The face that was found in each photo that is used."),
                io.String.Output(display_name="report", tooltip="A line a photo: used or not, and why."),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder=None):
        if folder in (None, NO_FOLDER) or folder in identity_folders().names():
            return True
        return gone(folder)

    @classmethod
    def fingerprint_inputs(cls, folder=None, **kwargs):
        if folder in (None, NO_FOLDER):
            return ""
        try:
            return folder_fingerprint(identity_folders().path(folder))
        except ValueError as error:
            return str(error)

    @classmethod
    def execute(cls, face_model: FaceModel, folder: str, images=None, name: str = "") -> io.NodeOutput:
        with torch.inference_mode(False), torch.no_grad():
            photos = [] if folder == NO_FOLDER else read_folder(identity_folders().path(folder))
            if images is not None:
                photos += photos_of_batch(images)
            if not photos:
                raise ValueError("folder: choose a folder with photos of a person, or connect the images input.")
            with resident(managed(face_model.networks)):
                judged = judge_photos(photos, face_model)
        marks = {"photos": _marks(judged)}
        server = getattr(PromptServer, "instance", None)  # a script that imports the host has none
        if server and not judged.used:
            server.send_sync(NONE_USED, {"node": cls.hidden.unique_id, "output": marks}, server.client_id)
        name = _name(name, folder)
        identity = judged.identity(face_model, name)
        faces = identity.crops.movedim(1, -1).contiguous()
        report = f"{name}: {judged.report}" if name else judged.report
        return io.NodeOutput(identity, faces, report, ui=marks)


def _marks(judged: Judged) -> list[dict]:
    """What the frontend marks on the pictures."""
    return [{"name": verdict.name, "problem": verdict.problem} for verdict in judged.verdicts]


def _name(given: str, folder: str) -> str:
    """Of the person, in one line: as given, else that of the folder."""
    own = "" if folder == NO_FOLDER else folder.removeprefix(BUNDLED)
    return legible(" ".join(given.split()) or own)
