"""What drives, what is mixed and what is delivered agree on when a click is heard, whatever file it comes from."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Request
from adapt.dubbing.sound import delivered
from adapt.motion.sources import Sound, Video
from prior.speech.sound import SAMPLE_RATE, listen
from render.video.encoding import Encoding
from render.video.reader import Footage
from render.video.sound_blocks import audio_blocks
from render.video.sound_track import SoundTrack
from render.video.writer import VideoWriter
from tests.media import make_clip, picture

RATE = 48_000
CLICK_SECONDS = 1.0  # after the first sample that is stored


def click(channels=1):
    """1.6 s with one smooth click, packed float32 [1, N * channels]."""
    time = np.arange(round(1.6 * RATE)) / RATE - CLICK_SECONDS
    wave = 0.8 * np.exp(-((time / 4e-4) ** 2)) * np.cos(2 * np.pi * 1000 * time)
    return wave.astype(np.float32)[:, None].repeat(channels, 1).reshape(1, -1)


def write_clicking(path, codec, late=0.0, picture_from=None):
    """A file whose sound begins at `late` seconds of its clock, and whose picture, if any, does at `picture_from`."""
    with av.open(str(path), "w") as output:
        pictures = output.add_stream("libx264", rate=25) if picture_from is not None else None
        sound = output.add_stream(codec, rate=RATE, layout="mono")
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            pictures.options = {"preset": "ultrafast", "bf": "0"}
            pictures.time_base = pictures.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for first in range(0, click().shape[1], 1200):
            piece = np.ascontiguousarray(click()[:, first : first + 1200])
            frame = av.AudioFrame.from_ndarray(piece, format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, round(late * RATE) + first, Fraction(1, RATE)
            packets += sound.encode(frame)
        packets += sound.encode(None)
        if pictures is not None:
            for index in range(40):
                shown = av.VideoFrame.from_ndarray(picture(index, 64, 48), format="rgb24")
                shown.pts, shown.time_base = round(1000 * picture_from) + 40 * index, Fraction(1, 1000)
                packets += pictures.encode(shown)
            packets += pictures.encode(None)
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            output.mux(packet)
    return path


def loudest(wave, rate):
    """When the click is heard, in seconds."""
    return int(np.abs(wave).argmax()) / rate


def heard_in(path):
    """When the click is heard, from a video's first frame on."""
    footage = Footage(path)
    track = SoundTrack(path, begins=int(footage.pts[0]) * footage.time_base)
    blocks = list(audio_blocks(track))
    return loudest(np.concatenate([block.samples[:, 0] for block in blocks]), blocks[0].rate)


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Shots that begin at 0 of their clock, and later."""
    folder = tmp_path_factory.mktemp("shots")
    times = [200 + 40 * index for index in range(45)]
    late = make_clip(folder / "late.mp4", size=(64, 48), times=times, time_base=Fraction(1, 1000))
    return [make_clip(folder / "shot.mp4", frames=45, size=(64, 48)), late]


# Matroska counts in milliseconds, and mp4 and mov do where a stream begins late; lossy codecs smear a click.
EXACT, LOSSY, MILLISECONDS = 1.5 / RATE, 4 / RATE, 1.1e-3
FILES = {
    "a plain wav": ("voice.wav", "pcm_s16le", 0.0, None, EXACT),
    "a wav beside a picture, from 0.5 s on, in mkv": ("voice.mkv", "pcm_s16le", 0.5, 0.0, MILLISECONDS),
    "a wav beside a picture, from 15 ms on, in mkv": ("voice.mkv", "pcm_s16le", 0.015, 0.0, MILLISECONDS),
    "a late sound with an edit list in mov": ("voice.mov", "pcm_s16le", 0.3, 0.0, EXACT),
    "priming in m4a": ("voice.m4a", "aac", 0.0, None, LOSSY),
    "priming and a late start in mov": ("voice.mov", "aac", 0.3, 0.0, MILLISECONDS),
    "priming in mp3": ("voice.mp3", "mp3", 0.0, None, LOSSY),
    "priming in ogg": ("voice.ogg", "libopus", 0.0, None, LOSSY),
    "priming in webm": ("voice.mka", "libopus", 0.0, None, MILLISECONDS),
    "a transport stream": ("voice.ts", "ac3", 1.2, 1.0, LOSSY),
    "flac": ("voice.flac", "flac", 0.0, None, EXACT),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_sound_that_drives_is_heard_when_it_drives(kind, shots, tmp_path):
    name, codec, late, picture_from, tolerance = FILES[kind]
    file = write_clicking(tmp_path / name, codec, late, picture_from)
    wanted = CLICK_SECONDS + late - min(late, picture_from if picture_from is not None else late)
    agree(Sound(file), wanted, tolerance, shots, tmp_path)


@pytest.mark.parametrize(("name", "codec"), [("reading.mkv", "pcm_s16le"), ("reading.mov", "pcm_s16le")])
@pytest.mark.parametrize(("sound_from", "picture_from"), [(0.0, 0.4), (0.4, 0.0), (0.25, 0.5)])
def test_a_video_that_drives_is_heard_from_its_first_frame_on(name, codec, sound_from, picture_from, shots, tmp_path):
    file = write_clicking(tmp_path / name, codec, sound_from, picture_from)
    agree(Video(file), CLICK_SECONDS + sound_from - picture_from, MILLISECONDS, shots, tmp_path)


def agree(driver, wanted, tolerance, shots, folder):
    """Drive, mix and delivery into every container have the click at `wanted` seconds from the first frame."""
    driver.read()
    waveform = driver.waveform if isinstance(driver, Sound) else listen(driver.heard()).samples
    assert loudest(waveform, SAMPLE_RATE) == pytest.approx(wanted, abs=tolerance + 1 / SAMPLE_RATE)
    for number, shot in enumerate(shots):
        for deliver in (None, "mix"):
            for suffix in ("mp4", "mov", "mkv"):
                if isinstance(driver, Video) and deliver == "mix":
                    continue
                result = folder / f"{number}.{deliver}.{suffix}"
                write_with(driver, shot, deliver, result, folder)
                allowed = max(tolerance, MILLISECONDS) if number or suffix == "mkv" else tolerance
                assert heard_in(result) == pytest.approx(wanted, abs=allowed), result.name


def write_with(driver, shot: Path, deliver, result: Path, folder: Path):
    footage = Footage(shot)
    sound = delivered([Request(driver)], DubOptions(deliver=deliver), footage, folder)
    with VideoWriter(footage, result, Encoding("h264", "draft"), sound) as writer:
        for frame in footage.frames():
            writer.write(frame)


def test_an_offset_moves_what_is_heard(shots, tmp_path):
    file = write_clicking(tmp_path / "voice.mov", "pcm_s16le", 0.3, 0.0)
    for offset in (-0.5, 0.25):
        footage, result = Footage(shots[0]), tmp_path / f"{offset}.mp4"
        sound = delivered([Request(Sound(file))], DubOptions(audio_offset=offset), footage, tmp_path)
        with VideoWriter(footage, result, Encoding("h264", "draft"), sound) as writer:
            for frame in footage.frames():
                writer.write(frame)
        assert heard_in(result) == pytest.approx(CLICK_SECONDS + 0.3 + offset, abs=EXACT)
