"""Every bundled workflow, opened by its card in the template browser: complete, readable, and as its file says."""

import json

import pytest

from devkit.comfy_host import ROOT
from devkit.workflow_api import NOTES, has_control, input_specs, is_socket, to_api

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
SMALLEST_LETTERS = 8 / 14
"""Below this zoom the classic canvas draws nodes without any text."""


@pytest.fixture(scope="module")
def object_info(server):
    return server.object_info()


def values_by_name(workflow: dict, object_info: dict) -> dict:
    """{node id: {widget: value}} of a file or of what the frontend saves."""
    found = {}
    for node in workflow["nodes"]:
        values = list(node.get("widgets_values") or [])
        if node["type"] in NOTES:
            found[str(node["id"])] = {"text": values[0]}
            continue
        named, taken = {}, 0
        for name, spec in input_specs(object_info[node["type"]], named):
            if not is_socket(spec):
                named[name] = values[taken]
                taken += 1
                if has_control(name, spec):
                    named[name + " control"] = values[taken]
                    taken += 1
        found[str(node["id"])] = named
    return found


@pytest.fixture(scope="module")
def tabs(browser, server):
    """One visit in which every template becomes a tab."""
    visit = browser.open(server)
    yield visit
    visit.close()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_template_opens_complete_and_keeps_its_values(tabs, object_info, path):
    file = json.loads(path.read_text(encoding="utf-8"))
    tabs.errors.clear()
    thumbnail = tabs.open_template(path.stem)
    assert thumbnail["width"] > 0
    assert tabs.missing_nodes() == []
    assert tabs.page.evaluate("() => app.canvas.ds.scale") > SMALLEST_LETTERS
    assert notes_are_cut(tabs) == []
    assert nodes_on_each_other(tabs) == []
    missing_models_are_offered(tabs, file)

    expected = values_by_name(file, object_info)
    opened = tabs.saved()
    assert values_by_name(opened, object_info) == expected
    assert comparable(tabs.prompt()) == comparable(to_api(file, object_info))

    tabs.load(opened)
    assert values_by_name(tabs.saved(), object_info) == expected
    assert tabs.errors == []


def missing_models_are_offered(screen, file: dict) -> None:
    """The note lists each file with its link and its folder; the demo needs none."""
    wanted = [
        [model["name"], model["url"], model["directory"]]
        for node in file["nodes"] for model in node["properties"].get("models", [])
    ]  # fmt: skip
    script = "() => app.graph.nodes.flatMap(n => n.properties.models ?? []).map(m => [m.name, m.url, m.directory])"
    assert screen.page.evaluate(script) == wanted
    if wanted:
        screen.page.get_by_test_id("error-overlay-see-errors").click()
        screen.pause()
        panel = screen.page.get_by_test_id("missing-model-importable-rows").inner_text()
        assert [name for name, _, _ in wanted if name not in panel] == []
        screen.page.evaluate("() => app.extensionManager.setting.set('Comfy.RightSidePanel.IsOpen', false)")


def comparable(prompt: dict) -> dict:
    """The prompt without titles and with JavaScript's numbers."""
    return {
        node_id: {"class_type": node["class_type"], "inputs": json.loads(json.dumps(node["inputs"]))}
        for node_id, node in prompt.items()
    }


def notes_are_cut(screen) -> list[str]:
    """The beginnings of notes whose text is longer than their box."""
    script = """() => [...document.querySelectorAll('.comfy-markdown-content, .tiptap')]
      .filter(e => e.clientHeight && e.scrollHeight > e.clientHeight + 2).map(e => e.innerText.slice(0, 40))"""
    return screen.page.evaluate(script)


def nodes_on_each_other(screen) -> list[list[str]]:
    """Pairs of nodes that overlap as they are drawn, with their title bars."""
    script = """() => { const pairs = [], all = app.graph.nodes;
      all.forEach((a, i) => all.slice(i + 1).forEach(b => {
        if (a.pos[0] < b.pos[0] + b.size[0] && b.pos[0] < a.pos[0] + a.size[0]
          && a.pos[1] - 30 < b.pos[1] + b.size[1] && b.pos[1] - 30 < a.pos[1] + a.size[1]) pairs.push([a.title, b.title]);
      })); return pairs; }"""
    return screen.page.evaluate(script)
