"""Fixtures on the real host: the pack loaded by ComfyUI's own loader, and ComfyUI's own server.

The host is put on `sys.path` before collection, so test modules import `comfy` at their top; its
output, input and model folders are private and temporary.
"""

import shutil
import tempfile
from pathlib import Path

import pytest

from devkit.comfy_host import SetupError
from devkit.comfy_process import load_pack, open_host
from devkit.comfy_server import ComfyServer


def pytest_configure(config):
    config.base = Path(tempfile.mkdtemp(prefix="personalvideo-"))
    try:
        config.host = open_host(config.base, full_precision=True)
    except SetupError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_unconfigure(config):
    if base := getattr(config, "base", None):
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def pack(pytestconfig):
    """The pack's package as ComfyUI loaded it; submodules are attributes (`pack.training.rollout`)."""
    try:
        return load_pack(pytestconfig.base)
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


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

    from devkit.demo_world import DemoWorld

    with torch.inference_mode():
        return DemoWorld(pack)


@pytest.fixture
def untimed(pack):
    """Runs without the steps that are timed for the estimate, so that model calls count from the first of the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack.training.run, "timed", lambda *arguments: pack.training.forecast.Timing(0.0, 0.0))
        yield


@pytest.fixture
def vae_approx(tmp_path, monkeypatch):
    """An empty folder in the place of models/vae_approx."""
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "vae_approx", ([str(tmp_path)], {".safetensors"}))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
