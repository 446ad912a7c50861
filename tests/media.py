"""Small clips and sounds made for tests: any rate, timing, rotation, depth, sampling, size, sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from av.stream import Disposition

from prior.speech.sound import SAMPLE_RATE
from render.video.encoding import Encoding
from render.video.reader import Footage
from render.video.writer import VideoWriter

#: As long as the synthetic actor's take.
SECONDS_OF_VOICE = 1.6
LOSSLESS = Encoding("ffv1")
#: One block of an action camera's data.
TELEMETRY = b"DEVC\0\1\0\4abcd"


@dataclass(frozen=True)
class Sound:
    """One sound stream of a clip: a tone per channel, the first of `hz`, or a voice. `start`, `seconds` in seconds."""

    codec: str = "aac"
    rate: int = 48000
    layout: str = "stereo"
    start: float = 0.0
    seconds: float = 1.0
    language: str | None = None
    hz: float = 220.0
    voice: np.ndarray | None = None  # float32 [N] at SAMPLE_RATE


def picture(index: int, width: int, height: int) -> np.ndarray:
    """A smooth coloured picture with fine texture that moves, uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    phase = index * 0.4
    red = 128 + 100 * np.sin(x / 17 + phase)
    green = 128 + 100 * np.sin(y / 13 - phase)
    blue = 128 + 90 * np.sin((x + y) / 23 + 2 * phase)
    grain = np.random.default_rng(index).normal(0, 4, (height, width, 1)).astype(np.float32)
    return np.clip(np.stack([red, green, blue], axis=2) + grain, 0, 255).astype(np.uint8)


def coded_frame(rgb: np.ndarray, pix_fmt: str, rotation: int = 0) -> av.VideoFrame:
    """An upright rgb picture as the frame that is shown upright after a clockwise turn by `rotation` degrees."""
    turned = np.ascontiguousarray(np.rot90(rgb, rotation // 90))
    frame = av.VideoFrame.from_ndarray(turned, format="rgb24")
    if pix_fmt.startswith("gbr") or pix_fmt == "rgb24":
        return frame.reformat(format=pix_fmt)
    return frame.reformat(format=pix_fmt, dst_colorspace=5, interpolation="BICUBIC")


def make_clip(
    path: Path,
    frames: int = 24,
    size: tuple[int, int] = (160, 120),
    rate: Fraction | int = 25,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    sounds: Sequence[Sound] = (),
    options: dict[str, str] | None = None,
    pictures: Sequence[np.ndarray] | None = None,
    context: dict[str, Any] | None = None,
    metadata: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """Write a clip. `times` are frame times in units of `time_base`; `size` is the upright one."""
    rate = Fraction(rate)
    time_base = time_base or 1 / rate
    upright = None if pictures is None else list(pictures)
    width, height = size if upright is None else upright[0].shape[1::-1]
    if rotation % 180:
        width, height = height, width
    with av.open(str(path), "w", format=format, container_options=container_options or {}) as output:
        output.metadata.update(metadata or {})
        stream: Any = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        default = {
            "libx264": {"preset": "ultrafast", "crf": "18"},
            "libx265": {"preset": "ultrafast", "x265-params": "log-level=error"},
        }
        stream.options = options if options is not None else default.get(codec, {})
        for name, value in (context or {}).items():
            setattr(stream.codec_context, name, value)
        if rotation:
            stream.set_display_rotation(-rotation)
        voices = [_add_sound(output, sound) for sound in sounds]
        for voice, sound in zip(voices, sounds, strict=True):
            for packet in _sound_packets(voice, sound):
                output.mux(packet)
        count = len(times) if times is not None else len(upright) if upright is not None else frames
        for index in range(count):
            rgb = upright[index] if upright is not None else picture(index, *size)
            frame = coded_frame(rgb, pix_fmt, rotation)
            frame.pts = times[index] if times is not None else index
            frame.time_base = time_base
            for packet in stream.encode(frame):
                output.mux(packet)
        for packet in stream.encode(None):
            output.mux(packet)
    return path


def hold_last(path: Path, clip: Path, seconds: float) -> Path:
    """Copy a clip's pictures; the last one is shown for so long. With B-frames an MP4 says so of the whole alone."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as output:
        video = source.streams.video[0]
        stream = output.add_stream_from_template(video, opaque=True)
        held = [packet for packet in source.demux(video) if packet.size]
        last = max(held, key=lambda packet: packet.pts)
        last.duration = round(seconds / last.time_base)
        for packet in held:
            packet.stream = stream
            output.mux(packet)
    return path


def with_telemetry(
    path: Path, clip: Path, times_ms: Sequence[int], lasts_ms: int, chapter_ms: tuple[int, int] | None = None
) -> Path:
    """A clip's pictures with a data track, a block `TELEMETRY` at each time, and one chapter, "Middle", where given."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as output:
        if chapter_ms:
            times = {"start": chapter_ms[0], "end": chapter_ms[1], "time_base": Fraction(1, 1000)}
            output.set_chapters([{"id": 1, **times, "metadata": {"title": "Middle"}}])
        pictures = output.add_stream_from_template(source.streams.video[0], opaque=True)
        telemetry = output.add_data_stream("bin_data")
        telemetry.time_base = Fraction(1, 1000)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = pictures
                output.mux(packet)
        for time in times_ms:
            data = av.Packet(TELEMETRY)
            data.stream, data.time_base, data.duration = telemetry, Fraction(1, 1000), lasts_ms
            data.pts = data.dts = time
            output.mux(data)
    return path


def put_together(path: Path, clips: Sequence[Path], default: Sequence[int] = ()) -> Path:
    """Put all streams of clips into one file; of the streams only those numbered in `default` are default ones."""
    inputs = [av.open(str(clip)) for clip in clips]
    with av.open(str(path), "w") as output:
        routes = [{s.index: output.add_stream_from_template(s, opaque=True) for s in one.streams} for one in inputs]
        for number, stream in enumerate(output.streams):
            stream.disposition = Disposition(Disposition.default if number in default else 0)
        for one, route in zip(inputs, routes, strict=True):
            for packet in one.demux():
                if packet.size:
                    packet.stream = route[packet.stream_index]
                    output.mux(packet)
            one.close()
    return path


def without_decoder(path: Path, number: int, codec: bytes, name: bytes) -> Path:
    """Rename the codec of the `number`th sample entry `codec` (avc1, mp4a) of a mov or mp4; its header box, too."""
    data, at = bytearray(path.read_bytes()), -1
    for _ in range(number + 1):
        at = data.index(codec, data.index(b"stsd", at + 1))
    data[at : at + 4] = name
    header = data.index({b"avc1": b"avcC", b"mp4a": b"esds"}[codec], at)
    data[header : header + 4] = b"none"
    path.write_bytes(data)
    return path


def tone(hz: float, seconds: float, rate: int = SAMPLE_RATE, amplitude: float = 0.5) -> np.ndarray:
    """A sine, float32 [N]."""
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def syllables(seconds: float, hz: float = 140.0) -> np.ndarray:
    """A buzz switched on and off four times a second: speech-like in level, with a known pitch."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    buzz = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 20))
    return (0.1 * buzz * (np.sin(2 * np.pi * 4 * t) > 0)).astype(np.float32)


def make_voice(path: Path, seconds: float = SECONDS_OF_VOICE, rate: int = 48000) -> np.ndarray:
    """Write syllables as a mono WAV of 16 bits; returns them, float32 [N] in [-1, 1]."""
    wave = np.interp(
        np.arange(round(seconds * rate)) / rate,
        np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE,
        syllables(seconds),
    )
    soundfile.write(path, wave, rate, "PCM_16")
    return wave.astype(np.float32)


def make_sound(path: Path, sound: Sound | None = None) -> Path:
    """Write a sound file; the suffix chooses the container."""
    sound = sound or Sound()
    with av.open(str(path), "w") as output:
        voice = _add_sound(output, sound)
        for packet in _sound_packets(voice, sound):
            output.mux(packet)
    return path


def _add_sound(output: Any, sound: Sound) -> Any:
    stream = output.add_stream(sound.codec, rate=sound.rate)
    stream.codec_context.layout = sound.layout
    stream.codec_context.time_base = Fraction(1, sound.rate)
    if sound.language:
        stream.metadata["language"] = sound.language
    return stream


def _sound_packets(stream: Any, sound: Sound) -> list[Any]:
    channels = len(av.AudioLayout(sound.layout).channels)
    count = round(sound.seconds * sound.rate)
    tones = sound.hz * 1.5 ** np.arange(channels)
    clock = np.arange(count) / sound.rate
    wave = 0.2 * np.sin(2 * np.pi * tones[:, None] * clock).astype(np.float32)
    if sound.voice is not None:
        voice = np.interp(clock, np.arange(len(sound.voice)) / SAMPLE_RATE, sound.voice)
        wave = np.repeat(voice[None].astype(np.float32), channels, 0)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T).reshape(1, -1), format="flt", layout=sound.layout)
    frame.sample_rate = sound.rate
    context = stream.codec_context
    resampler = av.AudioResampler(context.format.name, sound.layout, sound.rate, context.frame_size or 1024)
    packets = []
    start = round(sound.start * sound.rate)
    for source in (frame, None):
        for piece in resampler.resample(source):
            piece.pts, piece.time_base = start, Fraction(1, sound.rate)
            start += piece.samples
            packets += stream.encode(piece)
    return packets + stream.encode(None)


def rewritten(
    source: Path, output: Path, encoding: Encoding = LOSSLESS, **settings: object
) -> tuple[list[tuple[float, Any]], VideoWriter]:
    """Read a video and write it as it is: times and planes of its frames, and the writer."""
    footage = Footage(source)
    seen = []
    with VideoWriter(footage, output, encoding, **settings) as writer:  # type: ignore[arg-type]
        for frame in footage.frames():
            planes = frame.planes
            seen.append((frame.time, planes))
            writer.write(frame, planes)
    return seen, writer


def truncate(path: Path, share: float) -> Path:
    """Cut a file down to `share` of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def packets(path: Path, kind: str = "audio", number: int = 0) -> bytes:
    """All packet bytes of one stream."""
    with av.open(str(path)) as source:
        stream = [s for s in source.streams if s.type == kind][number]
        return b"".join(bytes(p) for p in source.demux(stream) if p.size)
