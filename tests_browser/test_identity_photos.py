"""The photos on Load Identity Images, in both designs of nodes: chosen, dropped, removed, and marked after a run."""

import shutil

import pytest
from PIL import Image

from devkit.comfy_client import PromptError
from devkit.comfy_host import ROOT

KIND = "PersonalVideoLoadIdentityImages"
PEOPLE = ROOT / "demo" / "identities"
PICTURES = ROOT / "output" / "screenshots"
SMALLEST_THUMBNAIL = 100
"""Screen pixels at zoom 1 in which a face can be known."""

ALONE = """([kind, folder]) => { app.graph.clear();
  const demo = LiteGraph.createNode('PersonalVideoLoadDemo'), node = LiteGraph.createNode(kind);
  const report = LiteGraph.createNode('PreviewAny');
  demo.pos = [120, 150]; node.pos = [480, 150]; report.pos = [980, 150];
  for (const each of [demo, node, report]) app.graph.add(each);
  demo.connect(demo.outputs.findIndex(o => o.name === 'face_model'), node, 0);
  node.connect(2, report, 0);
  const widget = node.widgets.find(w => w.name === 'folder'); widget.value = folder; widget.callback(folder);
  app.canvas.ds.scale = 1; app.canvas.ds.offset = [0, 0]; app.canvas.setDirty(true, true); }"""


class IdentityNode:
    """The node on the screen, as a user sees and uses it."""

    def __init__(self, screen, design: str):
        self.screen, self.page, self.design = screen, screen.page, design
        self.panel = self.page.locator(".pv-photos")

    def place(self, folder: str = "[None]") -> "IdentityNode":
        self.page.evaluate(ALONE, [KIND, folder])
        self.panel.wait_for()
        self.screen.pause(700)
        return self

    def names(self) -> list[str]:
        return self.panel.locator("img").evaluate_all("all => all.map(i => i.alt)")

    def marks(self) -> dict[str, str]:
        """{photo: the mark on it, "" while it has none}."""
        script = "all => all.map(f => [f.querySelector('img').alt, f.querySelector('figcaption')?.innerText ?? ''])"
        return dict(self.panel.locator("figure").evaluate_all(script))

    def wait_for(self, *names: str) -> None:
        self.screen.wait_until(lambda: self.names() == list(names), 30)

    def button(self, name: str):
        return self.panel.get_by_role("button", name=name, exact=True)

    def choose_files(self, button: str, *paths) -> None:
        with self.page.expect_file_chooser() as chooser:
            self.button(button).click()
        assert chooser.value.is_multiple()
        chooser.value.set_files(paths)

    def call_person(self, name: str) -> None:
        dialog = self.page.get_by_role("dialog").filter(has=self.page.get_by_role("textbox"))
        dialog.wait_for()
        dialog.get_by_role("textbox").fill(name)
        dialog.get_by_role("textbox").press("Enter")

    def drop(self, *paths, at: str = "photos") -> None:
        """Files from the file manager onto the photos, or onto the title of the node."""
        box = self.panel.bounding_box()
        x, y = box["x"] + box["width"] / 2, (box["y"] + box["height"] / 2 if at == "photos" else 135)
        files = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        session = self.page.context.new_cdp_session(self.page)
        for kind in ("dragEnter", "dragOver", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": files})
            self.screen.pause(150)

    def run(self) -> None:
        self.screen.press_run()
        self.screen.wait_end(120)

    def kinds(self) -> list[str]:
        return sorted(self.page.evaluate("() => app.graph.nodes.map(n => n.type)"))

    def folder(self) -> str:
        return self.page.evaluate(f"() => app.graph.nodes.find(n => n.type === '{KIND}').widgets[0].value")

    def saved(self) -> dict:
        return next(each for each in self.screen.saved()["nodes"] if each["type"] == KIND)

    def id(self) -> str:
        return str(self.page.evaluate(f"() => app.graph.nodes.find(n => n.type === '{KIND}').id"))


@pytest.fixture
def anna(server):
    """The user's only folder, with two photos of one person."""
    shutil.rmtree(server.base / "input")
    folder = server.base / "input" / "anna"
    folder.mkdir(parents=True)
    for number in (1, 2):
        shutil.copy(PEOPLE / "Aro" / f"{number}.png", folder)
    return folder


@pytest.fixture(params=["classic", "modern"])
def node(request, browser, server, anna):
    """The node alone with the demo's face model, in one of the two designs."""
    screen = browser.open(server, Comfy_VueNodes_Enabled=request.param == "modern")
    yield IdentityNode(screen, request.param)
    errors = screen.errors
    screen.close()
    assert not errors


def test_two_chosen_photos_become_a_new_person(node, server):
    node.place()
    assert "Drop 1 to 20 photos" in node.panel.inner_text()
    node.choose_files("New person", PEOPLE / "Aro" / "1.png", PEOPLE / "Aro" / "2.png")
    node.call_person("carla")
    node.wait_for("1.png", "2.png")
    assert node.folder() == "carla"
    assert sorted(path.name for path in (server.base / "input" / "carla").iterdir()) == ["1.png", "2.png"]
    node.screen.pause(500)
    for image in node.panel.locator("img").all():
        assert image.evaluate("i => i.naturalWidth") > 0
        assert min(image.bounding_box()["width"], image.bounding_box()["height"]) >= SMALLEST_THUMBNAIL
    assert node.screen.prompt()[node.id()]["inputs"]["folder"] == "carla"
    assert "carla" in node.page.evaluate(f"() => app.graph.nodes.find(n => n.type === '{KIND}').widgets[0].options.values")


def test_a_name_that_no_folder_can_have_is_asked_for_again(node, anna):
    node.place()
    node.choose_files("New person", PEOPLE / "Bina" / "1.png")
    node.call_person("../anna")
    node.page.get_by_text("cannot be a folder's name").wait_for()
    node.call_person("anna")
    node.page.get_by_text("anna is there already").wait_for()
    node.call_person("bina")
    node.wait_for("1.png")
    assert node.folder() == "bina" and len(list(anna.iterdir())) == 2


@pytest.mark.parametrize("at", ["photos", "title"])
def test_a_dropped_photo_joins_the_folder_and_makes_no_other_node(node, anna, at):
    node.place("anna")
    kinds = node.kinds()
    node.drop(PEOPLE / "Aro" / "3.png", at=at)
    node.wait_for("1.png", "2.png", "3.png")
    node.screen.pause()
    assert node.kinds() == kinds
    assert (anna / "3.png").read_bytes() == (PEOPLE / "Aro" / "3.png").read_bytes()


def test_a_dropped_folder_becomes_a_new_person(node, server):
    node.place()
    kinds = node.kinds()
    node.drop(PEOPLE / "Aro")
    node.call_person("aro")
    node.wait_for(*(f"{number}.png" for number in range(1, 6)))
    assert node.kinds() == kinds and len(list((server.base / "input" / "aro").iterdir())) == 5


def test_photos_are_added_and_what_is_refused_is_said(node, anna, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    node.place("anna")
    node.choose_files("Add photos", PEOPLE / "Aro" / "4.png", tmp_path / "broken.png")
    node.wait_for("1.png", "2.png", "4.png")
    node.panel.get_by_text("broken.png is not a picture that can be read: save it as JPEG, PNG or WebP.").wait_for()
    assert sorted(path.name for path in anna.iterdir()) == ["1.png", "2.png", "4.png"]


def test_the_wheel_scrolls_photos_that_were_clicked_and_does_not_zoom(node, anna):
    for number in range(3, 16):
        shutil.copy(PEOPLE / "Bina" / "1.png", anna / f"{number}.png")
    node.place("anna")
    node.wait_for(*(f"{number}.png" for number in range(1, 16)))
    box = node.panel.bounding_box()
    node.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    node.page.mouse.wheel(0, 100)
    node.screen.wait_until(lambda: node.panel.evaluate("e => e.scrollTop") > 0, 10)
    assert node.page.evaluate("() => app.canvas.ds.scale") == 1


def test_a_photo_is_removed_after_a_question(node, anna):
    node.place("anna")
    for answer, left in (("Cancel", ["1.png", "2.png"]), ("Delete", ["2.png"])):
        node.button("Remove 1.png").click()
        node.page.get_by_role("dialog").get_by_text(answer, exact=True).click()
        node.wait_for(*left)
        node.screen.pause(500)
        assert sorted(path.name for path in anna.iterdir()) == left == node.names()


def test_photos_of_the_bundled_people_are_shown_and_cannot_be_changed(node):
    node.place("demo/Cleo")
    node.wait_for(*(f"{number}.png" for number in range(1, 6)))
    assert node.panel.get_by_role("button").all_inner_texts() == ["New person"]


def test_a_run_marks_which_photos_are_used_and_says_why_others_are_not(node, anna):
    Image.new("RGB", (64, 64), "teal").save(anna / "wall.png")
    node.place("anna")
    assert set(node.marks().values()) == {""}
    node.run()
    assert node.marks() == {"1.png": "used", "2.png": "used", "wall.png": "not used"}
    assert "wall.png shows no face" in node.panel.inner_text()
    node.screen.picture(PICTURES / f"identity_photos_{node.design}.png")
    assert "anna: 2 of 3 photos are used." in node.page.evaluate(
        "() => app.graph.nodes.find(n => n.type === 'PreviewAny').widgets.map(w => w.value).join()"
    )


def test_a_run_from_the_cache_marks_the_photos_for_who_comes_back(node, anna):
    node.place("anna")
    node.run()
    node.screen.load(node.screen.saved())
    node.wait_for("1.png", "2.png")
    assert set(node.marks().values()) == {""}
    node.run()
    assert set(node.marks().values()) == {"used"}


def test_a_run_in_which_no_photo_can_be_used_marks_them_too(node, anna):
    node.place("anna")
    node.run()
    for photo in anna.iterdir():
        Image.new("RGB", (64, 64), "teal").save(photo)
    with pytest.raises(PromptError, match="no photo can be used"):
        node.run()
    assert set(node.marks().values()) == {"not used"}


def test_a_saved_workflow_shows_the_photos_again_and_keeps_its_values(node, anna):
    node.place("anna")
    before = node.saved()
    assert before["widgets_values"] == ["anna", ""]
    node.screen.load(node.screen.saved())
    node.wait_for("1.png", "2.png")
    assert [node.saved()[part] for part in ("widgets_values", "size")] == [before[part] for part in ("widgets_values", "size")]
