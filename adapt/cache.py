"""Cache: results kept between runs under a hash of everything that decided them.

A key is the hash of JSON facts: hashes of files and weights, settings, and the sources of the modules at work. A run
that was killed finds what it had done; a changed input or setting has another key and is done again.
"""

import ast
import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from render.errors import StoreError
from render.store import file_sha256, write_bytes, write_json, write_text
from render.text import read_json

ROOT = Path(__file__).parents[1]
PACKAGES = ("adapt", "prior", "render", "cuda_ext")


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


def write_lines(path: Path, lines: Sequence[Any]) -> None:
    """Write JSON lines, atomically."""
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


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
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return [name for name in names if _source(name) is not None]
