"""Encoding: how pictures are encoded, and what sound goes beside them. Light to import: the flags read the words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from render.video.sound_track import SoundTrack

QUALITIES = ("draft", "standard", "final")
CODECS = ("h264", "h265", "ffv1", "prores")


@dataclass(frozen=True)
class Encoding:
    """How pictures are encoded.

    Attributes:
        codec: of `CODECS`; None for the source's own family, else the nearest to it.
        quality: of `QUALITIES`.
    """

    codec: str | None = None
    quality: str = "standard"


@dataclass(frozen=True)
class DeliveredSound:
    """Sounds that are delivered in place of the source's own.

    Attributes:
        files: one stream each; paths and names such as FILE#2 are taken, too.
        offset_seconds: from the first frame to their beginnings.
        end_seconds: from the first frame to where they end at the latest; None for their own end.
        in_place_of: index of the one stream of the source whose place they take, all others staying as they are; None:
            no sound of the source's stays.
    """

    files: Sequence[SoundTrack | Path | str]
    offset_seconds: float = 0.0
    end_seconds: float | None = None
    in_place_of: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", self.tracks)

    @property
    def tracks(self) -> tuple[SoundTrack, ...]:
        """The sounds."""
        return tuple(SoundTrack.named(file) for file in self.files)
