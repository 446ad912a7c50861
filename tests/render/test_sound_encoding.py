"""Sounds that a container does not take as they are: what comes out has a rate, channels and a length that play."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from render.video.encoding import DeliveredSound, Encoding
from render.video.reader import Footage
from render.video.sound_blocks import audio_blocks
from render.video.sound_track import SoundTrack
from render.video.writer import VideoWriter
from tests.media import Sound, make_clip, make_sound, tone

RATE = 48_000


def delivered_as(sound, folder, name="out.mp4"):
    """A clip with the sound; gives the notes, and the sound decoded from the clip's beginning on."""
    footage = Footage(make_clip(folder / "silent.mp4", frames=40, size=(64, 48)))
    with VideoWriter(footage, folder / name, Encoding("h264", "draft"), DeliveredSound([sound])) as writer:
        for frame in footage.frames():
            writer.write(frame)
    blocks = list(audio_blocks(SoundTrack(folder / name, begins=Fraction(0))))
    return writer.notes, blocks[0], np.concatenate([block.samples for block in blocks])


@pytest.mark.parametrize(
    ("codec", "rate", "suffix", "wanted"),
    [("pcm_u8", 192_000, "wav", 96_000), ("pcm_u8", 50_000, "wav", 64_000), ("pcm_u8", 6_000, "wav", 7_350)],
)
def test_rates_that_aac_has_not_are_brought_to_one(tmp_path, codec, rate, suffix, wanted):
    path = tmp_path / f"voice.{suffix}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, layout="stereo")
        wave = tone(440, 1.2, rate)[:, None].repeat(2, 1).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format="flt", layout="stereo")
        frame.sample_rate = rate
        output.mux(stream.encode(frame) + stream.encode(None))
    (note,), first, heard = delivered_as(path, tmp_path)
    assert note.endswith(f"encoded anew as aac, {wanted} Hz") and (first.rate, first.layout) == (wanted, "stereo")
    assert len(heard) / wanted == pytest.approx(1.2, abs=1100 / wanted + 40 / rate)
    peak = np.abs(np.fft.rfft(heard[:wanted, 0])).argmax()
    assert peak == pytest.approx(440, abs=2)


def test_microphones_without_places_are_delivered_as_one(tmp_path):
    channels = np.zeros((RATE, 8), np.float32)
    channels[:, 3] = tone(440, 1.0, RATE)
    soundfile.write(tmp_path / "poly.wav", channels, RATE)
    (note,), first, heard = delivered_as(tmp_path / "poly.wav", tmp_path)
    assert note.endswith("encoded anew as aac, mono") and first.layout == "mono"
    assert np.abs(heard[RATE // 4 : RATE // 2]).max() == pytest.approx(0.5 / 8**0.5, rel=0.05)


def test_seven_point_one_stays_so(tmp_path):
    (note,), first, heard = delivered_as(make_sound(tmp_path / "film.wav", Sound("pcm_u8", layout="7.1")), tmp_path)
    assert note.endswith("encoded anew as aac") and first.layout == "7.1" and heard.shape[1] == 8


def test_values_that_are_no_numbers_do_not_stop_the_encoder(tmp_path):
    wave = tone(440, 1.0, RATE)
    wave[::7] = np.nan
    soundfile.write(tmp_path / "bad.caf", np.stack([wave] * 3, 1), RATE, "DOUBLE")
    _, _, heard = delivered_as(tmp_path / "bad.caf", tmp_path)
    assert np.isfinite(heard).all() and len(heard) == pytest.approx(RATE, abs=1100)


def test_channels_that_change_on_the_way_are_encoded_through(tmp_path, monkeypatch):
    halves = [make_sound(tmp_path / f"{n}.ac3", Sound("ac3", layout=form)) for n, form in enumerate(("stereo", "5.1"))]
    (tmp_path / "joined.ac3").write_bytes(b"".join(half.read_bytes() for half in halves))
    monkeypatch.setattr("render.video.delivery._holds", lambda *_: False)
    _, first, heard = delivered_as(tmp_path / "joined.ac3", tmp_path)
    assert first.layout == "5.1" and len(heard) == pytest.approx(2 * RATE, abs=0.1 * RATE)
    assert all(np.abs(part).max() > 0.1 for part in np.array_split(heard[: 2 * RATE], 8))


def test_holes_stay_holes(tmp_path):
    path: Path = tmp_path / "gap.mkv"
    piece = (tone(440, 0.2, RATE) * 127 + 128).astype(np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_u8", rate=RATE, layout="mono")
        for start in (0, RATE):
            frame = av.AudioFrame.from_ndarray(piece[None], format="u8", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    _, _, heard = delivered_as(path, tmp_path)
    loud = np.flatnonzero(np.abs(heard[:, 0]) > 0.2)
    assert loud[0] < 0.02 * RATE and loud[-1] == pytest.approx(1.2 * RATE, abs=0.03 * RATE)
    assert np.abs(heard[int(0.3 * RATE) : int(0.9 * RATE)]).max() < 0.01
    assert loud[loud > 0.5 * RATE][0] == pytest.approx(RATE, abs=60)
