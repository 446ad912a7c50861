"""Progress of one piece of work: what it is at, what it says, what comes out; and the way to stop it.

`Progress` is a protocol: a bar (`Bar`), machine-readable lines (`JsonLines`), nothing (`Silent`), or a class of your
own. Work goes forward by the function that `stage` yields; what that function raises ends the work, and nothing half
written is left. Bars go to standard error and lines to standard output, so that a result can be piped.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, TypeVar

from tqdm import tqdm

from render.text import shown

Item = TypeVar("Item")
JSON_SECONDS = 1.0


class Cancelled(KeyboardInterrupt):
    """The work was stopped by `Silent.cancel`, `Bar.cancel` or `JsonLines.cancel`."""


class Progress(Protocol):
    """What a piece of work reports to."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Callable[[int], None]]:
        """Run a stage; the yielded function advances it by n steps, of `total` where that is known."""
        ...

    def note(self, text: str) -> None:
        """A line for people that the result does not hold."""
        ...

    def say(self, text: str) -> None:
        """A line of the result, for people; `result` tells machines the same."""
        ...

    def result(self, value: dict[str, Any]) -> None:
        """The result, for machines: JSON-able."""
        ...

    def over(self, name: str, items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
        """Iterate `items` as a stage."""
        with self.stage(name, total) as advance:
            for item in items:
                yield item
                advance(1)


class Silent(Progress):
    """Reports nothing."""

    def __init__(self) -> None:
        self._cancelled = False

    def cancel(self) -> None:
        """Ask the work to stop: its next step raises `Cancelled`. May be called from another thread or a signal."""
        self._cancelled = True

    def heed(self) -> None:
        """Raise `Cancelled` where `cancel` was called."""
        if self._cancelled:
            raise Cancelled

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Run a stage."""
        yield lambda count: self.heed()

    def note(self, text: str) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def result(self, value: dict[str, Any]) -> None:
        """Nothing."""


class Bar(Silent):
    """One bar with stage names and time left; lines of text."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Run a stage under a bar."""
        with tqdm(total=total, desc=name, file=sys.stderr, mininterval=0.3, leave=False) as bar:

            def advance(count: int) -> None:
                self.heed()
                bar.update(count)

            yield advance

    def note(self, text: str) -> None:
        """Print a line."""
        tqdm.write(shown(text), file=sys.stdout)

    def say(self, text: str) -> None:
        """Print a line."""
        self.note(text)


class JsonLines(Silent):
    """Every event as a line of JSON."""

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Run a stage; where it is, is printed once a second and at its end."""
        done = 0
        last = 0.0

        def advance(count: int) -> None:
            nonlocal done, last
            self.heed()
            done += count
            now = time.monotonic()
            if now - last >= JSON_SECONDS or done == total:
                last = now
                self._print({"event": "progress", "stage": name, "done": done, "total": total})

        yield advance

    def note(self, text: str) -> None:
        """Print an event."""
        self._print({"event": "note", "text": text})

    def result(self, value: dict[str, Any]) -> None:
        """Print the result."""
        self._print({"event": "result", **value})

    @staticmethod
    def _print(value: dict[str, Any]) -> None:
        print(shown(json.dumps(value, ensure_ascii=False)), flush=True)


#: For work that nobody watches; shared by all, so to stop work give it a `Silent()` of its own.
SILENT = Silent()
