"""A client for a ComfyUI server's HTTP API and websocket: upload, queue, wait, interrupt, look at the results.

It runs inside `.venv`; requests and aiohttp come with the host.
"""

import asyncio
import json
import queue
import struct
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import requests

TEXT = 3
"""The host's `BinaryEventTypes.TEXT`."""


class PromptError(RuntimeError):
    """Raised for a prompt that was refused, failed or was interrupted; the message is what the user reads.

    `kind` is "rejected", "failed" or "interrupted". `node_id` and `node_type` name the node at fault, or are None if it is
    the prompt as a whole.
    """

    def __init__(self, kind: str, message: str, node_id: str | None = None, node_type: str | None = None):
        super().__init__(message)
        self.kind, self.node_id, self.node_type = kind, node_id, node_type


@dataclass
class Run:
    """A finished prompt: its UI outputs by node id, the ids of cached nodes, and its wall time in seconds."""

    prompt_id: str
    outputs: dict[str, dict]
    cached: set[str]
    seconds: float

    def files(self, node_id: str | None = None) -> list[dict]:
        """The files that one node, or all of them, have saved: dicts with filename, subfolder and type."""
        chosen = self.outputs.values() if node_id is None else [self.outputs.get(node_id, {})]
        lists = [items for output in chosen for items in output.values() if isinstance(items, list)]
        return [item for items in lists for item in items if isinstance(item, dict) and "filename" in item]


class ComfyClient:
    """Talks to the server at `url`, such as "http://127.0.0.1:8188".

    `on_event(type, data)` of `run` and `wait` gets the websocket's events in order: the host's own ("progress",
    "executed"...), and also "text" with {"node", "text"} and "preview" with the bytes of a picture.
    """

    def __init__(self, url: str):
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False  # a proxy has no business on loopback
        self.client_id = uuid.uuid4().hex
        self.events: queue.Queue[tuple[str, dict | bytes]] = queue.Queue()

    def connect(self) -> None:
        """Open the websocket; no event is missed from now on."""
        connected = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._listen(connected)), daemon=True).start()
        if not connected.wait(30):
            raise RuntimeError(f"ComfyUI at {self.url} accepts no websocket.")

    def object_info(self) -> dict:
        """The inputs and outputs of every node, as the frontend gets them."""
        return self.get("/object_info").json()

    def upload(self, picture: Path, subfolder: str = "") -> None:
        """Put a file into the input directory, as the Load Image button does."""
        with picture.open("rb") as content:
            form = {"subfolder": subfolder, "type": "input", "overwrite": "true"}
            self.post("/upload/image", files={"image": (picture.name, content)}, data=form).raise_for_status()

    def upload_folder(self, folder: Path, name: str | None = None) -> None:
        """Put the files of a folder into the input directory, in a folder `name`, by default of the same name."""
        for picture in sorted(path for path in folder.iterdir() if path.is_file()):
            self.upload(picture, name or folder.name)

    def queue(self, prompt: dict) -> str:
        """Queue a prompt in API format and return its id. Raises PromptError if it is rejected."""
        answer = self.post("/prompt", json={"prompt": prompt, "client_id": self.client_id})
        reply = answer.json()
        if problems := reply.get("node_errors"):
            node_id, problem = next(iter(problems.items()))
            message = "; ".join(f"{error['message']}: {error['details']}".rstrip(": ") for error in problem["errors"])
            raise PromptError("rejected", message, node_id, problem["class_type"])
        if not answer.ok:
            raise PromptError("rejected", reply["error"]["message"])
        return reply["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 600, on_event: Callable | None = None) -> Run:
        """Wait until a queued prompt has finished.

        Raises PromptError if it fails or is interrupted, and TimeoutError after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            history = self.get(f"/history/{prompt_id}").json()
            while not self.events.empty():
                event = self.events.get()
                if on_event:
                    on_event(*event)
            if prompt_id in history:
                return _finished(prompt_id, history[prompt_id])
            time.sleep(0.1)
        raise TimeoutError(f"The prompt did not finish within {timeout:.0f} s.")

    def run(self, prompt: dict, timeout: float = 600, on_event: Callable | None = None) -> Run:
        """`queue` a prompt and `wait` for it."""
        return self.wait(self.queue(prompt), timeout, on_event)

    def interrupt(self) -> None:
        """Do what the Cancel button does."""
        self.post("/interrupt", json={}).raise_for_status()

    def view(self, file: dict) -> bytes:
        """The content of one of the files of a `Run`."""
        return self.get("/view", params={key: file[key] for key in ("filename", "subfolder", "type")}).content

    def get(self, path: str, **options) -> requests.Response:
        """The answer to a GET request. Raises requests.HTTPError unless it is a success."""
        answer = self.session.get(self.url + path, **options)
        answer.raise_for_status()
        return answer

    def post(self, path: str, **options) -> requests.Response:
        return self.session.post(self.url + path, **options)

    async def _listen(self, connected: threading.Event) -> None:
        address = f"{self.url}/ws?clientId={self.client_id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as websocket:
            connected.set()
            async for message in websocket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    event = json.loads(message.data)
                    self.events.put((event["type"], event["data"]))
                elif message.type == aiohttp.WSMsgType.BINARY:
                    self.events.put(_decode(message.data))


def _decode(message: bytes) -> tuple[str, dict | bytes]:
    """The event in one of the host's two binary messages (protocol.py): a kind, then a header and the content."""
    kind, header = struct.unpack(">II", message[:8])
    if kind == TEXT:
        node_end = 8 + header
        return "text", {"node": message[8:node_end].decode(), "text": message[node_end:].decode()}
    return "preview", message[8:]


def _finished(prompt_id: str, history: dict) -> Run:
    messages = dict(history["status"]["messages"])
    if failure := messages.get("execution_error"):
        text = failure["exception_message"].strip()
        raise PromptError("failed", text, failure["node_id"], failure["node_type"])
    if stopped := messages.get("execution_interrupted"):
        raise PromptError("interrupted", "interrupted", stopped["node_id"], stopped["node_type"])
    took = messages["execution_success"]["timestamp"] - messages["execution_start"]["timestamp"]
    return Run(prompt_id, history["outputs"], set(messages["execution_cached"]["nodes"]), took / 1000)
