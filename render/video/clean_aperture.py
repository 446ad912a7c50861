"""Clean aperture: the part of the coded pictures that is shown, where a file says that it is not all of them.

In: what Matroska's header says of a stream (mp4 and mov files have a `clap` box for it, which FFmpeg reads likewise).
Out: a `CleanAperture`. What is shown, looked at and tracked is the clean part; the coded planes keep all their samples,
and a new mp4 or mov file is given the box. As FFmpeg's muxers cannot be asked for it through PyAV, it is put in when
the file is written.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from render.video.container import boxes_of_file

#: Matroska's names of what is cut off (RFC 9559, 5.1.4.1.28): left, top, right, bottom.
CROPS = (b"\x54\xcc", b"\x54\xbb", b"\x54\xdd", b"\x54\xaa")
#: The way from an index to its video's description (ISO/IEC 14496-12); what comes before the boxes in the last two.
WAY = (b"trak", b"mdia", b"minf", b"stbl", b"stsd")
BEFORE_ENTRIES, BEFORE_SIZE = 8, 24


@dataclass(frozen=True)
class CleanAperture:
    """Columns and rows of the coded luma plane, px, that are cut off when the picture is shown."""

    left: int
    top: int
    right: int
    bottom: int

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what is left of a coded size."""
        return width - self.left - self.right, height - self.top - self.bottom

    def of(self, picture: np.ndarray) -> np.ndarray:
        """What is shown of a coded picture [H, W, ...]; a view."""
        height, width = picture.shape[:2]
        return picture[self.top : height - self.bottom, self.left : width - self.right]

    def box(self, width: int, height: int) -> bytes:
        """The `clap` box (ISO/IEC 14496-12, 12.1.4): the clean size, and how far its middle is off, in halves."""
        clean_width, clean_height = self.size(width, height)
        off = (self.left - self.right, 2, self.top - self.bottom, 2)
        return struct.pack(">I4s4I4i", 40, b"clap", clean_width, 1, clean_height, 1, *off)


#: All of it.
WHOLE = CleanAperture(0, 0, 0, 0)


def read_aperture(header: bytes, width: int, height: int) -> CleanAperture:
    """The clean aperture that a Matroska header of one video stream tells of a coded size in px."""
    cut = []
    size = re.escape(_element(b"\xb0", width) + _element(b"\xba", height))
    video = re.search(b"\xe0(?:[\x81-\xfe]|[\x40-\x7f].)[^\xb0]{0,40}?" + size + b"(.{0,200})", header, re.DOTALL)
    for name in CROPS:
        found = re.search(name + b"([\x81-\x84])(.{4})", video[1], re.DOTALL) if video else None
        cut.append(int.from_bytes(found[2][: found[1][0] & 7], "big") if found else 0)
    aperture = CleanAperture(*cut)
    return aperture if min(aperture.size(width, height)) > 0 else WHOLE


def _element(name: bytes, value: int) -> bytes:
    """A number as Matroska holds it."""
    data = value.to_bytes(max(1, -(-value.bit_length() // 8)), "big")
    return name + bytes([0x80 | len(data)]) + data


def write_aperture(path: Path, aperture: CleanAperture, width: int, height: int) -> bool:
    """Put a `clap` box into the description of the first video of this coded size of an mp4 or mov file.

    False, and nothing is done, where there is no such video, or where its index is not the file's last box.
    """
    with path.open("r+b") as file:
        for name, start, end in boxes_of_file(file, path.stat().st_size):
            if name == b"moov" and end == path.stat().st_size:
                file.seek(start)
                index = _with_box(file.read(end - start), aperture.box(width, height), (width, height))
                if index is None:
                    return False
                file.seek(start)
                file.write(index)
                return True
    return False


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the boxes between two places of an index."""
    while start + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, start)
        if length < 8:
            return
        yield name, start, start + length
        start += length


def _with_box(index: bytes, box: bytes, size: tuple[int, int]) -> bytes | None:
    """An index whose first video of a size, px, has one more box in its description; None where there is none."""

    def found(start: int, end: int, way: tuple[bytes, ...]) -> list[int] | None:
        if not way:
            start += BEFORE_ENTRIES
            is_meant = struct.unpack_from(">HH", index, start + 8 + BEFORE_SIZE) == size
            return [start] if is_meant else None
        for name, at, stop in _boxes(index, start, end):
            if name == way[0] and (inside := found(at + 8, stop, way[1:])) is not None:
                return [at, *inside]
        return None

    way = found(8, len(index), WAY)
    if way is None:
        return None
    longer = bytearray(index)
    place = way[-1] + struct.unpack_from(">I", index, way[-1])[0]
    longer[place:place] = box
    for at in (0, *way):
        struct.pack_into(">I", longer, at, struct.unpack_from(">I", longer, at)[0] + len(box))
    return bytes(longer)
