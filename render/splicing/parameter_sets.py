"""H.264 parameter sets: what the head of a file and of an encoder say, and one head that holds both.

In: an `avcC` record (ISO/IEC 14496-15, 5.3.3.1) and the packets and sets of an encoder (ITU-T H.264, annex B). Out: a
record with the sets of both, under numbers that differ, and packets with lengths in place of start codes. Sections are
those of ITU-T H.264.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

#: Kinds of units (table 7-1): a slice of a picture that nothing before is needed for, and the two sets.
IDR, SEQUENCE_SET, PICTURE_SET = 5, 7, 8
#: Slices of pictures.
SLICES = range(1, 6)
#: Profiles that say how colours are sampled, and those that are written here, in the encoder's words.
WITH_SAMPLING = (100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135)
PROFILES = {66: "baseline", 77: "main", 100: "high", 110: "high10", 122: "high422", 244: "high444"}
#: Shapes of a pixel by number (table E-1), 1 to 16; the last number is that of a shape that is written out.
SHAPES = ((1, 1), (12, 11), (10, 11), (16, 11), (40, 33), (24, 11), (20, 11), (32, 11)) + (
    ((80, 33), (18, 11), (15, 11), (64, 33), (160, 99), (4, 3), (3, 2), (2, 1))
)
WRITTEN_OUT = 255
#: What goes without saying of primaries, transfer and matrix.
UNSPECIFIED = (2, 2, 2)
MOST_SETS = 31


class _Bits:
    """Reads numbers from the bits of a unit; what lies beyond its end is 0."""

    def __init__(self, unit: bytes) -> None:
        data = unit.replace(b"\0\0\3", b"\0\0")  # 7.4.1: the 3 is there to keep start codes out
        self._bits = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    def fixed(self, count: int) -> int:
        """A number of so many bits."""
        self._left -= count
        if self._left < 0:
            raise ValueError("a parameter set breaks off")
        return (self._bits >> self._left) & ((1 << count) - 1)

    def growing(self) -> int:
        """A number of as many bits as it needs, ue(v) of 9.1."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
        return (1 << zeros) - 1 + self.fixed(zeros)

    def signed(self) -> int:
        """The same with a sign, se(v)."""
        code = self.growing()
        return (code + 1) // 2 if code % 2 else -(code // 2)


@dataclass(frozen=True)
class SequenceSet:
    """What a sequence parameter set (7.3.2.1.1) says.

    Attributes:
        number: its own.
        profile: as in table A; references: pictures that a decoder keeps at most.
        is_of_frames: no picture is of fields.
        pictures: size, sampling, depth and cropping, for comparing.
        shown: pixel shape, range, colours and place of chroma, for comparing.
    """

    number: int
    profile: int
    references: int
    is_of_frames: bool
    pictures: tuple[int, ...]
    shown: tuple[object, ...]

    @staticmethod
    def of(unit: bytes) -> SequenceSet:
        """Read a unit; raises `ValueError` where it breaks off."""
        bits = _Bits(unit[1:])
        profile, _, _ = (bits.fixed(8) for _ in range(3))
        number = bits.growing()
        sampling = _sampling(bits) if profile in WITH_SAMPLING else (1, 0, 0, 0)
        bits.growing()
        order = bits.growing()
        if order == 0:
            bits.growing()
        elif order == 1:
            bits.fixed(1)
            for _ in range(2):
                bits.signed()
            for _ in range(bits.growing()):
                bits.signed()
        references, _, width, height = bits.growing(), bits.fixed(1), bits.growing(), bits.growing()
        is_of_frames = bool(bits.fixed(1))
        bits.fixed(1 if is_of_frames else 2)
        cropping = tuple(bits.growing() for _ in range(4)) if bits.fixed(1) else (0, 0, 0, 0)
        shown = _shown(bits) if bits.fixed(1) else (Fraction(1), 0, UNSPECIFIED, (0, 0))
        return SequenceSet(number, profile, references, is_of_frames, (*sampling, width, height, *cropping), shown)


def _sampling(bits: _Bits) -> tuple[int, ...]:
    """How colours are sampled, whether as three pictures, and depths; skips what scales coefficients."""
    chroma = bits.growing()
    apart = bits.fixed(1) if chroma == 3 else 0
    depths = bits.growing(), bits.growing()
    bits.fixed(1)
    if bits.fixed(1):
        for number in range(12 if chroma == 3 else 8):
            if not bits.fixed(1):
                continue
            last = scale = 8
            for _ in range(16 if number < 6 else 64):
                if scale:
                    scale = (last + bits.signed()) % 256
                last = scale or last
    return chroma, apart, *depths


def _shown(bits: _Bits) -> tuple[object, ...]:
    """The beginning of E.1.1: how decoded pictures are shown."""
    shape = Fraction(1)
    if bits.fixed(1):
        number = bits.fixed(8)
        if number == WRITTEN_OUT:
            width, height = bits.fixed(16), bits.fixed(16)
            shape = Fraction(width, height) if width and height else shape
        elif 1 <= number <= len(SHAPES):
            shape = Fraction(*SHAPES[number - 1])
    if bits.fixed(1):
        bits.fixed(1)
    is_full, colours = 0, UNSPECIFIED
    if bits.fixed(1):
        bits.fixed(3)
        is_full = bits.fixed(1)
        if bits.fixed(1):
            colours = bits.fixed(8), bits.fixed(8), bits.fixed(8)
    siting = (bits.growing(), bits.growing()) if bits.fixed(1) else (0, 0)
    return shape, is_full, colours, siting


@dataclass(frozen=True)
class Header:
    """An `avcC` record.

    Attributes:
        profile, compatibility, level: what every set of the file keeps to.
        length_size: bytes of the length before each unit of a packet.
        sequence_sets, picture_sets: units.
        rest: what follows, for profiles that say how colours are sampled.
    """

    profile: int
    compatibility: int
    level: int
    length_size: int
    sequence_sets: tuple[bytes, ...]
    picture_sets: tuple[bytes, ...]
    rest: bytes = b""

    @staticmethod
    def of(data: bytes | None) -> Header | None:
        """Read a record; None where the data are no such record."""
        if not data or len(data) < 7 or data[0] != 1:
            return None
        at, groups = 5, []
        for mask in (0x1F, 0xFF):
            count, at = data[at] & mask if at < len(data) else 0, at + 1
            units = []
            for _ in range(count):
                length = int.from_bytes(data[at : at + 2], "big")
                units.append(data[at + 2 : at + 2 + length])
                at += 2 + length
            groups.append(tuple(units))
        if at > len(data) or not all(groups) or not all(unit for units in groups for unit in units):
            return None
        return Header(data[1], data[2], data[3], (data[4] & 3) + 1, groups[0], groups[1], data[at:])

    @property
    def data(self) -> bytes:
        """The record's bytes."""
        head = bytes([1, self.profile, self.compatibility, self.level, 0xFC | (self.length_size - 1)])
        sequence, picture = (
            bytes([mark | len(units)]) + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)
            for mark, units in ((0xE0, self.sequence_sets), (0, self.picture_sets))
        )
        return head + sequence + picture + self.rest

    @property
    def free_number(self) -> int | None:
        """A number that none of its sets has; None where there is none."""
        taken = {SequenceSet.of(unit).number for unit in self.sequence_sets}
        taken |= {_Bits(unit[1:]).growing() for unit in self.picture_sets}
        return next((number for number in range(MOST_SETS + 1) if number not in taken), None)

    def with_sets(self, units: Sequence[bytes]) -> Header | None:
        """The record with an encoder's sets beside its own; None where their pictures are not of one kind."""
        new = tuple(unit for unit in units if unit[0] & 31 == SEQUENCE_SET)
        pictures = tuple(unit for unit in units if unit[0] & 31 == PICTURE_SET)
        own, added = ([SequenceSet.of(unit) for unit in units] for units in (self.sequence_sets, new))
        both = [*own, *added]
        kinds = {(one.profile, one.references, one.is_of_frames, one.pictures, one.shown) for one in both}
        is_told_apart = len({one.number for one in both}) == len(both) <= MOST_SETS
        fits = len(kinds) == 1 and own[0].is_of_frames
        if not new or not pictures or not fits or not is_told_apart:
            return None
        return Header(
            self.profile,
            self.compatibility & new[0][2],
            max(self.level, new[0][3]),
            self.length_size,
            self.sequence_sets + new,
            self.picture_sets + pictures,
            self.rest,
        )

    def units(self, packet: bytes) -> Iterator[bytes]:
        """The units of a packet of the file."""
        at = 0
        while at < len(packet):
            length = int.from_bytes(packet[at : at + self.length_size], "big")
            yield packet[at + self.length_size : at + self.length_size + length]
            at += self.length_size + length

    def packed(self, packet: bytes) -> bytes:
        """An encoder's packet as the file has them."""
        return b"".join(len(unit).to_bytes(self.length_size, "big") + unit for unit in units_of_stream(packet))


def units_of_stream(data: bytes) -> list[bytes]:
    """Units between the start codes of a byte stream (B.1)."""
    parts = data.split(b"\0\0\1")[1:]
    return [part.rstrip(b"\0") for part in parts]
