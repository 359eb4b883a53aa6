"""HTTP routes for the photos on Load Identity Images, which may run on a server far away.

    GET    /personalvideo/photos?folder=anna             {"photos": [{"name", "version"}], "own": may be changed}
    POST   /personalvideo/photos/folder                  form: name -> {"folder"}, new or empty
    POST   /personalvideo/photos                         form: folder, photo (a file) -> {"photo": its name there}
    DELETE /personalvideo/photos?folder=anna&photo=1.png
    GET    /personalvideo/photos/thumbnail?folder=anna&photo=1.png

A request that cannot be met gets {"error": one sentence}. ComfyUI's own upload takes any file, and it has no route
that lists the photos of a folder, deletes one, or shows HEIC, TIFF and the bundled people.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web
from server import PromptServer

from ..rewards.photos import legible, pictures_in, thumbnail
from .identity_folders import Missing, identity_folders

PHOTOS = "/personalvideo/photos"
THUMBNAIL_SIDE = 400  # pixels; a node shows it at about a third of that, and may be zoomed in
A_WEEK = 7 * 24 * 3600

Handler = Callable[[web.Request], Awaitable[web.Response]]


def register_photo_routes() -> None:
    """Adds the routes to the running server; without one, as in a script that imports the host, there is nothing to do."""
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    for method, path, handler in (
        ("GET", PHOTOS, list_photos), ("POST", PHOTOS, add_photo), ("DELETE", PHOTOS, remove_photo),
        ("POST", PHOTOS + "/folder", create_folder), ("GET", PHOTOS + "/thumbnail", show_thumbnail),
    ):  # fmt: skip
        server.routes.route(method, path)(answering(handler))


def answering(handler: Handler) -> Handler:
    """The handler, with what it raises as an answer."""

    async def answer(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except web.HTTPRequestEntityTooLarge:
            return _error(413, "The file is larger than this ComfyUI takes (--max-upload-size): save it smaller.")
        except KeyError as missing:
            return _error(400, f"The request lacks {missing}.")
        except ValueError as error:
            return _error(404 if isinstance(error, Missing) else 400, str(error))
        except OSError as error:
            return _error(500, f"The input folder could not be used ({error.strerror}): check its free space and permissions.")

    return answer


async def list_photos(request: web.Request) -> web.Response:
    folders, folder = identity_folders(), request.query["folder"]
    photos = await asyncio.to_thread(_photos, folders.path(folder))
    return web.json_response({"photos": photos, "own": folders.is_own(folder)})


async def create_folder(request: web.Request) -> web.Response:
    name = _text(await request.post(), "name")
    return web.json_response({"folder": identity_folders().create(name)})


async def add_photo(request: web.Request) -> web.Response:
    form = await request.post()
    photo = form["photo"]
    if not isinstance(photo, web.FileField):
        raise ValueError("photo: send it as a file.")
    folder, data = _text(form, "folder"), photo.file.read()
    name = await asyncio.to_thread(identity_folders().add, folder, photo.filename, data)
    return web.json_response({"photo": name})


async def remove_photo(request: web.Request) -> web.Response:
    identity_folders().remove(request.query["folder"], request.query["photo"])
    return web.json_response({})


async def show_thumbnail(request: web.Request) -> web.Response:
    path = identity_folders().photo(request.query["folder"], request.query["photo"])
    picture = await asyncio.to_thread(thumbnail, path, THUMBNAIL_SIDE)
    if picture is None:
        return _error(415, "The photo cannot be shown; the report of a run says why.")
    headers = {"Cache-Control": f"private, max-age={A_WEEK}", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=picture, content_type="image/webp", headers=headers)


def _photos(folder: Path) -> list[dict]:
    """Name and version of each; the version changes with the file, for the browser's cache."""
    return [{"name": legible(file.name), "version": str(file.stat().st_mtime_ns)} for file in pictures_in(folder)]


def _text(form, name: str) -> str:
    value = form[name]
    if not isinstance(value, str):
        raise ValueError(f"{name}: send it as text.")
    return value


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)
