"""Output: what may be written where. One rule for what exists already, and folders that appear whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from render.errors import OutputError
from render.store import DISK_FULL


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder that gets the name `out` when all went well, and is removed when not.

    Raises:
        OutputError: it cannot be made, or the disk is full.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror}); choose another folder with --out") from error
    try:
        folder.chmod(0o755)
        yield folder
        folder.rename(out)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        if error.errno in DISK_FULL:
            where = error.filename or "the temporary folder"
            raise OutputError(f"{where}: {error.strerror}; make room, or choose another folder with --out") from error
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
