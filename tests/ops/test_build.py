import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "cuda_ext" / "csrc"
REGISTERED = re.compile(r'm\.impl\("(\w+)"')


def test_every_op_has_a_schema_and_both_implementations() -> None:
    declared = set(re.findall(r'^\s*"?(?:m\.def\()?"?(\w+)\(Tensor', (CSRC / "library.cpp").read_text(), re.MULTILINE))
    for pattern in ("*_cpu.cpp", "*_cuda.cu"):
        implemented = {name for path in CSRC.glob(pattern) for name in REGISTERED.findall(path.read_text())}
        assert implemented == declared, pattern


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_cuda_sources_compile(tmp_path: Path) -> None:
    """All of them as one unit for one architecture; a GPU is not needed, nor a torch with CUDA."""
    unit, package = tmp_path / "all.cu", Path(torch.__file__).parent
    unit.write_text("".join(f'#include "{path}"\n' for path in sorted(CSRC.glob("*_cuda.cu"))))
    include = [f"-I{package / 'include'}", f"-I{package / 'include/torch/csrc/api/include'}"]
    flags = ["-O1", "-std=c++17", "--fmad=false", "-Xcompiler", "-fPIC", "-DUSE_CUDA"]
    target = ["-DTORCH_TARGET_VERSION=0x020a000000000000", "-gencode", "arch=compute_90,code=sm_90"]
    command = ["nvcc", "-c", str(unit), "-o", str(tmp_path / "all.o"), *flags, *target, *include]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("choice", "message"),
    [("gpu", "CUDA_EXT must be auto, cpu or cuda, got 'gpu'"), ("cuda", "CUDA_EXT=cuda needs a CUDA build of torch")],
)
def test_build_choice_is_checked(choice: str, message: str) -> None:
    if choice == "cuda" and torch.version.cuda is not None:
        pytest.skip("this torch has CUDA")
    command = [sys.executable, "-c", "from cuda_ext.build_ops import extensions; extensions()"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "CUDA_EXT": choice}, capture_output=True, text=True)
    assert done.returncode != 0 and message in done.stderr
