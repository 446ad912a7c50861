"""Packets of a media file: dropped, doubled, exchanged, damaged, at other times; written again as a media file."""

from io import BytesIO
from random import Random
from typing import Any

import av

from tests.fuzz.damage import damage_bytes


def damage_packets(data: bytes, suffix: str, random: Random) -> bytes:
    """The file with some of its packets not as they were.

    Args:
        data: of a sound media file.
        suffix: of its name, which names the container.
        random: state.
    """
    target = BytesIO()
    with av.open(BytesIO(data)) as source, av.open(target, "w", format=FORMATS[suffix]) as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in source.streams}
        packets = [packet for packet in source.demux() if packet.size]
        chosen = random.choice((_drop, _double, _exchange, _spoil, _delay))(packets, random)
        try:
            for payload, timing in chosen:
                _mux(output, streams[timing.stream.index], payload, timing)
        except (av.error.FFmpegError, OSError):
            pass  # the muxer refuses what follows: the file ends here
    return target.getvalue()


FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".ts": "mpegts", ".avi": "avi"}
#: Payload and the packet whose times it gets.
Timed = tuple[bytes, Any]


def _mux(output: Any, stream: Any, payload: bytes, timing: Any) -> None:
    packet = av.Packet(payload)
    packet.stream = stream
    packet.pts, packet.dts, packet.time_base = timing.pts, timing.dts, timing.time_base
    packet.duration, packet.is_keyframe = timing.duration, timing.is_keyframe
    output.mux(packet)


def _plain(packets: list[Any]) -> list[Timed]:
    return [(bytes(packet), packet) for packet in packets]


def _drop(packets: list[Any], random: Random) -> list[Timed]:
    share = random.choice((0.1, 0.5, 0.9))
    return [timed for timed in _plain(packets) if random.random() >= share]


def _double(packets: list[Any], random: Random) -> list[Timed]:
    return [timed for timed in _plain(packets) for _ in range(1 + (random.random() < 0.3))]


def _exchange(packets: list[Any], random: Random) -> list[Timed]:
    """Payloads in another order, times as they were; also from one stream to another."""
    payloads = [bytes(packet) for packet in packets]
    for _ in range(random.choice((1, 3, len(payloads)))):
        one, other = random.randrange(len(payloads)), random.randrange(len(payloads))
        payloads[one], payloads[other] = payloads[other], payloads[one]
    return list(zip(payloads, packets, strict=True))


def _spoil(packets: list[Any], random: Random) -> list[Timed]:
    share = random.choice((0.1, 0.5, 1.0))
    return [
        (damage_bytes(payload, random) or b"\0" if random.random() < share else payload, timing)
        for payload, timing in _plain(packets)
    ]


def _delay(packets: list[Any], random: Random) -> list[Timed]:
    """All packets from one on at later, or slightly other, times."""
    first = random.randrange(len(packets))
    seconds = random.choice((0.01, 0.5, 20, 120, 7200, 360_000, -0.05, -10))
    for packet in packets[first:]:
        shift = round(seconds / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if packet.dts is None else packet.dts + shift
    return _plain(packets)
