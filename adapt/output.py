"""Output: what may be written where. One rule for what exists already, and folders that appear whole or not at all."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapt.config import handed_on
from render.errors import OutputError
from render.store import DISK_FULL, write_json

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]


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
    """Refuse an output where nothing can be written, before any work; nothing is made.

    Raises:
        OutputError: the folder that it is to lie in cannot be made or written to, or the name is too long.
    """
    try:
        out.exists()  # raises where the name is too long
        folder = next(folder for folder in out.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another place with --out") from error


@dataclass
class NewFolder:
    """A folder in the making.

    Attributes:
        path: where it is: hidden while it is made, then under its name.
    """

    path: Path


@contextmanager
def new_folder(out: Path, is_replaced: Callable[[Path], bool] = lambda there: False) -> Iterator[NewFolder]:
    """A folder that gets the name `out` when all went well, and is removed when not; no other run can make it as well.

    What came to have that name meanwhile stays, and the new folder is called `out`.1; where `is_replaced` says so of
    what is there it is replaced, once the new one is whole. A link is written through.

    Raises:
        OutputError: it cannot be made, another run is making it, or the disk is full.
    """
    out = Path(os.path.realpath(out)) if out.is_symlink() else out
    aside = out.with_name(f".{out.name}.{os.getpid()}.old")
    with work_folder(out) as folder:
        made = NewFolder(folder)
        try:
            yield made
            if out.exists() and is_replaced(out):
                out.rename(aside)
            made.path = _renamed(folder, out)
        except BaseException as error:
            if aside.exists() and not out.exists():
                aside.rename(out)
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                where = error.filename or "the temporary folder"
                raise OutputError(
                    f"{where}: {error.strerror}; make room, or choose another folder with --out"
                ) from error
            raise
        if aside.exists():
            shutil.rmtree(aside, ignore_errors=True)


def _renamed(folder: Path, out: Path) -> Path:
    """Rename a folder to `out`, or where that came into being meanwhile to `out`.1, .2, …; nothing is replaced."""
    target, number = out, 0
    while True:
        try:
            return folder.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise
        number += 1
        target = out.with_name(f"{out.name}.{number}")


@contextmanager
def work_folder(out: Path, stage: str = "") -> Iterator[Path]:
    """A hidden folder beside `out` that this run holds alone; it is removed at the end, unless renamed by then.

    What a run that was killed left there is removed first. Each `stage` of making `out` has a folder of its own.

    Raises:
        OutputError: another run holds it, or it cannot be made.
    """
    folder = out.with_name(f".{out.name}{stage}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = _locked(folder, out)
        mine = folder.stat()
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another folder with --out") from error
    try:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        yield folder
    finally:
        # Once it is renamed, another run may have made its own under the same hidden name.
        if folder.exists() and os.path.samestat(folder.stat(), mine):
            shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked(folder: Path, out: Path) -> int | None:
    """Make a folder, or take over one that no living run holds; returns the open file that holds the lock.

    None where the system has no such locks; then a folder that is there already is refused.
    """
    while True:
        try:
            folder.mkdir()
            is_new = True
        except FileExistsError:
            is_new = False
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW) if fcntl else None
        except FileNotFoundError:  # renamed or removed by the run that held it
            continue
        try:
            if lock is None:
                raise OSError(errno.ENOLCK, "no locks")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if folder.exists() and os.path.samestat(folder.stat(), os.fstat(lock)):
                return lock
            os.close(lock)
        except BlockingIOError as error:
            if lock is not None:
                os.close(lock)
            raise OutputError(f"{out}: another run is writing it; wait for that, or choose another --out") from error
        except OSError as error:
            if lock is not None:
                os.close(lock)
            if is_new:
                return None
            raise OutputError(
                f"{folder}: of another run, or left by one that was killed; remove it, or choose another --out"
            ) from error


def write_settings(settings: Any, path: Path) -> None:
    """Write resolved settings, a dataclass, as JSON beside what they made; files by their names alone."""
    write_json(path, handed_on(settings))
