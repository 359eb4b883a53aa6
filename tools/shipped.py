"""What the Comfy registry distributes: every file under version control that `.comfyignore` does not name.

.venv/bin/python -m tools.shipped [--zip pack.zip]
"""

import argparse
import io
import subprocess
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from devkit.comfy_host import ROOT


def shipped_files() -> list[PurePosixPath]:
    """The shipped files, relative to the pack's folder and in alphabetical order."""
    ignored = _listed("--ignored", "--exclude-from=.comfyignore")
    return sorted(path for path in _listed() - ignored if (ROOT / path).exists())


def write_zip(target: Path | BinaryIO) -> None:
    """Zip the shipped files with the compression that the registry's own tool uses."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in shipped_files():
            archive.write(ROOT / path, str(path))


def _listed(*options: str) -> set[PurePosixPath]:
    """The tracked files that `git ls-files` lists with these options."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "-z", *options], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return {PurePosixPath(name) for name in listing.stdout.split("\0") if name}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zip", type=Path, help="write the zip here")
    target = parser.parse_args().zip
    files, sizes = shipped_files(), Counter()
    for path in files:
        sizes[path.parts[0]] += (ROOT / path).stat().st_size
    for name, size in sizes.most_common():
        print(f"{size / 1e6:8.3f} MB  {name}")
    archive = io.BytesIO()
    write_zip(archive)
    print(f"{sum(sizes.values()) / 1e6:8.3f} MB  in {len(files)} files, {archive.tell() / 1e6:.3f} MB zipped")
    if target:
        target.write_bytes(archive.getvalue())


if __name__ == "__main__":
    main()
