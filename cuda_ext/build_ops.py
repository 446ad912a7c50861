"""Builds the rasterizer ops for setuptools; pyproject.toml names `BuildOps`.

`CUDA_EXT=auto|cpu|cuda` chooses what is built: `auto` (default) adds the CUDA ops where this torch has CUDA and nvcc is
found, `cpu` never does, `cuda` fails where it cannot. A GPU is not needed to build.
"""

import os
import sys
from pathlib import Path

import torch
from setuptools import Extension
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension

CSRC = Path("cuda_ext/csrc")
MACROS = [("TORCH_TARGET_VERSION", "0x020a000000000000")]  # torch 2.10
CXX_FLAGS = ["-O3", "-g0", "-std=c++17", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
NVCC_FLAGS = ["-O3", "-std=c++17", "--fmad=false"]
ARCHITECTURES = "8.0;9.0+PTX"


def cuda_wanted() -> bool:
    """Read CUDA_EXT and look for what a CUDA build needs."""
    choice = os.environ.get("CUDA_EXT", "auto")
    if choice not in ("auto", "cpu", "cuda"):
        sys.exit(f"CUDA_EXT must be auto, cpu or cuda, got {choice!r}")
    available = torch.version.cuda is not None and CUDA_HOME is not None
    if choice == "cuda" and not available:
        versions = f"torch {torch.__version__}, CUDA_HOME {CUDA_HOME}"
        sys.exit(f"CUDA_EXT=cuda needs a CUDA build of torch and nvcc, found {versions}")
    return available and choice != "cpu"


def extensions() -> list[Extension]:
    """The CPU library, which also holds the schemas, and where wanted the CUDA library."""
    headers = [str(path) for path in sorted(CSRC.glob("*.*h"))]
    cpu = CppExtension(
        "cuda_ext._cpu",
        [str(CSRC / "library.cpp"), *(str(path) for path in sorted(CSRC.glob("*_cpu.cpp")))],
        depends=headers,
        define_macros=MACROS,
        extra_compile_args={"cxx": CXX_FLAGS},
        py_limited_api=True,
    )
    if not cuda_wanted():
        return [cpu]
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHITECTURES)
    cuda = CUDAExtension(
        "cuda_ext._cuda",
        [str(path) for path in sorted(CSRC.glob("*_cuda.cu"))],
        depends=headers,
        define_macros=[*MACROS, ("USE_CUDA", None)],
        extra_compile_args={"cxx": CXX_FLAGS, "nvcc": NVCC_FLAGS},
        py_limited_api=True,
    )
    return [cpu, cuda]


class BuildOps(BuildExtension):
    """`build_ext` of this project: the extensions depend on `CUDA_EXT` and on the torch that is there."""

    def finalize_options(self) -> None:
        """Choose the extensions, then go on as usual."""
        self.distribution.ext_modules = extensions()
        super().finalize_options()
