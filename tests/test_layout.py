import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ["cuda_ext", "render", "prior", "adapt"]
MODULES = [path for package in ORDER for path in sorted((ROOT / package).glob("*.py"))]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_every_module_imports_and_only_downwards(path):
    import_module(f"{path.parent.name}.{path.stem}")
    allowed = ORDER[: ORDER.index(path.parent.name) + 1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names = [node.module or ""]
        for name in names:
            package = name.split(".")[0]
            assert package not in ORDER or package in allowed, f"{path.name} imports {name}: imports go downwards"


def test_top_level_holds_only_what_it_should():
    allowed = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "NOTICE",
        "MODEL_CARD.md",
        "Makefile",
        "demo",
        "runs",
    }
    allowed |= {*ORDER, "tests", "examples", "cache", "build"}
    unexpected = [
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".") and path.name not in allowed and path.suffix != ".egg-info"
    ]
    assert not unexpected
