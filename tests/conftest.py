"""Fixtures on the real host: the pack loaded by ComfyUI's own loader, and ComfyUI's own server.

The host is put on `sys.path` before collection, so test modules import `comfy` at their top; its
output, input and model folders are private and temporary.
"""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from comfy_host import ROOT, SetupError, find_host
from comfy_server import ComfyServer, has_gpu, prepare_base


def pytest_configure(config):
    try:
        config.host = find_host()
    except SetupError as error:
        raise pytest.UsageError(str(error)) from error
    if config.host is None:
        raise pytest.UsageError("There is no ComfyUI yet: run `make setup`, or set COMFYUI_PATH.")
    sys.path[:] = [str(config.host)] + [path for path in sys.path if Path(path).resolve() != ROOT.resolve()]
    config.base = prepare_base(Path(tempfile.mkdtemp(prefix="personalvideo-")))

    import comfy.cli_args

    comfy.cli_args.args.base_directory = str(config.base)
    comfy.cli_args.args.cpu = not has_gpu()

    import folder_paths

    folder_paths.add_model_folder_path("loras", str(config.base / "output" / "loras"))  # as main.py does


def pytest_unconfigure(config):
    if base := getattr(config, "base", None):
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def pack(pytestconfig):
    """The pack's package as ComfyUI loaded it; submodules are attributes (`pack.training.rollout`)."""
    import nodes

    folder = str(pytestconfig.base / "custom_nodes" / "ComfyUI-PersonalVideo")
    if not asyncio.run(nodes.load_custom_node(folder)):
        pytest.fail("ComfyUI could not load the pack; the log of the first such test says why.", pytrace=False)
    assert any(name.startswith("PersonalVideo") for name in nodes.NODE_CLASS_MAPPINGS)
    return sys.modules[folder.replace(".", "_x_")]


@pytest.fixture(scope="session")
def server(pytestconfig, tmp_path_factory):
    """ComfyUI's server with this pack, on a free loopback port: a `ComfyServer`."""
    with ComfyServer(pytestconfig.host, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Adds the server's log to the report of a failed test that used the server."""
    report = yield
    if report.failed and "server" in getattr(item, "funcargs", {}):
        report.sections.append(("ComfyUI's log", item.funcargs["server"].log_tail()))
    return report


@pytest.fixture(scope="session")
def demo(pack):
    """The demo models, loaded under inference mode as ComfyUI's executor loads them."""
    import torch
    from demo_world import DemoWorld

    with torch.inference_mode():
        return DemoWorld(pack)
