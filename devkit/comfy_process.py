"""The host inside this process, with the pack loaded by the host's own loader, for tests and benchmarks.

    host = open_host(base=Path("somewhere/private"))
    pack = load_pack(base)      # submodules are attributes: pack.training.rollout

Afterwards `import comfy` finds the host; `import nodes` finds the host's nodes, never the pack's.
"""

import asyncio
import sys
from pathlib import Path
from types import ModuleType

from devkit.comfy_host import ROOT, SetupError, find_host
from devkit.comfy_server import PACK_FOLDER, has_gpu, prepare_base


def open_host(base: Path, full_precision: bool = False) -> Path:
    """Find the host and put it on `sys.path`, with output, input and model folders inside `base`.

    full_precision: compute everything in 32 bits, on a GPU too, where the host would choose 16. Raises SetupError if
    there is no host.
    """
    host = find_host()
    if host is None:
        raise SetupError("There is no ComfyUI yet: run `make setup`, or set COMFYUI_PATH.")
    put_first(host)
    prepare_base(base)

    import comfy.cli_args
    import torch

    comfy.cli_args.args.base_directory = str(base)
    comfy.cli_args.args.cpu = not has_gpu()
    comfy.cli_args.args.force_fp32 = full_precision
    torch.backends.cudnn.allow_tf32 &= not full_precision

    import folder_paths

    folder_paths.add_model_folder_path("loras", str(base / "output" / "loras"))  # as main.py does
    return host


def put_first(host: Path) -> None:
    """Make `import comfy` find the host, and `import nodes` the host's nodes, although the pack's folder has some too.

    This is the only place that edits `sys.path`; everything of ours is started from the pack's folder (`python -m ...`).
    """
    others = [path for path in sys.path if Path(path).resolve() not in (host.resolve(), ROOT.resolve())]
    sys.path[:] = [str(host), str(ROOT), *others]


def load_pack(base: Path) -> ModuleType:
    """The pack's package. Raises RuntimeError if the host cannot load it; the host's log says why."""
    import nodes

    folder = str(base / "custom_nodes" / PACK_FOLDER)
    if not asyncio.run(nodes.load_custom_node(folder)):
        raise RuntimeError("ComfyUI could not load the pack; its log above says why.")
    if not any(name.startswith("PersonalVideo") for name in nodes.NODE_CLASS_MAPPINGS):
        raise RuntimeError("The pack registered no node.")
    return sys.modules[folder.replace(".", "_x_")]
