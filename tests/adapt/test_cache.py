"""What decides that kept results are made again: the hash of a module and of all that it imports of the project."""

import ast
import shutil
from pathlib import Path

import pytest

from adapt import cache
from adapt.cache import code_sha256

FAKE = {
    "one/__init__.py": "",
    "one/fit.py": "import json\nimport one.frames\nfrom two import style\nfrom elsewhere import nothing",
    "one/frames.py": "def read():\n    from two.camera import project\n    return project",
    "one/report.py": "from one.fit import fit",
    "two/__init__.py": "",
    "two/camera.py": "class Camera:\n    import two.lens",
    "two/lens.py": "FOCAL = 1.0",
    "two/style.py": "",
    "elsewhere/__init__.py": "nothing = 0",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder that counts as the project, and a function that hashes as a new process does."""

    def fresh(*modules):
        code_sha256.cache_clear()
        return code_sha256(*modules)

    monkeypatch.setattr(cache, "ROOT", tmp_path)
    yield tmp_path, fresh
    code_sha256.cache_clear()


@pytest.fixture
def fake(project, monkeypatch):
    folder, fresh = project
    monkeypatch.setattr(cache, "PACKAGES", ("one", "two"))
    for name, text in FAKE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder, fresh


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("one/fit.py", True),
        ("one/frames.py", True),
        ("two/__init__.py", True),
        ("two/camera.py", True),  # imported in a function
        ("two/lens.py", True),  # deep down
        ("two/style.py", True),
        ("one/report.py", False),
        ("elsewhere/__init__.py", False),
    ],
)
def test_a_change_counts_where_it_is_imported(fake, file, counts):
    folder, fresh = fake
    before = fresh("one.fit")
    (folder / file).write_text(FAKE[file] + "\n# changed")
    assert (fresh("one.fit") != before) == counts


def test_a_module_that_moves_counts_as_changed(fake):
    folder, fresh = fake
    before = fresh("one.fit")
    (folder / "two" / "lens.py").rename(folder / "two" / "glass.py")
    (folder / "two" / "camera.py").write_text(FAKE["two/camera.py"].replace("lens", "glass"))
    assert fresh("one.fit") != before


def test_several_modules_have_a_hash_of_their_own(fake):
    _, fresh = fake
    both = fresh("one.frames", "two.style")
    assert both == fresh("two.style", "one.frames") and both not in (fresh("one.frames"), fresh("two.style"))


@pytest.mark.parametrize("name", ["one.gone", "json", "elsewhere", "one.fit.fit"])
def test_an_unknown_module_is_refused(fake, name):
    _, fresh = fake
    with pytest.raises(ValueError, match=rf"code_sha256\(\): no module {name}$"):
        fresh(name)


def test_imports_are_those_that_python_finds():
    for package in cache.PACKAGES:
        for path in (Path(cache.ROOT) / package).rglob("*.py"):
            names = set()
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            assert set(cache._imported(path)) == {name for name in names if cache._source(name)}, path


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """The sources of this project, copied, and the hash of a fit's code in their own place."""
    original = code_sha256("adapt.fitting.fit")
    folder = tmp_path_factory.mktemp("copy")
    for package in cache.PACKAGES:
        for path in (Path(cache.ROOT) / package).rglob("*"):
            if path.suffix == ".py" or path.parent.name == "csrc":
                to = folder / path.relative_to(cache.ROOT)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to)
    return folder, original


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("prior/motion/style.py", True),
        ("adapt/cast/resemblance.py", True),
        ("adapt/cast/suitability.py", True),
        ("render/head/camera.py", True),
        ("cuda_ext/ops.py", True),
        ("cuda_ext/csrc/library.cpp", True),
        ("adapt/commands/fit.py", False),
        ("adapt/dubbing/dub.py", False),
        ("prior/training/renderer.py", False),
    ],
)
def test_a_fit_depends_on_the_code_it_runs(copied, project, monkeypatch, file, counts):
    _, fresh = project
    folder, original = copied
    monkeypatch.setattr(cache, "ROOT", folder)
    kept = (folder / file).read_bytes()
    (folder / file).write_bytes(kept + b"\n")
    changed = fresh("adapt.fitting.fit")
    (folder / file).write_bytes(kept)
    assert (changed != original) == counts
