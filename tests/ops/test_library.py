"""Which compiled ops are loaded: those that this version builds, whatever others lie beside them."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cuda_ext

PACKAGE = Path(cuda_ext.__file__).parent
ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package without compiled ops."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "cuda_ext", ignore=shutil.ignore_patterns("*.so", "csrc", "__py*")))


def load(folder: Path, cuda: str = "None") -> subprocess.CompletedProcess[str]:
    """Load the ops of this package in a process of its own, by a torch that says it is of this version of CUDA."""
    code = f"import torch; torch.version.cuda = {cuda}; from cuda_ext import library; print(library.NO_CUDA)"
    env = {**os.environ, "PYTHONPATH": str(folder.parent)}
    return subprocess.run([sys.executable, "-c", code], cwd=folder.parent, env=env, capture_output=True, text=True)


def test_libraries_of_another_torch_are_left_alone(copy: Path) -> None:
    shutil.copy(PACKAGE / "_cpu.abi3.so", copy)
    for name in ("_cuda.abi3.so", "_cuda.cpython-310-x86_64-linux-gnu.so", "_cpu.cpython-310-x86_64-linux-gnu.so"):
        (copy / name).write_bytes(b"of another torch")
    done = load(copy)
    assert done.returncode == 0 and "is without CUDA" in done.stdout, done.stderr
    done = load(copy, "'13.0'")
    assert done.returncode == 0 and "the CUDA ops do not load with torch" in done.stdout, done.stderr
    assert "_cuda.abi3.so" in done.stdout and "pip install --no-build-isolation -e ." in done.stdout
    (copy / "_cuda.abi3.so").unlink()
    assert "the ops were built without CUDA" in load(copy, "'13.0'").stdout


def test_ops_that_are_missing_or_do_not_load_are_named_with_a_remedy(copy: Path) -> None:
    done = load(copy)
    assert "ImportError: the compiled ops are missing in" in done.stderr.splitlines()[-1]
    (copy / "_cpu.abi3.so").write_bytes(b"of another torch")
    done = load(copy)
    assert "ImportError: the compiled ops do not load with torch" in done.stderr.splitlines()[-1]
    assert "pip install --no-build-isolation -e ." in done.stderr.splitlines()[-1]


def test_no_library_is_packed_that_the_build_did_not_make() -> None:
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["cuda_ext"]
    assert not [path for pattern in packed for path in PACKAGE.glob(pattern) if path.suffix == ".so"]
