"""Encoding: how pictures are encoded, and what sound goes beside them. Light to import: the flags read the words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """Sound files that are delivered in place of the source's own sound.

    Attributes:
        files: one stream each.
        offset_seconds: from the first frame to their start.
        end_seconds: from the first frame to where they end at the latest; None for their own end.
    """

    files: Sequence[Path]
    offset_seconds: float = 0.0
    end_seconds: float | None = None
