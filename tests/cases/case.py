"""A case: an input that people have, made by code, what is done with it, and what has to come of it.

Every command runs in a process of its own with limits on time and memory; so a crash, a hang or an allocation that
grows is an outcome like any other.
"""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adapt.cli import main
from adapt.commands.flags import COMMANDS

SECONDS, BYTES = 120.0, 6 << 30


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Attributes:
        code: exit status; negative: ended by that signal, or after `SECONDS`.
        out, err: what it printed.
        seconds: how long it took.
    """

    code: int
    out: str
    err: str
    seconds: float

    @property
    def line(self) -> str:
        """The one line of a refusal."""
        lines = [line for line in self.err.splitlines() if line.startswith("adapt: ")]
        return lines[-1] if lines else ""

    @property
    def is_refusal(self) -> bool:
        """One line that says what is wrong, and nothing else: no traceback, no crash."""
        return self.code in (1, 2) and bool(self.line) and "Traceback" not in self.err


@dataclass(frozen=True)
class Bench:
    """Where a case works.

    Attributes:
        folder: empty, its own.
        shared: what all cases read: `talking.mp4` (the synthetic actor, 1.6 s at 320 px, no sound), `voice.wav` (as
            long), `ada.actor` (fitted on it without a step), `talking.track.safetensors`.
    """

    folder: Path
    shared: Path

    def adapt(self, *words: str | Path) -> Outcome:
        """Run a command in the case's folder."""
        return run([str(word) for word in words], self.folder)

    def dub(self, shot: Path, *words: str | Path) -> Outcome:
        """Dub a shot of the synthetic actor to `out`, as a draft."""
        return self.adapt(
            "dub", shot, "--actor", self.shared / "ada.actor", "--draft", "-o", self.folder / "out", *words
        )


@dataclass(frozen=True)
class Case:
    """One input and what has to come of it.

    Attributes:
        kind: of what people run into.
        name: of this variant.
        check: makes the input, runs commands, and asserts; what it returns says in words what came of it.
    """

    kind: str
    name: str
    check: Callable[[Bench], str]


CASES: list[Case] = []
#: Forks children that have everything imported and have done nothing yet.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["tests.cases.case", *(target.partition(":")[0] for _, target in COMMANDS.values())])


def case(kind: str, name: str = "") -> Callable[[Callable[[Bench], str]], Callable[[Bench], str]]:
    """Register a function as a case."""

    def register(check: Callable[[Bench], str]) -> Callable[[Bench], str]:
        CASES.append(Case(kind, name or check.__name__.replace("_", " "), check))
        return check

    return register


def run(words: list[str], folder: Path, seconds: float = SECONDS) -> Outcome:
    """Run `adapt` with words in a process of its own, whose working folder is `folder`."""
    return run_child(_adapt, (words, str(folder)), seconds)


def run_child(target: Callable[..., None], arguments: tuple, seconds: float = SECONDS) -> Outcome:
    """Run a function of a module in a process of its own; what it prints and how it ends is the outcome."""
    with tempfile.TemporaryDirectory() as scratch:
        files = [str(Path(scratch) / name) for name in ("out", "err")]
        child = SERVER.Process(target=_limited, args=(target, arguments, *files))
        started = time.monotonic()
        child.start()
        child.join(seconds)
        if child.exitcode is None:
            child.kill()
            child.join()
        texts = [Path(file).read_bytes().decode("utf-8", "replace") if Path(file).exists() else "" for file in files]
        return Outcome(child.exitcode or 0, *texts, time.monotonic() - started)


def _limited(target: Callable[..., None], arguments: tuple, out: str, err: str) -> None:
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8", errors="strict") for number in (1, 2))
    limit_memory(BYTES)
    target(*arguments)


def limit_memory(bytes: int) -> None:
    """Let this process have so many bytes beside what it has."""
    space = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (bytes + space, resource.RLIM_INFINITY))


def _adapt(words: list[str], folder: str) -> None:
    os.chdir(folder)
    main(words)
