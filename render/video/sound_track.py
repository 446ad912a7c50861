"""Sound tracks: which sound of a file is meant, and what counts as its beginning. Light to import."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from render.errors import FootageError

MARK = "#"  # FILE#2 is the second sound track of FILE


@dataclass(frozen=True)
class SoundTrack:
    """One sound track of a file.

    Attributes:
        path: the file.
        number: which of its sound tracks, counted from 1; None for the first that can be read.
        begins: seconds on the file's own clock that count as the sound's beginning; None for where the file begins, as
            a player has it.
    """

    path: Path
    number: int | None = None
    begins: Fraction | None = None

    @classmethod
    def named(cls, name: str | Path | SoundTrack) -> SoundTrack:
        """The track that a name means: `FILE`, or `FILE#2`; a file that really bears such a name is that file."""
        if isinstance(name, SoundTrack):
            return name
        file, mark, number = str(name).rpartition(MARK)
        if file and mark and number.isdecimal() and not Path(name).exists():
            return cls(Path(file), int(number))
        return cls(Path(name))

    def __str__(self) -> str:
        return str(self.path) if self.number is None else f"{self.path}{MARK}{self.number}"

    def stream_in(self, container: Any) -> Any:
        """The stream in the opened file.

        Raises:
            FootageError: there is no such track, or none that can be read.
        """
        tracks = list(container.streams.audio)
        if not tracks:
            raise FootageError(f"{self.path}: there is no sound in it; give a file with sound")
        if self.number is not None:
            if not 1 <= self.number <= len(tracks):
                last = f"{self.path}{MARK}{len(tracks)}"
                raise FootageError(f"{self}: there is no such sound track; the last one is {last}")
            tracks = tracks[self.number - 1 : self.number]
        for stream in tracks:
            if is_readable(stream):
                return stream
        raise FootageError(f"{self}: its sound is of a kind that cannot be read; give another file or track")

    def beginning_in(self, container: Any) -> Fraction:
        """Where the sound begins, in seconds on the opened file's own clock."""
        return Fraction(container.start_time or 0, 1_000_000) if self.begins is None else self.begins


def is_readable(stream: Any) -> bool:
    """Whether a sound stream can be decoded: its kind is known, and it has channels."""
    return stream.codec_context is not None and bool(stream.codec_context.channels)
