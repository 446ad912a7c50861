"""A child process that reads damaged inputs, one after the other, and says what came of each."""

import faulthandler
import os
import resource
import shutil
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import torch

from render.errors import AdaptError
from tests.cases.case import limit_memory
from tests.fuzz.damage import Files
from tests.fuzz.faults import FAULTS
from tests.fuzz.readers import READERS

ROOT = Path(__file__).parents[2]
PACKAGES = ("adapt", "prior", "render", "cuda_ext")
BYTES = 4 << 30

ALL = {**READERS, **FAULTS}

#: Kind and place of what is wrong.
Wrong = tuple[str, str]


def serve(connection: Connection, originals: Path, scratch: Path, err: Path) -> None:
    """Read inputs as they are asked for: (reader, seed) in; each call's name, then what `read` returns, out."""
    os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_memory(BYTES)
    torch.set_num_threads(1)
    while True:
        try:
            reader, seed = connection.recv()
        except EOFError:
            return
        write_input(scratch, damaged(originals, reader, seed))
        connection.send(read(reader, scratch, connection.send))


def damaged(originals: Path, reader: str, seed: int) -> Files:
    """The files of an input, by reader and seed."""
    random = Random(f"{reader} {seed}")
    chosen = random.choice(sorted((originals / reader).iterdir()))
    paths = sorted(path for path in chosen.rglob("*") if path.is_file())
    files = {str(path.relative_to(chosen)): path.read_bytes() for path in paths}
    return ALL[reader].damage(files, random)


def write_input(folder: Path, files: Files) -> None:
    """Write files into a folder that holds nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def read(reader: str, folder: Path, begin: Callable[[str], None] = len) -> tuple[list[Wrong], bool]:
    """What is wrong with how an input was read, and whether anything read it; `begin` is told each call's name."""
    wrong, was_read = [], False
    for call in ALL[reader].calls:
        begin(call.__name__)
        try:
            call(folder)
            was_read = True
        except (AdaptError, OSError):
            pass
        except Exception as error:
            wrong.append((type(error).__name__, f"{place(error)}: {' '.join(str(error).split())[:100]}"))
    return wrong, was_read


def place(error: BaseException) -> str:
    """Where in the project an error came up."""
    found = "outside"
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES:
            found = f"{path.relative_to(ROOT)}:{frame.lineno} {frame.name}"
    return found
