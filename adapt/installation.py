"""Installation: what it can do; each finding is OK or says how to fix it."""

import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import av
import torch

from prior.shipped import shipped_weights
from render.errors import StoreError

CODECS = {"h264": "libx264", "h265": "libx265", "ffv1": "ffv1", "prores": "prores_ks"}
CPU_FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
#: OpenCV's usual wheel draws windows, too, for which it wants libraries that servers and containers are without.
OPENCV = (
    "where a library such as libGL.so.1 is missing: apt-get install libgl1 libglib2.0-0, or OpenCV without windows: "
    "pip uninstall opencv-contrib-python, then pip install opencv-contrib-python-headless"
)
MEDIAPIPE = "pip install mediapipe==0.10.14 (Python 3.11 or 3.12)"
OPTIONAL = {
    "lpips": "LPIPS metric: pip install --no-deps lpips, and its trunk weights under TORCH_HOME",
    "face_alignment": "second landmark backend: pip install 'adapt-dub[fan]'",
    "transformers": "HuBERT or wav2vec 2.0 as a front end: pip install 'adapt-dub[hubert]'",
    "nvdiffrast": "second rasterizer on CUDA (non-commercial licence): build from source",
    "pytorch3d": "second rasterizer: build from source",
}


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis. `state` is "ok", "optional" (absent, not needed) or "missing"."""

    subject: str
    state: str
    detail: str


@dataclass(frozen=True)
class Diagnosis:
    """The state of an installation."""

    findings: tuple[Finding, ...]

    @property
    def missing(self) -> list[str]:
        """What is needed and not there."""
        return [finding.subject for finding in self.findings if finding.state == "missing"]


def doctor() -> Diagnosis:
    """Look at this installation."""
    return Diagnosis(tuple(_findings()))


def _findings() -> Iterator[Finding]:
    ok = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding(
        "python", "ok" if ok else "missing", platform.python_version() + ("" if ok else "; needs 3.11 or 3.12")
    )
    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    yield Finding("cpu", "ok", ", ".join(_cpu_features()) or "no vector features found")
    yield _gpu()
    yield _imported("rasterizer ops", "cuda_ext.ops", "they are built when adapt is installed")
    opencv = _imported("OpenCV", "cv2", OPENCV)
    yield opencv
    if opencv.state == "ok":
        yield _imported("mediapipe", "mediapipe", MEDIAPIPE)
    else:
        yield Finding("mediapipe", "missing", "not looked at: it needs OpenCV, see the line before")
    for name, encoder in CODECS.items():
        yield _codec(name, encoder)
    try:
        for stem, weights in shipped_weights().items():
            yield _weights(stem, weights)
    except StoreError as error:
        yield Finding("weights", "missing", str(error))
    for package, fix in OPTIONAL.items():
        try:
            yield Finding(package, "ok", version(package.replace("_", "-")))
        except PackageNotFoundError:
            yield Finding(package, "optional", f"absent; {fix}")
    footage = Path(os.environ.get("ADAPT_FOOTAGE", "../shared/footage"))
    state = "ok" if footage.is_dir() else "optional"
    yield Finding(
        "ADAPT_FOOTAGE", state, str(footage) + ("" if footage.is_dir() else "; absent, needed by some tests only")
    )


def _cpu_features() -> list[str]:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return []
    return [name for name in CPU_FEATURES if name in flags]


def _gpu() -> Finding:
    if not torch.cuda.is_available():
        return Finding("gpu", "optional", "none; everything runs on the CPU")
    name = torch.cuda.get_device_name()
    try:
        without = import_module("cuda_ext.library").NO_CUDA
    except ImportError:  # has its own line
        without = ""
    return Finding("gpu", "optional" if without else "ok", f"{name}; {without}" if without else name)


def _imported(subject: str, module: str, fix: str) -> Finding:
    try:
        import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(subject, "missing", f"{' '.join(str(error).split())}; {fix}")
    return Finding(subject, "ok", "loads")


def _codec(name: str, encoder: str) -> Finding:
    try:
        av.codec.Codec(encoder, "w")
    except (av.error.FFmpegError, ValueError):
        return Finding(f"codec {name}", "optional", f"no {encoder} in this FFmpeg; --codec {name} will not work")
    return Finding(f"codec {name}", "ok", encoder)


def _weights(stem: str, weights: Any) -> Finding:
    try:
        weights.verify()
    except StoreError as error:
        return Finding(f"weights {stem}", "missing", str(error))
    return Finding(f"weights {stem}", "ok", f"sha256 {weights.sha256[:12]}…; {weights.terms}")
