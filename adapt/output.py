"""Output: what may be written where. One rule for what exists already, and folders that appear whole or not at all."""

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from render.errors import OutputError
from render.store import DISK_FULL, write_json


def refuse_existing(out: Path, overwrite: bool = False, kind: str = "", is_of_kind: bool = True) -> None:
    """Refuse an output whose name is taken.

    Args:
        out: file or folder that is to be written.
        overwrite: replace what is there.
        kind: what would be replaced, such as "actor bundle"; anything else is never replaced.
        is_of_kind: whether what is there is one.

    Raises:
        OutputError: it exists, and may not be replaced.
    """
    if not out.exists():
        return
    if not is_of_kind:
        raise OutputError(f"{out}: exists already and is no {kind}; choose another name")
    if not overwrite:
        raise OutputError(f"{out}: exists already; choose another name or pass --overwrite to replace it")


def refuse_files(folder: Path, names: Sequence[str], overwrite: bool = False) -> None:
    """Refuse a folder in which files of these names exist; other files in it do not matter.

    Raises:
        OutputError: some exist and may not be replaced, or the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, not a folder")
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise OutputError(f"{folder}: {', '.join(there)} exist there; choose another folder or pass --overwrite")


def refuse_unwritable(out: Path) -> None:
    """Make the folder that `out` is to lie in, and refuse one that cannot be written to.

    Raises:
        OutputError: nothing can be written there.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another place with --out") from error


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets the name `out` when all went well, and is removed when not.

    What has that name then is replaced; it is there until the new one is whole.

    Raises:
        OutputError: it cannot be made, or the disk is full.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another folder with --out") from error
    aside = folder.with_suffix(".old")
    try:
        folder.chmod(0o755)
        yield folder
        if out.exists():
            out.rename(aside)
        folder.rename(out)
    except BaseException as error:
        if aside.exists() and not out.exists():
            aside.rename(out)
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            where = error.filename or "the temporary folder"
            raise OutputError(f"{where}: {error.strerror}; make room, or choose another folder with --out") from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if out.exists():
            shutil.rmtree(aside, ignore_errors=True)


def write_settings(settings: Any, path: Path) -> None:
    """Write resolved settings, a dataclass, as JSON beside what they made."""
    write_json(path, dataclasses.asdict(settings))
