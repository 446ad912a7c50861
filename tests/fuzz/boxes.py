"""Boxes of mp4 and mov files (ISO/IEC 14496-12): resized, renamed, nested, with other contents."""

import struct
from dataclasses import dataclass, field
from random import Random

HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta", b"mvex", b"moof", b"traf"}
#: Names that a box is given instead of its own.
NAMES = sorted(HOLDERS | {b"stsd", b"stts", b"stsz", b"stsc", b"stco", b"co64", b"ctts", b"elst", b"mdat", b"free"})
SIZES = (0, 1, 7, 8, 9, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = (0, 1, 2, 0x7FFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
DEEP = 2000


@dataclass
class Box:
    """A box: its name, what is in it (bytes, or boxes of a holder), and the size it claims if that is not its own."""

    name: bytes
    data: bytes = b""
    inner: list["Box"] = field(default_factory=list)
    claimed: int | None = None

    def bytes(self) -> bytes:
        """The box as it lies in the file."""
        body = b"".join(box.bytes() for box in self.inner) if self.inner else self.data
        size = len(body) + 8 if self.claimed is None else self.claimed
        return struct.pack(">I4s", size & 0xFFFFFFFF, self.name) + body


def parse(data: bytes) -> list[Box]:
    """The boxes of a sound file or of a holder's contents."""
    boxes, place = [], 0
    while place + 8 <= len(data):
        size, name = struct.unpack(">I4s", data[place : place + 8])
        size = size if size >= 8 else len(data) - place
        body = data[place + 8 : place + size]
        boxes.append(Box(name, inner=parse(body)) if name in HOLDERS else Box(name, body))
        place += size
    return boxes


def _all(boxes: list[Box]) -> list[tuple[list[Box], int]]:
    """Every box as the list that holds it and its place there."""
    found = []
    for place, box in enumerate(boxes):
        found += [(boxes, place), *_all(box.inner)]
    return found


def damage_boxes(data: bytes, random: Random) -> bytes:
    """One to three boxes of a file damaged; sizes around them are made right again."""
    top = [Box(b"root", inner=parse(data))]
    for _ in range(random.choice((1, 1, 2, 3))):
        places = _all(top[0].inner)
        if not places:
            break
        holder, place = random.choice(places)
        _damage(holder, place, random)
    return b"".join(box.bytes() for box in top[0].inner)


def _damage(holder: list[Box], place: int, random: Random) -> None:
    box = holder[place]
    what = random.randrange(9)
    if what == 0:
        size = len(box.bytes())
        box.claimed = random.choice((*SIZES, size - 1, size + 1, size * 2, random.randrange(size + 1)))
    elif what == 1:
        box.name = random.choice((*NAMES, random.randbytes(4)))
    elif what == 2:
        holder[place] = Box(box.name, _nested(box, random.choice((1, 3, DEEP))))
    elif what == 3:
        del holder[place]
    elif what == 4:
        holder.insert(random.randrange(len(holder) + 1), box)
    elif what == 5:
        random.shuffle(holder)
    elif box.data:
        box.data = _other_words(box.data, random)


def _nested(box: Box, deep: int) -> bytes:
    """The box in boxes of its own name."""
    data = box.bytes()
    sizes = range(len(data) + 8 * (deep - 1), len(data) - 8, -8)
    return b"".join(struct.pack(">I4s", size, box.name) for size in sizes if size > len(data)) + data


def _other_words(data: bytes, random: Random) -> bytes:
    """Numbers of a box changed: counts, sizes, offsets, times."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        place = random.randrange(0, min(len(found), 256), 4)
        number = random.choice((*WORDS, random.getrandbits(32)))
        found[place : place + 4] = struct.pack(">I", number)[: len(found) - place]
    return bytes(found)
