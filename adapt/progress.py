"""Progress of one command: a single bar with stage names and time left, or JSON lines.

Bars go to standard error and results to standard output, so that a result can be piped.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
JSON_SECONDS = 1.0


class Progress:
    """Reports stages and results of a command.

    Args:
        json_lines: print machine-readable lines instead of a bar and text.
        silent: print nothing (library use).

    Attributes:
        interrupted: the user asked to stop; the next step of any stage raises `KeyboardInterrupt`. One that is raised
            inside a library's callback may get lost.
    """

    def __init__(self, json_lines: bool = False, silent: bool = False) -> None:
        self.json_lines = json_lines
        self.silent = silent
        self.interrupted = False

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        """Run a stage; the yielded function advances it by n steps."""
        if self.silent:
            yield lambda count: None
            return
        if not self.json_lines:
            with tqdm(total=total, desc=name, file=sys.stderr, mininterval=0.3, leave=False) as bar:

                def update(count: int) -> None:
                    self._heed()
                    bar.update(count)

                yield update
            return
        done = 0
        last = 0.0

        def advance(count: int) -> None:
            nonlocal done, last
            self._heed()
            done += count
            now = time.monotonic()
            if now - last >= JSON_SECONDS or done == total:
                last = now
                self._print({"event": "progress", "stage": name, "done": done, "total": total})

        yield advance

    def over(self, name: str, items: Iterable[Item], total: int | None = None) -> Iterator[Item]:
        """Iterate `items` as a stage."""
        with self.stage(name, total) as advance:
            for item in items:
                yield item
                advance(1)

    def note(self, text: str) -> None:
        """A line for people; in JSON mode an event."""
        if self.silent:
            return
        if self.json_lines:
            self._print({"event": "note", "text": text})
        else:
            tqdm.write(text, file=sys.stdout)

    def result(self, value: dict[str, Any]) -> None:
        """The machine-readable result; printed in JSON mode only."""
        if self.json_lines and not self.silent:
            self._print({"event": "result", **value})

    def _heed(self) -> None:
        if self.interrupted:
            raise KeyboardInterrupt

    @staticmethod
    def _print(value: dict[str, Any]) -> None:
        print(json.dumps(value, ensure_ascii=False), flush=True)
