"""Part files: what is being written, hidden beside the name that it gets once it is whole.

In: the path of a file to be written. Out: a new empty file beside it that this process alone writes to: it holds a
lock that ends with the process, however that ends. So the next one to write there tells what a killed one left, which
it removes, from what a living one is at, which it leaves alone.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

#: Characters of a name that the part's begins with: four bytes each at most, of the 255 that a name may have.
NAME_START = 59


@dataclass
class PartFile:
    """A file in the making.

    Attributes:
        path: where it is until it is whole.
    """

    path: Path
    _file: int

    @staticmethod
    def beside(target: Path, mode: int = 0o666) -> "PartFile":
        """A new empty file in the target's folder, with a mode less the umask.

        Raises:
            OSError: the folder cannot be written to.
        """
        for number in count():
            path = target.with_name(f".{target.name[:NAME_START]}{f'.{number}' if number else ''}.part")
            if not _is_free(path):
                continue
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
            except FileExistsError:
                continue
            if _is_locked(file, path) is not False:
                return PartFile(path, file)
            os.close(file)  # another took it for left behind
        raise AssertionError("there is always a next number")

    def become(self, target: Path) -> None:
        """Give the file its name; what bears that is replaced."""
        self.path.replace(target)
        os.close(self._file)

    def drop(self) -> None:
        """Remove it."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        os.close(self._file)


def _is_locked(file: int, path: Path) -> bool | None:
    """Lock an open file, unless another process has it or the name is another's by now; None: there are no locks."""
    try:
        if fcntl is None:
            return None
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(file), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return None


def _is_free(path: Path) -> bool:
    """Whether there is nothing, or was nothing but a file that a killed process left."""
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        if not path.is_file() or not _is_locked(file, path):
            return False
        path.unlink()
        return True
    except OSError:
        return False
    finally:
        os.close(file)
