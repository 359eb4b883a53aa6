"""ComfyUI's own frontend in a headless Chromium, for `make test-browser` and `make screenshots`.

with ComfyServer(find_host(), base) as server, Browser() as browser:
    screen = browser.open(server)
    screen.open_template("Demo 1 - Train an identity")
    screen.press_run()
    screen.wait_end(timeout=600)
"""

import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from devkit.comfy_client import PromptError
from devkit.comfy_server import PACK_FOLDER, ComfyServer
from tools.pictures.chromium import find_chromium

SIZE = {"width": 1600, "height": 900}
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.47.12",
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Workflow.Persist": False,
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.VersionCompatibility.DisableWarnings": True,
    "Comfy.Window.UnloadConfirmation": False,
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.VueNodes.Enabled": False,
}
"""The settings of a user who has closed the welcome screens; everything else is as installed."""

READY = "!!(window.app?.extensionManager && app.vueAppReady && LiteGraph.registered_node_types.PersonalVideoTrainAdapter)"
SETTLE_MS = 1500
"""How long to wait for something that the frontend does without saying when it is done."""

NOT_OURS = (
    "404 (Not Found)",  # optional files of the user
    "400 (Bad Request)",  # a prompt that was refused; the answer gives the reasons
    "PromptExecutionError",
    "Content Security Policy",  # the sizes of missing models are asked for at sites that cannot be reached
    "ComfyApp graph accessed before initialization",
    "net::ERR_",
)
"""Console errors that are the frontend's own."""

ENDS = ("execution_success", "execution_error", "execution_interrupted")
LISTEN = """(kinds) => { window.ends = [];
  for (const kind of kinds) app.api.addEventListener(kind, (event) => window.ends.push([kind, event.detail])); }"""


class Browser:
    """A Chromium that starts when it is entered and ends when it is left. Raises SetupError if there is none."""

    def __enter__(self) -> "Browser":
        executable = find_chromium()
        self._playwright = sync_playwright().start()
        self._chromium = self._playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        return self

    def __exit__(self, *_) -> None:
        self._chromium.close()
        self._playwright.stop()

    def page(self) -> Page:
        """An empty page, for anything that is not ComfyUI."""
        return self._chromium.new_context(viewport=SIZE).new_page()

    def open(self, server: ComfyServer, **settings) -> "Screen":
        """Visit the server afresh, with `SETTINGS` and more of the frontend's settings (with underscores for dots)."""
        chosen = SETTINGS | {name.replace("_", "."): value for name, value in settings.items()}
        file = server.base / "user" / "default" / "comfy.settings.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(chosen))
        return Screen(self.page(), server)


class Screen:
    """ComfyUI as a user sees it. `errors` are those of the console, without `NOT_OURS`."""

    def __init__(self, page: Page, server: ComfyServer):
        self.page, self.server, self.errors = page, server, []
        page.on("console", lambda message: message.type == "error" and self._note(message.text))
        page.on("pageerror", lambda error: self._note(str(error)))
        page.goto(server.url, wait_until="domcontentloaded")
        page.wait_for_function(READY)
        self.pause()
        page.evaluate(LISTEN, list(ENDS))

    def close(self) -> None:
        self.page.context.close()

    def pause(self, milliseconds: int = SETTLE_MS) -> None:
        self.page.wait_for_timeout(milliseconds)

    def open_template(self, name: str) -> dict:
        """Open a template by its card, and return its thumbnail: {"src", "width"}, with width 0 while there is none."""
        self.command("Comfy.BrowseTemplates")
        dialog = self.page.locator("[aria-labelledby=global-workflow-template-selector]")
        dialog.wait_for()
        dialog.get_by_text(PACK_FOLDER).first.click()
        dialog.get_by_placeholder("Search").first.fill(name)
        card = dialog.get_by_test_id(f"template-workflow-{name}")
        card.wait_for()
        self.pause()
        thumbnail = card.evaluate("e => { const i = e.querySelector('img'); return {src: i?.src, width: i?.naturalWidth ?? 0} }")
        card.click()
        dialog.wait_for(state="hidden")
        self.pause()
        return thumbnail

    def load(self, workflow: dict, name: str = "reloaded") -> None:
        """Open a workflow as dropping its file does."""
        self.page.evaluate("([workflow, name]) => app.loadGraphData(workflow, true, true, name)", [workflow, name])
        self.pause()

    def saved(self) -> dict:
        """The workflow that saving would write."""
        return self.page.evaluate("() => JSON.parse(JSON.stringify(app.graph.serialize()))")

    def prompt(self) -> dict:
        """The prompt in API format that the Run button sends."""
        return self.page.evaluate("async () => (await app.graphToPrompt()).output")

    def missing_nodes(self) -> list[str]:
        return self.page.evaluate(
            "() => app.graph.nodes"
            ".filter(n => !LiteGraph.registered_node_types[n.type] && !n.isSubgraphNode?.()).map(n => n.type)"
        )

    def set(self, kind: str, widget: str, value) -> None:
        """Enter a value into a widget of the node of that type."""
        script = """([kind, name, value]) => { const node = app.graph.nodes.find(n => n.type === kind);
          const widget = node.widgets.find(w => w.name === name); widget.value = value; widget.callback?.(value); }"""
        self.page.evaluate(script, [kind, widget, value])

    def node(self, kind: str) -> dict:
        """What the node of that type shows.

        "text" is the progress text or error on it, "pictures" the widths of its pictures, "animated" whether they move,
        "progress" is in 0..1, "stroke" says whether it is outlined as failed, and "size" is its own.
        """
        script = """(kind) => { const n = app.graph.nodes.find(n => n.type === kind);
          const text = n.widgets?.find(w => w.name === '$$node-text-preview')?.value;
          return {text: text ?? '', pictures: (n.imgs ?? []).map(i => i.naturalWidth), animated: !!n.animatedImages,
            progress: n.progress ?? null, stroke: !!n.strokeStyles?.executionError?.call(n), size: [...n.size]} }"""
        return self.page.evaluate(script, kind)

    def command(self, name: str) -> None:
        self.page.evaluate("name => { app.extensionManager.command.execute(name) }", name)

    def press_run(self) -> None:
        self.page.evaluate("() => { window.ends = [] }")
        self.page.get_by_test_id("queue-button").click()

    def press_cancel(self) -> None:
        self.page.get_by_label("Cancel current run").first.click()

    def wait_until(self, true: Callable[[], bool], timeout: float, every: float = 0.3) -> None:
        """Wait until `true()`. Raises TimeoutError after `timeout` seconds."""
        for _ in range(int(timeout / every)):
            if true():
                return
            self.pause(int(every * 1000))
        raise TimeoutError(f"It did not happen within {timeout:.0f} s.")

    def wait_end(self, timeout: float) -> None:
        """Wait until the run has ended. Raises PromptError unless it succeeded, and TimeoutError after `timeout` seconds."""
        self.wait_until(lambda: self.page.evaluate("() => window.ends.length > 0"), timeout)
        kind, detail = self.page.evaluate("() => window.ends[0]")
        self.pause()
        if kind == "execution_error":
            raise PromptError("failed", detail["exception_message"].strip(), detail["node_id"], detail["node_type"])
        if kind == "execution_interrupted":
            raise PromptError("interrupted", "interrupted", detail["node_id"], detail["node_type"])

    def picture(self, path: Path, clip: dict | None = None) -> None:
        """Take a screenshot, as JPEG or PNG by the name of `path`. `clip`: x, y, width and height in screen pixels."""
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {"type": "jpeg", "quality": 85} if path.suffix == ".jpg" else {}
        self.page.screenshot(path=path, clip=clip, **options)

    def zoom_to(self, *kinds: str, margin: int = 40) -> None:
        """Fill the screen with the nodes of these types."""
        script = """([kinds, margin]) => { const nodes = app.graph.nodes.filter(n => kinds.includes(n.type));
          const left = Math.min(...nodes.map(n => n.pos[0])) - margin, top = Math.min(...nodes.map(n => n.pos[1])) - 30 - margin;
          const right = Math.max(...nodes.map(n => n.pos[0] + n.size[0])) + margin;
          const bottom = Math.max(...nodes.map(n => n.pos[1] + n.size[1])) + margin;
          const [x, y, w, h] = [70, 100, innerWidth - 80, innerHeight - 110];
          const scale = Math.min(w / (right - left), h / (bottom - top), 1.5), ds = app.canvas.ds;
          ds.scale = scale; ds.offset[0] = (x + (w - (right - left) * scale) / 2) / scale - left; ds.offset[1] = y / scale - top;
          app.canvas.setDirty(true, true); }"""
        self.page.evaluate(script, [list(kinds), margin])
        self.pause(500)

    def _note(self, text: str) -> None:
        if not any(part in text for part in NOT_OURS):
            self.errors.append(text)
