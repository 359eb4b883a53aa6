"""Judge, held-out prompts and evaluation cannot be reached from the code that trains; imports point one way."""

import ast
from pathlib import Path

from devkit.comfy_host import ROOT

SHIPPED = ("adapters", "rewards", "host", "training", "drawing", "evaluation", "prompts", "demo", "nodes")
MAY_IMPORT = {
    "adapters": set(),
    "prompts": set(),
    "rewards": set(),
    "host": {"adapters"},
    "training": {"adapters", "rewards", "host"},
    "drawing": set(),
    "evaluation": {"rewards", "drawing"},
    "demo": {"rewards"},
    "nodes": {"adapters", "prompts", "rewards", "host", "training", "drawing", "evaluation", "demo"},
}


def imported_folders(path: Path) -> set[str]:
    """Folders of this pack that a module imports by relative imports."""
    package = path.relative_to(ROOT).parent.parts
    folders = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            target = base + tuple((node.module or "").split("."))
            names = [target] if node.module else [(*base, alias.name) for alias in node.names]
            folders |= {name[0] for name in names if name and name[0]}
    return folders


def test_imports_point_one_way():
    for folder in SHIPPED:
        for path in (ROOT / folder).rglob("*.py"):
            assert imported_folders(path) <= MAY_IMPORT[folder] | {folder}, path.relative_to(ROOT)


def test_train_node_reaches_neither_demo_nor_evaluation():
    for name in ("train_adapter.py", "train_progress.py"):
        assert not imported_folders(ROOT / "nodes" / name) & {"demo", "evaluation"}


def test_held_out_prompts_are_not_among_the_training_prompts():
    def lines(path):
        return {line.strip() for line in (ROOT / path).read_text().splitlines() if line.strip()}

    training, held_out = lines("prompts/demo.txt"), lines("demo/held_out.txt")
    assert len(training) == 50 and len(held_out) >= 24
    assert not training & held_out


def test_no_shipped_module_reads_the_held_out_prompts():
    for folder in SHIPPED:
        for path in (ROOT / folder).rglob("*.py"):
            assert "held_out.txt" not in path.read_text() or path.is_relative_to(ROOT / "demo" / "train"), path


def test_shipped_code_has_no_network_no_subprocess_and_no_pickle():
    forbidden = {"requests", "urllib", "aiohttp", "httpx", "subprocess", "socket", "pickle", "ctypes"}
    for folder in SHIPPED:
        shipped = "*.py" if folder == "demo" else "**/*.py"  # demo/train is not shipped
        for path in (ROOT / folder).glob(shipped):
            for node in ast.walk(ast.parse(path.read_text())):
                names = []
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    names = [node.module]
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    assert node.func.id not in {"eval", "exec"}, path
                assert not {name.split(".")[0] for name in names} & forbidden, path


def test_torchvision_is_imported_only_where_it_is_used():
    """A torchvision built for another PyTorch fails to be imported, and the pack has to load even so."""
    for folder in SHIPPED:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
                assert "torchvision" not in {name.partition(".")[0] for name in names}, path.relative_to(ROOT)
