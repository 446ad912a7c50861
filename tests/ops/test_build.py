import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.ops.compiled import compile_into

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "cuda_ext" / "csrc"
REGISTERED = re.compile(r'm\.impl\("(\w+)"')


def test_every_op_has_a_schema_and_both_implementations() -> None:
    declared = set(re.findall(r'^\s*"?(?:m\.def\()?"?(\w+)\(Tensor', (CSRC / "library.cpp").read_text(), re.MULTILINE))
    for pattern in ("*_cpu.cpp", "*_cuda.cu"):
        implemented = {name for path in CSRC.glob(pattern) for name in REGISTERED.findall(path.read_text())}
        assert implemented == declared, pattern


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_cuda_sources_compile(compile_once: Callable[..., Path]) -> None:
    """All of them as one unit for one architecture; a GPU is not needed, nor a torch with CUDA."""
    package = Path(torch.__file__).parent
    sources = {path.name: path.read_text() for pattern in ("*.cu", "*.cuh", "*.h") for path in CSRC.glob(pattern)}
    sources["all.cu"] = "".join(f'#include "{path.name}"\n' for path in sorted(CSRC.glob("*_cuda.cu")))
    include = [f"-I{package / 'include'}", f"-I{package / 'include/torch/csrc/api/include'}"]
    flags = ["-O1", "-std=c++17", "--fmad=false", "-Xcompiler", "-fPIC", "-DUSE_CUDA"]
    target = ["-DTORCH_TARGET_VERSION=0x020a000000000000", "-gencode", "arch=compute_90,code=sm_90"]
    assert compile_once(sources, ["nvcc", "-c", "all.cu", *flags, *target, *include], "all.o").stat().st_size > 0


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_what_was_compiled_is_kept_until_something_changes(tmp_path: Path) -> None:
    sources, command = (
        {"one.c": '#include "two.h"\nint one = TWO / 2;', "two.h": "#define TWO 2\n"},
        ["g++", "-c", "one.c"],
    )
    kept = compile_into(tmp_path, sources, command, "one.o")
    made = kept.stat().st_mtime_ns
    assert compile_into(tmp_path, sources, command, "one.o") == kept and kept.stat().st_mtime_ns == made
    for others in ((sources | {"two.h": "#define TWO 4\n"}, command), (sources, [*command, "-O1"])):
        other = compile_into(tmp_path, *others, "one.o")
        assert other != kept and list(tmp_path.iterdir()) == [other]
        kept = other
    with pytest.raises(AssertionError, match="two.h"):
        compile_into(tmp_path, {"one.c": sources["one.c"]}, command, "one.o")
    assert list(tmp_path.iterdir()) == [kept]


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
