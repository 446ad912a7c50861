"""Stored things: one safetensors file of tensors whose metadata carry JSON facts, versioned, written atomically.

Every file has `format` (what it is), `format_version` (integer), `code_version`, and the caller's own facts. Loading
refuses another format or version by name. A write goes to a temporary name beside the target and is renamed.
"""

from __future__ import annotations

import errno
import json
import math
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from render.errors import OutputError, StoreError, StoreVersionError
from render.part_file import PartFile
from render.text import json_text, printable

if TYPE_CHECKING:
    import torch

#: The one metadata entry of every file.
HEADER = "adapt"
#: Types of values that files hold; others, which files may have, are none that can be compared and counted with.
READABLE = frozenset(
    ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"),
)
#: Error numbers of a disk, a quota or a file size limit that is used up.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def code_version() -> str:
    """Version of this project as installed, or "unknown" where it runs uninstalled."""
    try:
        return version("adapt-dub")
    except PackageNotFoundError:
        return "unknown"


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write(temporary_path)` in `path`'s directory, then rename over `path`; nothing is left if it fails.

    What a process that was killed left there is removed first. A new file has the mode that the umask gives, a replaced
    one keeps its own.

    Raises:
        OutputError: the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    kept_mode = stat.S_IMODE(path.stat().st_mode) if path.is_file() else None
    part: PartFile | None = None
    try:
        part = PartFile.beside(path, 0o666 if kept_mode is None else kept_mode)
        write(part.path)
        if kept_mode is not None:
            with suppress(PermissionError):  # some disks have no modes
                part.path.chmod(kept_mode)
        part.become(path)
    except BaseException as error:
        if part is not None:
            part.drop()
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


def _header(kind: str, kind_version: int, facts: Mapping[str, Any]) -> dict[str, str]:
    header = {
        "format": kind,
        "format_version": kind_version,
        "code_version": code_version(),
        "facts": dict(facts),
    }
    # One metadata entry: safetensors writes several in random order, and equal content is to give equal bytes.
    return {HEADER: json_text(header, sort_keys=True)}


def save_tensors(
    path: Path, kind: str, kind_version: int, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
) -> None:
    """Write tensors with JSON `facts` as a `kind` file of version `kind_version`."""
    from safetensors.torch import save  # here, as torch takes longer to load than much of what is done without it

    metadata = _header(kind, kind_version, facts)
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Serialised here, not by safetensors into the file, whose errors do not tell a full disk.
    write_bytes(path, save(ready, metadata))


def save_arrays(
    path: Path, kind: str, kind_version: int, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> None:
    """`save_tensors` of arrays, without loading torch; the file is the same."""
    from safetensors.numpy import save

    ready = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_bytes(path, save(ready, _header(kind, kind_version, facts)))


def load_arrays(path: Path, kind: str, kind_version: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """`load_tensors` as arrays, without loading torch."""
    return _load(path, kind, kind_version, "np")


def load_tensors(path: Path, kind: str, kind_version: int) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a file written by `save_tensors`.

    Returns:
        The tensors on the CPU, and the facts.

    Raises:
        StoreError: missing, unreadable, or another kind of file.
        StoreVersionError: written by another version of the format.
    """
    return _load(path, kind, kind_version, "pt")


def _load(path: Path, kind: str, kind_version: int, framework: str) -> tuple[dict[str, Any], dict[str, Any]]:
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"{path}: no such file (expected a {kind} file)")
    try:
        with safe_open(str(path), framework=framework) as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: not a readable {kind} file ({error})") from error
    found = header.get("format", "foreign") if isinstance(header, dict) else "foreign"
    if found != kind:
        raise StoreError(f"{path}: is a {found} file, expected {kind}")
    if header.get("format_version") != kind_version:
        raise StoreVersionError(
            f"{path}: {kind} version {header.get('format_version', 'unknown')}, this program reads version "
            f"{kind_version}; make the file again with this version, or install the version that wrote it "
            f"({header.get('code_version', 'unknown')})"
        )
    for name, value in tensors.items():
        if str(value.dtype).removeprefix("torch.") not in READABLE:
            raise StoreError(f"{path}: {name} is {_described(value.dtype, value.shape)}, which no file of ours holds")
    with damage_named(path, kind):
        return tensors, dict(header["facts"])


@contextmanager
def damage_named(path: Path, kind: str) -> Iterator[None]:
    """For what is made of stored values: values that are absent, or of another kind, are a `StoreError` of the file."""
    try:
        yield
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError) as error:
        told = " ".join(str(error).split())[:200]
        raise StoreError(
            f"{path}: damaged, or no {kind} of ours ({type(error).__name__}: {told}); make it again"
        ) from error


@dataclass(frozen=True)
class Form:
    """What a stored tensor has to be.

    Attributes:
        shape: a number for each dimension; or a letter, which stands for the same number in all tensors of a file.
        dtype: of its values; None for float32.
        low, high: that its values lie between, ends included.
    """

    shape: tuple[int | str, ...]
    dtype: torch.dtype | None = None
    low: float = -math.inf
    high: float = math.inf

    @property
    def wanted_type(self) -> str:
        """The type's name."""
        return str(self.dtype or "torch.float32")


#: No centimetre, pixel, angle or coefficient is so large; where one is, products overflow.
LARGEST = 1e6


def measured(*shape: int | str, dtype: torch.dtype | None = None) -> Form:
    """Form of what is measured of a head or a picture, of either sign."""
    return Form(shape, dtype, -LARGEST, LARGEST)


def refuse_other_forms(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    forms: Mapping[str, Form],
    sizes: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Refuse a file whose tensors are not what they have to be; returns what each letter of their shapes stands for.

    Args:
        path: of the file, for the message.
        tensors: name → tensor.
        forms: name → form, all of them and no other.
        sizes: what letters stand for where that is known.

    Raises:
        StoreError: a name, a type, a shape, or a value that is not finite or out of bounds.
    """
    if set(tensors) != set(forms):
        names = ", ".join(sorted(set(tensors) ^ set(forms)))
        raise StoreError(f"{path}: damaged, or of another kind (tensors missing or unknown: {names}); make it again")
    known = dict(sizes or {})
    for name, form in forms.items():
        tensor = tensors[name]
        fits = str(tensor.dtype) == form.wanted_type and tensor.ndim == len(form.shape)
        for size, letter in zip(tensor.shape, form.shape, strict=False):
            fits &= size == (known.setdefault(letter, size) if isinstance(letter, str) else letter)
        if not fits:
            expected = [known.get(letter, letter) if isinstance(letter, str) else letter for letter in form.shape]
            raise StoreError(
                f"{path}: {name} is {_described(tensor.dtype, tensor.shape)}, expected "
                f"{_described(form.wanted_type, expected)}; make the file again"
            )
        refuse_values(path, name, tensor, form.low, form.high)
    return known


def refuse_values(path: Path, name: str, tensor: torch.Tensor, low: float = -math.inf, high: float = math.inf) -> None:
    """Raise `StoreError` where a stored tensor holds a value that is not finite or not between `low` and `high`."""
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        raise StoreError(f"{path}: {name} holds values that are no numbers; make the file again")
    if tensor.numel() and not (float(tensor.min()) >= low and float(tensor.max()) <= high):
        raise StoreError(f"{path}: {name} holds values that are not between {low:g} and {high:g}; make the file again")


def _described(dtype: torch.dtype | str, shape: Sequence[int | str]) -> str:
    return f"{str(dtype).removeprefix('torch.')} [{', '.join(map(str, shape))}]"


#: Matrices and convolutions of at least so many weights are stored in 8 bits; what their scales are called.
QUANTISED_NUMEL = 4096
SCALE = "/scale"


def packed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights as they are stored: large ones in 8 bits with a scale a row, the rest in half precision."""
    import torch

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
