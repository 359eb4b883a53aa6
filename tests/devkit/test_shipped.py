"""The zip that the registry distributes has all that the pack needs at run time, and nothing that only developers need."""

import ast
import zipfile
from pathlib import PurePosixPath

import pytest

from devkit.comfy_host import ROOT
from devkit.comfy_server import PACK_FOLDER, ComfyServer
from devkit.graphs import sample_graph, train_graph
from devkit.node_contract import contract_of
from tools.shipped import shipped_files, write_zip

LARGEST = 14_000_000  # bytes; the demo's weights and LoRAs are 11.3 million of them
FOR_DEVELOPERS = {"benchmarks", "devkit", "docs", "tests", "tests_browser", "tools", ".ci", ".github"}
STARTED_BY_USERS = (PurePosixPath("__init__.py"), PurePosixPath("interchange/__main__.py"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The zip, unpacked as the Manager does."""
    folder = tmp_path_factory.mktemp("shipped")
    write_zip(folder / "pack.zip")
    with zipfile.ZipFile(folder / "pack.zip") as archive:
        archive.extractall(folder / PACK_FOLDER)
    return folder / PACK_FOLDER


@pytest.fixture(scope="module")
def shipped_server(installed, pytestconfig, tmp_path_factory):
    with ComfyServer(pytestconfig.host, tmp_path_factory.mktemp("shipped_base"), pack=installed) as running:
        yield running


def test_shipped_nodes_are_those_of_the_repository(shipped_server, server):
    shipped = contract_of(shipped_server.object_info())
    assert shipped and shipped == contract_of(server.object_info())


def test_shipped_demo_trains_samples_and_is_judged(shipped_server):
    run = shipped_server.run(train_graph(train={"steps": 1}), timeout=120)
    assert run.outputs["train"]
    judged = {
        "identity": {
            "class_type": "PersonalVideoLoadIdentityImages",
            "inputs": {"face_model": ["demo", 3], "folder": "demo/Bina"},
        },
        "evaluate": {
            "class_type": "PersonalVideoEvaluateVideo",
            "inputs": {"images": ["sample", 1], "identity": ["identity", 0], "face_model": ["demo", 4], "prompt": "a person"},
        },
    }
    run = shipped_server.run(sample_graph(apply={"lora_name": "demo identity Aro.safetensors"}, **judged), timeout=120)
    assert "Face Similarity" in run.outputs["evaluate"]["text"][0]


def test_shipped_templates_pages_and_translations_are_those_of_the_repository(shipped_server, server):
    for path in ("/workflow_templates", "/i18n", "/extensions"):
        assert shipped_server.get(path).json() == server.get(path).json()
    for page in sorted((ROOT / "web" / "docs").rglob("*.*")):
        address = f"/extensions/{PACK_FOLDER}/docs/{page.relative_to(ROOT / 'web' / 'docs').as_posix()}"
        assert shipped_server.get(address).content == page.read_bytes()
    for template in shipped_server.get("/workflow_templates").json()[PACK_FOLDER]:
        workflow = shipped_server.get(f"/api/workflow_templates/{PACK_FOLDER}/{template}.json").json()
        assert workflow["nodes"]


def test_zip_holds_nothing_that_only_developers_need(installed):
    files = shipped_files()
    assert not FOR_DEVELOPERS & {path.parts[0] for path in files}
    assert not [path for path in files if path.is_relative_to("demo/train") or path.is_relative_to("demo/sheets")]
    assert (installed.parent / "pack.zip").stat().st_size < LARGEST


def test_every_shipped_module_is_reached_from_what_users_start():
    files = set(shipped_files())
    reached, waiting = set(), [path for path in STARTED_BY_USERS]
    while waiting:
        path = waiting.pop()
        if path in files and path not in reached:
            reached.add(path)
            waiting += imports_of(path)
    assert {path for path in files if path.suffix == ".py"} == reached


def imports_of(path: PurePosixPath) -> list[PurePosixPath]:
    """Where the relative imports of a module may lead: a module, a package, or both on the way to a name."""
    places = []
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for target in (package, *(package / alias.name for alias in node.names)):
                places += [target.with_suffix(".py"), target / "__init__.py"]
                places += [parent / "__init__.py" for parent in target.parents]
    return places
