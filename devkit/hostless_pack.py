"""Makes the pack importable as `personalvideo_pack` where no ComfyUI runs, by being imported itself.

The pack is a package without a fixed name, and its __init__ needs the host, while most of what it computes does not.
"""

import sys
import types

from devkit.comfy_host import ROOT

PACKAGE = "personalvideo_pack"
sys.modules[PACKAGE] = types.ModuleType(PACKAGE)
sys.modules[PACKAGE].__path__ = [str(ROOT)]
