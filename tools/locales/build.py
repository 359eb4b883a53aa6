"""Writes the nodes' English texts for the frontend, and says what the translations lack.

.venv/bin/python -m tools.locales.build
"""

import json
import tempfile
from pathlib import Path

from devkit.comfy_host import find_host
from devkit.comfy_server import ComfyServer
from tools.locales.node_texts import LOCALES, SOURCE, faults, locale_file, read_texts, texts_of


def main() -> None:
    with tempfile.TemporaryDirectory() as base, ComfyServer(find_host(), Path(base)) as server:
        texts = texts_of(server.object_info())
    path = locale_file(SOURCE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(texts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for language in sorted(folder.name for folder in LOCALES.iterdir() if folder.name != SOURCE):
        for line in faults(texts, read_texts(language)):
            print(f"{language}: {line}")


if __name__ == "__main__":
    main()
