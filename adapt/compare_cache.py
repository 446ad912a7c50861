"""What a comparison keeps between runs: results under a hash of everything that decided them.

A key is the hash of JSON facts: hashes of files and weights, settings, and the sources of the modules at work. A run
that was killed finds what it had done; a changed input or setting has another key and is done again.
"""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from render.store import write_atomic, write_json


def content_key(facts: Any) -> str:
    """24 hexadecimal digits for JSON-able facts."""
    return sha256(json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:24]


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
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def write_json(self, kind: str, key: str, value: Any) -> None:
        """Keep a JSON-able value, atomically."""
        write_json(self.path(kind, key, ".json"), value)

    def write_bytes(self, kind: str, key: str, suffix: str, data: bytes) -> None:
        """Keep bytes, atomically."""

        def write(temporary: Path) -> None:
            temporary.write_bytes(data)

        write_atomic(self.path(kind, key, suffix), write)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_atomic(path, write)


def write_lines(path: Path, rows: Sequence[Any]) -> None:
    """Write JSON lines, atomically."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
