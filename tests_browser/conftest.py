"""Fixtures: ComfyUI's server with the pack, and its frontend in a headless Chromium."""

import pytest

from devkit.comfy_host import SetupError, find_host
from devkit.comfy_server import ComfyServer
from tools.pictures.browser import Browser


def pytest_configure(config):
    try:
        config.host = find_host()
        if config.host is None:
            raise SetupError("There is no ComfyUI yet: run `make setup`, or set COMFYUI_PATH.")
    except SetupError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def server(pytestconfig, tmp_path_factory):
    base = tmp_path_factory.mktemp("server")
    (base / "input" / "empty folder").mkdir(parents=True)
    with ComfyServer(pytestconfig.host, base) as running:
        yield running


@pytest.fixture(scope="session")
def browser():
    with Browser() as running:
        yield running


@pytest.fixture
def screen(browser, server):
    """A fresh visit; a test that leaves an error of ours in the console fails."""
    visit = browser.open(server)
    yield visit
    errors = visit.errors
    visit.close()
    assert not errors


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Adds the server's log to the report of a failed test."""
    report = yield
    if report.failed and "server" in getattr(item, "funcargs", {}):
        report.sections.append(("ComfyUI's log", item.funcargs["server"].log_tail()))
    return report
