"""Compiling for tests, once for the same sources."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch


def compile_into(folder: Path, sources: dict[str, str], command: list[str], product: str) -> Path:
    """Compile, unless `folder` holds what the same sources, command, torch and compilers made before.

    Args:
        folder: keeps one product of each name.
        sources: texts by file name; all that is compiled, but for the headers of torch and of the system.
        command: the compiler first; it runs in a folder of nothing but the sources.
        product: name of the file that the command is to make.
    """
    compilers = {path for name in (command[0], "g++") if (path := shutil.which(name))}  # nvcc calls g++
    versions = [subprocess.check_output([path, "--version"], text=True) for path in sorted(compilers)]
    made_from = [sources, command, torch.__version__, versions, platform.machine()]
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
    kept = folder / f"{key}-{product}"
    if kept.is_file():
        return kept
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for name, text in sources.items():
            Path(place, name).write_text(text)
        done = subprocess.run([*command, "-o", product], cwd=place, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr[-3000:]
        os.replace(Path(place, product), kept)
    for other in folder.glob(f"*-{product}"):
        if other != kept:
            other.unlink(missing_ok=True)
    return kept
