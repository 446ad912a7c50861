"""Readers that do all that no reader may, to see that it is noticed."""

import os
import signal
import time
from pathlib import Path
from random import Random

from tests.fuzz.damage import Files
from tests.fuzz.readers import Reader


def _as_it_is(files: Files, random: Random) -> Files:
    return files


def end(folder: Path) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(folder: Path) -> None:
    time.sleep(60)


def grow(folder: Path) -> None:
    bytearray(8 << 30)


def stumble(folder: Path) -> None:
    {}["x"]


def refuse(folder: Path) -> None:
    raise FileNotFoundError(folder)


FAULTS = {call.__name__: Reader(_as_it_is, (call,)) for call in (end, hang, grow, stumble, refuse)}
