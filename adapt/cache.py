"""Cache: results kept between runs under a hash of everything that decided them.

A key is the hash of JSON facts: hashes of files and weights, settings, and the sources of the modules at work. A run
that was killed finds what it had done; a changed input or setting has another key and is done again. What takes long to
find in a video is kept so in the user's own cache folder (`Found`), which is held to a size.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.errors import OutputError, StoreError
from render.store import (
    file_sha256,
    load_arrays,
    load_tensors,
    save_arrays,
    save_tensors,
    write_bytes,
    write_json,
    write_text,
)
from render.text import read_json

if TYPE_CHECKING:
    import numpy as np
    import torch

ROOT = Path(__file__).parents[1]
PACKAGES = ("adapt", "prior", "render", "cuda_ext")
#: What is found in videos, in the user's cache folder; what was used longest ago goes first where it grows too large.
FOUND, FOUND_VERSION, FOUND_SUFFIX = "adapt-found", 1, ".safetensors"
LARGEST_FOUND_BYTES = 4 << 30


def content_key(facts: Any) -> str:
    """24 hexadecimal digits for JSON-able facts."""
    return sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()[:24]


class Cache:
    """Files under one folder, by kind and key."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def path(self, kind: str, key: str, suffix: str) -> Path:
        """Where something of a kind is kept; its folder is made."""
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{key}{suffix}"

    def read_json(self, kind: str, key: str) -> Any | None:
        """What was kept, or None; a damaged file counts as none."""
        path = self.path(kind, key, ".json")
        try:
            return read_json(path)
        except StoreError:
            return None

    def write_json(self, kind: str, key: str, value: Any) -> None:
        """Keep a JSON-able value, atomically."""
        write_json(self.path(kind, key, ".json"), value)

    def write_bytes(self, kind: str, key: str, suffix: str, data: bytes) -> None:
        """Keep bytes, atomically."""
        write_bytes(self.path(kind, key, suffix), data)


def user_folder(name: str) -> Path:
    """A folder of a name in the user's cache (`$XDG_CACHE_HOME/adapt`, else `~/.cache/adapt`); it is not made.

    Raises:
        OutputError: the user has no home folder.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise OutputError("there is no home folder; name a folder for the cache in XDG_CACHE_HOME") from error
    return Path(base) / "adapt" / name


def make_private(folder: Path) -> None:
    """Make a folder whose parent nobody else can look into: what lies there is of people's faces."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(PermissionError):  # some disks have no modes
        folder.parent.chmod(0o700)
    folder.mkdir(exist_ok=True)


@dataclass(frozen=True)
class Found:
    """What was found in videos, kept as tensors and facts under a hash of all that decided it.

    Deleting it loses nothing but time; where it cannot be written nothing is kept, and nothing is said.

    Attributes:
        folder: where; None: nothing is kept, nor looked for.
        largest_bytes: of all that is kept.
    """

    folder: Path | None
    largest_bytes: int = LARGEST_FOUND_BYTES

    @staticmethod
    def of_user(is_kept: bool = True) -> Found:
        """In the user's cache folder, unless nothing is to be kept or there is no such folder."""
        with suppress(OutputError):
            return Found(user_folder("found") if is_kept else None)
        return Found(None)

    def read(self, key: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Tensors and facts that were kept under a key; None where there are none, or none that are whole."""
        return self._read(key, load_tensors)

    def read_arrays(self, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """`read` of arrays, without loading torch."""
        return self._read(key, load_arrays)

    def _read(self, key: str, load: Callable[[Path, str, int], Any]) -> Any:
        if self.folder is None or not (path := self._path(key)).is_file():
            return None
        with suppress(StoreError, OSError):
            kept = load(path, FOUND, FOUND_VERSION)
            os.utime(path)
            return kept
        return None

    def write(self, key: str, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Keep tensors and JSON-able facts; what was not used for longest makes room."""
        self._write(key, save_tensors, tensors, facts)

    def write_arrays(self, key: str, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        """`write` of arrays, without loading torch."""
        self._write(key, save_arrays, arrays, facts)

    def _write(self, key: str, save: Callable[..., None], values: dict[str, Any], facts: dict[str, Any]) -> None:
        if self.folder is None:
            return
        with suppress(OSError, OutputError):
            make_private(self.folder)
            save(self._path(key), FOUND, FOUND_VERSION, values, facts)
            self._make_room(self._path(key))

    def holds(self, key: str) -> bool:
        """Whether something is kept under a key; it may be damaged."""
        return self.folder is not None and self._path(key).is_file()

    def forget(self, key: str) -> None:
        """Remove what is kept under a key, if anything is."""
        if self.folder is not None:
            with suppress(OSError):
                self._path(key).unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """What is kept, by when it was last used, oldest first."""
        found = [] if self.folder is None or not self.folder.is_dir() else self.folder.glob(f"*{FOUND_SUFFIX}")
        with suppress(OSError):  # another run removes some
            return sorted(found, key=lambda path: path.stat().st_mtime)
        return []

    def clear(self) -> int:
        """Remove all that is kept; returns the bytes that it took."""
        return self._remove_until(0)

    def _path(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{key}{FOUND_SUFFIX}"

    def _make_room(self, newest: Path) -> None:
        self._remove_until(self.largest_bytes, spared=newest)

    def _remove_until(self, most_bytes: int, spared: Path | None = None) -> int:
        files = {path: path.stat().st_size for path in self.files()}
        total, removed = sum(files.values()), 0
        for path, size in files.items():
            if total - removed <= most_bytes:
                break
            if path != spared:
                path.unlink(missing_ok=True)
                removed += size
        return removed


def library_versions(*names: str) -> list[str | None]:
    """Versions of installed libraries, None for those that are not: what they give may change with them."""
    versions: list[str | None] = []
    for name in names:
        try:
            versions.append(version(name))
        except ModuleNotFoundError:  # PackageNotFoundError is one
            versions.append(None)
    return versions


#: Nothing is kept.
NOTHING_KEPT = Found(None)


def write_lines(path: Path, lines: Sequence[Any]) -> None:
    """Write JSON lines, atomically."""
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


#: An import statement, over several lines where its names stand in brackets.
IMPORT = re.compile(r"^[ \t]*(?:from [\w.]+ import [^\n(]*(?:\([^)]*\))?|import [\w.]+(?: as \w+)?$)", re.MULTILINE)


@cache
def code_sha256(*modules: str) -> str:
    """Hash of the sources of modules and of all that they import of this project; read once a process.

    Args:
        modules: names such as "adapt.fitting.fit".

    Raises:
        ValueError: no such module in this project.
    """
    file_of: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in file_of:
            continue
        path = _source(name)
        if path is None:
            raise ValueError(f"code_sha256(): no module {name}")
        file_of[name] = path
        waiting += _imported(path)
    files = sorted(file_of.items())
    if any(name.split(".")[0] == "cuda_ext" for name in file_of):
        sources = sorted(path for path in (ROOT / "cuda_ext" / "csrc").iterdir() if path.is_file())
        files += [(f"cuda_ext/csrc/{path.name}", path) for path in sources]
    digest = sha256()
    for name, path in files:
        digest.update(f"{name} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _source(name: str) -> Path | None:
    """The file of a module of this project; None for a name that is none."""
    path = ROOT.joinpath(*name.split("."))
    places = (path.with_suffix(".py"), path / "__init__.py")
    return next((place for place in places if name.split(".")[0] in PACKAGES and place.is_file()), None)


def _imported(path: Path) -> list[str]:
    """Modules of this project that a source file imports."""
    # Only its import statements are parsed: all of every source took longer than drawing a second of video.
    statements = "\n".join(match[0].strip() for match in IMPORT.finditer(path.read_text(encoding="utf-8")))
    names = set()
    for node in ast.parse(statements).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return [name for name in names if _source(name) is not None]
