"""Stored things: one safetensors file of tensors whose metadata carry JSON facts, versioned, written atomically.

Every file has `format` (what it is), `format_version` (integer), `code_version`, and the caller's own facts. Loading
refuses another format or version by name. A write goes to a temporary name beside the target and is renamed.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from render.errors import OutputError, StoreError, StoreVersionError
from render.text import json_text, printable

#: The one metadata entry of every file.
HEADER = "adapt"
#: Error numbers of a disk, a quota or a file size limit that is used up.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Characters of a name that the temporary one begins with: four bytes each at most, of the 255 that a name may have.
NAME_START = 59


def code_version() -> str:
    """Version of this project as installed, or "unknown" where it runs uninstalled."""
    try:
        return version("adapt-dub")
    except PackageNotFoundError:
        return "unknown"


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write(temporary_path)` in `path`'s directory, then rename over `path`; nothing is left if it fails.

    A new file has the mode that the umask gives, a replaced one keeps its own.

    Raises:
        OutputError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Shortened, so that any name the file system takes can be written.
    temporary = path.with_name(f".{path.name[:NAME_START]}.{token_hex(4)}.part")
    kept_mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else None
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if kept_mode is None else kept_mode))
        write(temporary)
        if kept_mode is not None:
            with suppress(PermissionError):  # some disks have no modes
                temporary.chmod(kept_mode)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise OutputError(f"{path}: {error.strerror}; make room, or choose another folder") from error
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write bytes, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomic(path, write)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically; see `printable`."""
    write_bytes(path, printable(text).encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically."""
    write_text(path, json_text(value, indent=1) + "\n")


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes, read in blocks."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_tensors(
    path: Path, kind: str, kind_version: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
) -> None:
    """Write tensors with JSON `facts` as a `kind` file of version `kind_version`."""
    header = {
        "format": kind,
        "format_version": kind_version,
        "code_version": code_version(),
        "facts": dict(facts),
    }
    # One metadata entry: safetensors writes several in random order, and equal content is to give equal bytes.
    metadata = {HEADER: json_text(header, sort_keys=True)}
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Serialised here, not by safetensors into the file, whose errors do not tell a full disk.
    write_bytes(path, save(ready, metadata))


def load_tensors(path: Path, kind: str, kind_version: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a file written by `save_tensors`.

    Returns:
        The tensors on the CPU, and the facts.

    Raises:
        StoreError: missing, unreadable, or another kind of file.
        StoreVersionError: written by another version of the format.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: no such file (expected a {kind} file)")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise StoreError(f"{path}: not a readable {kind} file ({error})") from error
    if header.get("format") != kind:
        raise StoreError(f"{path}: is a {header.get('format', 'foreign')} file, expected {kind}")
    if header.get("format_version") != kind_version:
        raise StoreVersionError(
            f"{path}: {kind} version {header['format_version']}, this program reads version {kind_version}; "
            "make the file again with this version, or install the version that wrote it "
            f"({header.get('code_version', 'unknown')})"
        )
    return tensors, header["facts"]


#: Matrices and convolutions of at least so many weights are stored in 8 bits; what their scales are called.
QUANTISED_NUMEL = 4096
SCALE = "/scale"


def packed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as they are stored: large ones in 8 bits with a scale a row, the rest in half precision."""
    stored = {}
    for name, value in tensors.items():
        if "expression" in name or not value.is_floating_point():
            stored[name] = value
        elif value.ndim < 2 or value.numel() < QUANTISED_NUMEL:
            stored[name] = value.half()
        else:
            scale = value.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
            stored[name] = (value / _column(scale, value)).round().to(torch.int8)
            stored[name + SCALE] = scale
    return stored


def unpacked(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Float32 weights from `packed` ones."""
    tensors = {}
    for name, value in stored.items():
        if name + SCALE in stored:
            tensors[name] = value.float() * _column(stored[name + SCALE], value)
        elif not name.endswith(SCALE):
            tensors[name] = value.float()
    return tensors


def _column(scale: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """One factor [N] a row of value [N, ...], ready to multiply."""
    return scale.float().view(-1, *[1] * (value.ndim - 1))
