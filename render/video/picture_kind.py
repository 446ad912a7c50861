"""What all pictures of footage have in common: size, pixel format, and that each is of one moment.

In: the first picture, then every other one. Out: an error of one line, with the time, where one is of another kind.
Compressed packets that announce a change are found without decoding what lies between.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from render.errors import FootageError
from render.video.container import timecode
from render.video.planes import planar_format


@dataclass(frozen=True)
class PictureKind:
    """The one kind of picture that footage holds.

    Attributes:
        path: of the file, for messages.
        codec: FFmpeg's name, for messages.
        width, height: as coded, px.
        pix_fmt: planar FFmpeg name.
        progressive: pictures that are flagged as two fields are of one moment all the same.
    """

    path: Path
    codec: str
    width: int
    height: int
    pix_fmt: str
    progressive: bool

    def refuse_fields(self, seconds: float) -> None:
        """Refuse pictures of two fields, found at `seconds` of the file's own clock, unless they are of one moment.

        Raises:
            FootageError: they are interlaced.
        """
        if not self.progressive:
            raise FootageError(
                f"{self.path}: interlaced video ({self.codec}, fields) from {timecode(seconds)} on; deinterlace it "
                "first, e.g. with the bwdif filter of FFmpeg, or pass --progressive if these are progressive pictures "
                "in interlaced carriage"
            )

    def refuse_other(self, picture: av.VideoFrame, seconds: float) -> None:
        """Refuse a picture of another kind, shown at `seconds` of the file's own clock.

        Raises:
            FootageError: it has another size or pixel format, or consists of two fields.
        """
        if picture.interlaced_frame:
            self.refuse_fields(seconds)
        pix_fmt = planar_format(picture.format.name, self.path)
        if (picture.width, picture.height, pix_fmt) == (self.width, self.height, self.pix_fmt):
            return
        is_size = (picture.width, picture.height) != (self.width, self.height)
        before = f"{self.width}x{self.height}" if is_size else self.pix_fmt
        after = f"{picture.width}x{picture.height}" if is_size else pix_fmt
        raise FootageError(
            f"{self.path}: the {'picture size' if is_size else 'pixel format'} changes at {timecode(seconds)} from "
            f"{before} to {after}; cut it there, or encode it anew at one {'size' if is_size else 'pixel format'}"
        )


#: Decoders that do not say of a picture whether it is of two fields; what the file says counts then.
SILENT_OF_FIELDS = ("ffvhuff", "huffyuv", "utvideo")
#: Values of FFmpeg's `field_order` that mean two fields.
FIELD_ORDERS = range(2, 6)


def declares_fields(context: Any) -> bool:
    """Whether only the file, not its pictures, says that they are of two fields."""
    return context.name in SILENT_OF_FIELDS and context.field_order in FIELD_ORDERS


class Announcements:
    """What key frames announce of the pictures that follow, read from their headers alone.

    Args:
        context: codec context of the stream, as the file's header fills it.
    """

    def __init__(self, context: Any) -> None:
        self._name: str = context.name
        self._header = context.extradata
        self._last: tuple[int, int, int] | None = None

    def changed(self, packet: Any) -> av.VideoFrame | None:
        """The packet's picture where it announces another size or other fields than the key frame before, else None."""
        header = bytes(packet.get_sidedata("new_extradata")) if packet.has_sidedata("new_extradata") else b""
        self._header = header or self._header
        if not packet.is_keyframe:
            return None
        reader = self._context()
        try:
            for data in (bytes(packet), b""):
                reader.parse(data)
        except (ValueError, av.error.FFmpegError):
            return None  # pictures of this codec announce nothing
        announced = (reader.width, reader.height, reader.field_order)
        before, self._last = self._last, announced
        if before in (None, announced):
            return None
        try:
            decoder = self._context()
            return next(iter([*decoder.decode(packet), *decoder.decode(None)]), None)
        except (av.error.FFmpegError, OSError):
            return None  # a damaged packet says nothing

    def _context(self) -> Any:
        context: Any = av.CodecContext.create(self._name, "r")
        if self._header:
            context.extradata = self._header
        return context
