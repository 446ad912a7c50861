import ast
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A module imports only from its own folder and from what stands to the left.
PACKAGES = ["cuda_ext", "render", "prior", "adapt"]
STAGES = {
    "cuda_ext": [],
    "render": "errors text part_file store video splicing head drawing compositing".split(),
    "prior": "shipped network face speech cache renderer motion baselines teachers training benchmarks".split(),
    "adapt": (
        "config progress output cache device installation reports cast tracking metrics actor synthetic fitting motion "
        "dubbing preparation baselines comparison commands benchmarks cli"
    ).split(),
}
#: Nothing imports these but what is named.
ENDS = {
    "adapt.commands": {"adapt.commands", "adapt.cli"},
    "adapt.benchmarks": {"adapt.benchmarks"},
    "prior.benchmarks": {"prior.benchmarks", "adapt.benchmarks"},
    "prior.training": {"prior.training", "prior.benchmarks", "adapt.benchmarks"},
}
#: What a machine that only trains has installed, beside the standard library.
TRAINING_NEEDS = {"torch", "numpy", "scipy", "safetensors", "tqdm", "cv2", "soxr"}
MOST_IN_A_FOLDER = 14
LONGEST_FUNCTION, MOST_PARAMETERS = 60, 7


def sources(root=ROOT):
    return [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]


def name_of(path, root=ROOT):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def nodes(path):
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def at_once(path):
    """Nodes of a file that run when it is imported: not those of functions, nor of `if TYPE_CHECKING`."""
    waiting = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        is_for_types = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        if not (is_for_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
            yield node
            waiting += ast.iter_child_nodes(node)


def imported(path, among=nodes):
    """Full names of what a file imports, wherever in it, or among some of its nodes."""
    names = set()
    for node in among(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wrong_imports(path, root=ROOT):
    """Imports of a file that go the wrong way."""
    module = name_of(path, root)
    package, *inner = module.split(".")
    wrong = []
    for name in sorted(name for name in imported(path) if name.split(".")[0] in PACKAGES):
        other, *place = name.split(".")
        upwards = PACKAGES.index(other) > PACKAGES.index(package)
        if other == package and inner and place and STAGES[package]:
            upwards |= STAGES[package].index(place[0]) > STAGES[package].index(inner[0])
        end = next((end for end in ENDS if name == end or name.startswith(f"{end}.")), None)
        entered = end is not None and not any(module == one or module.startswith(f"{one}.") for one in ENDS[end])
        if upwards or entered:
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_every_module_imports_and_only_to_the_left(path):
    import_module(name_of(path))
    assert not wrong_imports(path)


@pytest.mark.parametrize(
    ("file", "text", "wrong"),
    [
        ("render/video/footage.py", "from prior.face.points import lip_gap", ["prior.face.points.lip_gap"]),
        ("adapt/cast/faces.py", "def f():\n    from adapt.tracking.track import track", ["adapt.tracking.track.track"]),
        ("adapt/dubbing/session.py", "import adapt.commands.flags", ["adapt.commands.flags"]),
        ("prior/motion/model.py", "from prior.training import motion", ["prior.training.motion"]),
        ("adapt/commands/fit.py", "from adapt.fitting.fit import fit", []),
        ("adapt/cli.py", "from adapt.commands.flags import COMMANDS", []),
    ],
)
def test_an_import_the_wrong_way_is_found(tmp_path, file, text, wrong):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert wrong_imports(path, tmp_path) == wrong


def test_no_modules_import_each_other():
    waits = {name_of(path): imported(path) for path in sources() if path.stem != "__init__"}
    needs = {
        module: {other for other in waits if any(name == other or name.startswith(f"{other}.") for name in names)}
        for module, names in waits.items()
    }
    while free := [module for module, others in needs.items() if not others]:
        for module in free:
            del needs[module]
        needs = {module: others - set(free) for module, others in needs.items()}
    assert not needs, "in a circle, or behind one"


def needed(start, root=ROOT):
    """Packages that are not of this project nor of Python → the module that needs them: `start`, or what it imports."""
    files = {name_of(path, root): path for path in sources(root)}
    waiting = [module for module in files if module == start or module.startswith(f"{start}.")]
    known, needs = set(waiting), {}
    while waiting:
        module = waiting.pop()
        for name in imported(files[module], among=at_once):
            package = name.split(".")[0]
            if package not in PACKAGES and package not in sys.stdlib_module_names:
                needs.setdefault(package, module)
            reached = {other for other in (name, name.rpartition(".")[0]) if other in files} - known
            known |= reached
            waiting += reached
    return needs


def test_training_needs_little():
    needs = needed("prior.training")
    assert set(needs) >= {"torch", "numpy"}
    assert not set(needs) - TRAINING_NEEDS, {name: needs[name] for name in set(needs) - TRAINING_NEEDS}


def test_what_is_needed_is_looked_for_through_modules_but_not_in_functions(tmp_path):
    for file, text in (
        ("prior/training/motion.py", "from prior.speech.sound import tone\ndef f():\n    import soundfile"),
        ("prior/speech/sound.py", "import os.path\nfrom render import store\nclass Sound:\n    import av.audio"),
        ("render/store.py", "if True:\n    from safetensors.torch import save\nasync def f():\n    import cv2"),
        ("prior/speech/phonemes.py", "import scipy"),
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert needed("prior.training", tmp_path) == {"av": "prior.speech.sound", "safetensors": "render.store"}


def test_folders_and_functions_stay_small():
    folders = {path.parent for path in sources()}
    for folder in folders:
        assert len(folder.relative_to(ROOT).parts) <= 2, f"{folder}: one level of stage folders"
        assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= MOST_IN_A_FOLDER, folder
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))), folder
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                name = f"{name_of(path)}.{node.name}"
                first = node.body[0]
                told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
                told_lines = (first.end_lineno or 0) - first.lineno + 1 if told else 0
                lines = (node.end_lineno or 0) - node.lineno + 1 - told_lines
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                given = [one for one in given if one.arg not in ("self", "cls")]
                assert lines <= LONGEST_FUNCTION, f"{name}: {lines} lines"
                assert len(given) <= MOST_PARAMETERS, f"{name}: {len(given)} parameters"


def test_one_class_one_name():
    homes: dict[str, str] = {}
    for path in sources():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                assert node.name not in homes, f"{node.name}: in {homes[node.name]} and in {name_of(path)}"
                homes[node.name] = name_of(path)


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
    allowed |= {*PACKAGES, "tests", "examples", "cache", "build"}
    unexpected = [
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".") and path.name not in allowed and path.suffix != ".egg-info"
    ]
    assert not unexpected
