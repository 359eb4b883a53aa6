"""Every node of the pack as the user meets it: help page, tooltips, folded advanced inputs, the first screenful."""

import pytest

from devkit.comfy_host import ROOT

NODES = sorted(path.name for path in (ROOT / "web" / "docs").iterdir() if path.is_dir())


@pytest.fixture(scope="module")
def desk(browser, server):
    """One visit for all nodes."""
    visit = browser.open(server)
    yield visit
    visit.close()


def add_alone(screen, kind: str) -> None:
    screen.page.evaluate(
        """(kind) => { app.graph.clear(); const node = LiteGraph.createNode(kind); node.pos = [500, 250];
      app.graph.add(node); app.canvas.ds.scale = 1; app.canvas.ds.offset = [0, 0]; app.canvas.setDirty(true, true); }""",
        kind,
    )
    screen.pause(700)


def test_every_node_has_a_help_page(server):
    ours = {name for name, info in server.object_info().items() if info["python_module"].endswith("PersonalVideo")}
    assert ours == set(NODES)


@pytest.mark.parametrize("kind", NODES)
def test_help_page_opens_and_shows_its_text_and_pictures(desk, kind):
    add_alone(desk, kind)
    desk.page.mouse.click(560, 235)
    desk.page.get_by_test_id("info-button").evaluate("e => e.click()")
    help_text = desk.page.locator(".node-help-content")
    help_text.wait_for()
    desk.pause()
    first = next(line for line in (ROOT / "web" / "docs" / kind / "en.md").read_text().splitlines() if line.startswith("#"))
    assert first.strip("# ") in help_text.inner_text()
    widths = help_text.evaluate("e => [...e.querySelectorAll('img')].map(i => i.naturalWidth)")
    assert widths and min(widths) > 0
    desk.page.keyboard.press("Escape")


@pytest.mark.parametrize("kind", NODES)
def test_every_input_and_widget_has_a_tooltip(desk, kind):
    add_alone(desk, kind)
    without = desk.page.evaluate("""() => {
      const { required, optional } = app.graph.nodes[0].constructor.nodeData.input;
      return Object.entries({ ...required, ...optional }).filter(([, spec]) => !spec[1]?.tooltip).map(([name]) => name);
    }""")
    assert without == []


def test_classic_canvas_folds_advanced_inputs_and_brings_them_back(desk):
    add_alone(desk, "PersonalVideoTrainAdapter")
    rows = "() => app.graph.nodes[0].widgets.filter(w => !w.hidden).map(w => w.name)"
    size = "() => [...app.graph.nodes[0].size]"
    folded, before = desk.page.evaluate(rows), desk.page.evaluate(size)
    assert "steps" in folded and "rank" not in folded
    press = "() => app.graph.nodes[0].widgets.find(w => w.name === 'advanced_inputs').callback()"
    desk.page.evaluate(press)
    assert "rank" in desk.page.evaluate(rows) and desk.page.evaluate(size)[1] > before[1]
    desk.page.evaluate(press)
    assert desk.page.evaluate(rows) == folded and desk.page.evaluate(size) == before


def test_linked_advanced_input_stays_in_sight(desk):
    add_alone(desk, "PersonalVideoTrainAdapter")
    desk.page.evaluate("""() => { const source = LiteGraph.createNode('PrimitiveInt'); app.graph.add(source);
      const train = app.graph.nodes.find(n => n.type === 'PersonalVideoTrainAdapter');
      source.connect(0, train, train.inputs.findIndex(i => i.name === 'rank')); }""")
    shown = desk.page.evaluate("""() => { const train = app.graph.nodes.find(n => n.type === 'PersonalVideoTrainAdapter');
      return train.widgets.filter(w => !w.hidden).map(w => w.name) }""")
    assert "rank" in shown and "alpha" not in shown


def test_modern_design_shows_one_button_of_its_own(browser, server):
    screen = browser.open(server, Comfy_VueNodes_Enabled=True)
    add_alone(screen, "PersonalVideoTrainAdapter")
    assert screen.page.get_by_text("Show advanced inputs").count() == 1
    screen.close()


def test_folding_saves_the_same_values(desk):
    add_alone(desk, "PersonalVideoTrainAdapter")
    folded = desk.saved()["nodes"][0]["widgets_values"]
    desk.page.evaluate("() => app.graph.nodes[0].widgets.find(w => w.name === 'advanced_inputs').callback()")
    assert desk.saved()["nodes"][0]["widgets_values"] == folded
