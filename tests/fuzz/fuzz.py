"""Gives damaged inputs to a child process and judges it: an end, a hang or an allocation is the input's at work."""

import os
import re
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cases.case import SERVER
from tests.fuzz.child import ROOT, serve
from tests.fuzz.originals import make_originals

#: Of the processor's time that one call may take; by the clock so many times that, since others are at work, too.
SECONDS, PATIENCE = 20.0, 4
#: Inputs that a child reads before another takes its place: what it has not given back is not the next input's.
INPUTS_A_CHILD = 1000
MEMORY = ("MemoryError", "DefaultCPUAllocator", "bad_alloc", "bad allocation", "Cannot allocate memory")


@dataclass(frozen=True)
class Finding:
    """What is wrong with one input: `kind` is an exception, a signal, time or memory."""

    reader: str
    seed: int
    kind: str
    where: str

    def __str__(self) -> str:
        return f"{self.reader} {self.seed} {self.kind}: {self.where}"


@dataclass
class Tally:
    """What came of a reader's inputs: how many, how many anything read, seconds, what is wrong."""

    inputs: int = 0
    read: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        wrong = len({finding.seed for finding in self.findings})
        return f"{self.inputs} inputs, {self.read} read, {wrong} wrong, {self.seconds:.0f} s"


class Fuzz:
    """A child at work on one input after the other; a context manager.

    Args:
        folder: for originals and the input at work.
        keep: where inputs are kept that something is wrong with, as READER-SEED.
        seconds: of the processor's time that one call may take.
    """

    def __init__(self, folder: Path, keep: Path | None = None, seconds: float = SECONDS) -> None:
        self.originals, self.scratch, self.err = folder / "originals", folder / "input", folder / "err"
        self.keep, self.seconds = keep, seconds
        self._child: Any = None
        self._connection: Any = None
        self._given = 0

    def __enter__(self) -> "Fuzz":
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def run(self, reader: str, seeds: range) -> Tally:
        """Read the inputs of a reader."""
        make_originals(self.originals, reader)
        tally, started = Tally(), time.monotonic()
        for seed in seeds:
            wrong, was_read = self._give(reader, seed)
            tally.inputs += 1
            tally.read += was_read
            tally.findings += [Finding(reader, seed, kind, where) for kind, where in wrong]
            if wrong and self.keep is not None:
                shutil.copytree(self.scratch, self.keep / f"{reader}-{seed}", dirs_exist_ok=True)
        tally.seconds = time.monotonic() - started
        return tally

    def _give(self, reader: str, seed: int) -> tuple[list[tuple[str, str]], bool]:
        if self._child is None or self._given == INPUTS_A_CHILD:
            self._start()
        self._given += 1
        try:
            self._connection.send((reader, seed))
            told = "making the input"
            while isinstance(told, str):
                if not self._answers():
                    return [("time", f"{self._stop()}: {told}")], False
                told = self._connection.recv()
            wrong, was_read = told
        except (EOFError, ConnectionError):
            return [self._death()], False
        wrong = [("memory" if any(word in f"{kind} {at}" for word in MEMORY) else kind, at) for kind, at in wrong]
        if any(kind == "memory" for kind, _ in wrong):
            self._end()
        return wrong, was_read

    def _answers(self) -> bool:
        """Whether the child says something before it has taken too long."""
        clock, spent = time.monotonic() + PATIENCE * self.seconds, self._processor_seconds() + self.seconds
        while not self._connection.poll(0.1):
            if time.monotonic() > clock or self._processor_seconds() > spent:
                return False
        return True

    def _processor_seconds(self) -> float:
        ticks = Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def _start(self) -> None:
        self._end()
        self.err.write_text("")
        self._connection, theirs = SERVER.Pipe()
        self._child = SERVER.Process(target=serve, args=(theirs, self.originals, self.scratch, self.err))
        self._child.start()
        theirs.close()
        self._given = 0

    def _end(self) -> None:
        if self._child is not None:
            self._connection.close()
            self._child.join(1)
            self._child.kill()
            self._child.join()
            self._child = None

    def _stop(self) -> str:
        """End a child that takes too long; says where it was."""
        child = self._child
        os.kill(child.pid, signal.SIGABRT)
        child.join(2)
        self._end()
        return self._last_place()

    def _death(self) -> tuple[str, str]:
        """What a child died of, and where it was."""
        self._child.join(5)
        code = self._child.exitcode
        self._end()
        text = self.err.read_text(errors="replace")
        if code is None or code >= 0:
            raise RuntimeError(f"the child itself ended ({code}): {text[-2000:]}")
        kind = "memory" if any(word in text for word in MEMORY) else f"signal {signal.Signals(-code).name}"
        return kind, self._last_place()

    def _last_place(self) -> str:
        """Where in the project the child was, from what it wrote when it was ended by a signal."""
        text = self.err.read_text(errors="replace")
        for path, line, name in re.findall(r'File "([^"]+)", line (\d+),? in (\S+)', text):
            if Path(path).is_relative_to(ROOT) and "tests" not in Path(path).relative_to(ROOT).parts:
                return f"{Path(path).relative_to(ROOT)}:{line} {name}"
        return "outside"
