"""Sound as it comes out of files: any channels, holes, jumps, values that are no numbers, changes on the way."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from render.errors import FootageError
from render.video.sound_blocks import audio_blocks
from render.video.sound_track import SoundTrack
from tests.media import Sound, make_sound, tone

RATE = 48_000


def samples_of(path, notes=None, **track):
    blocks = list(audio_blocks(SoundTrack(Path(path), **track), notes))
    ends = [block.start + len(block.samples) for block in blocks]
    assert [block.start for block in blocks] == [0, *ends[:-1]], "each begins where the one before ends"
    assert all(np.isfinite(block.samples).all() and len(block.samples) <= 2 * block.rate for block in blocks)
    return blocks


def channel(blocks, number=0):
    return np.concatenate([block.samples[:, number] for block in blocks])


def write_packets(path, times, rate=RATE):
    """A sound of 0.1 s of tone at each time in seconds, nothing between."""
    piece = (tone(440, 0.1, rate) * 32767).astype(np.int16)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=rate)
        stream.codec_context.layout = "mono"
        stream.codec_context.time_base = Fraction(1, rate)
        for seconds in times:
            frame = av.AudioFrame.from_ndarray(piece[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, round(seconds * rate), Fraction(1, rate)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 9, 16, 24])
def test_any_number_of_channels_is_read(tmp_path, channels):
    written = np.stack([tone(100 * (n + 1), 0.2, RATE, 0.5) for n in range(channels)], 1)
    soundfile.write(tmp_path / "poly.wav", written, RATE, "FLOAT")
    blocks = samples_of(tmp_path / "poly.wav")
    assert np.array_equal(np.concatenate([block.samples for block in blocks]), written)


@pytest.mark.parametrize("layout", ["5.1", "7.1"])
def test_planar_codecs_of_many_channels_are_read(tmp_path, layout):
    blocks = samples_of(make_sound(tmp_path / "film.m4a", Sound(layout=layout)))
    assert {block.layout for block in blocks} == {layout}
    heard = channel(blocks, 2)
    assert np.abs(np.fft.rfft(heard[RATE // 4 : 3 * RATE // 4])).argmax() * 2 == pytest.approx(220 * 1.5**2, abs=4)


def test_a_sound_that_nothing_converts_is_refused_by_name(tmp_path):
    path = tmp_path / "wide.wav"
    soundfile.write(path, tone(200, 0.3), 48_000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[22:24] = (257).to_bytes(2, "little")  # channels, more than a converter takes
    path.write_bytes(data)
    with pytest.raises(FootageError, match=r"wide\.wav: its sound from 0:00:00.000 on \(257 channels at 48000 Hz"):
        list(audio_blocks(SoundTrack(path)))


def test_a_clock_that_begins_hours_late_is_refused_where_its_zero_is_meant(tmp_path):
    path = write_packets(tmp_path / "late.mkv", [360_000.0])
    assert sum(len(block.samples) for block in audio_blocks(SoundTrack(path))) == pytest.approx(0.1 * RATE, abs=2)
    with pytest.raises(FootageError, match="its clock begins at 100:00:00.000; write it to a file whose clock begins"):
        next(audio_blocks(SoundTrack(path, begins=Fraction(0))))


def test_holes_are_zeros_in_small_blocks(tmp_path):
    path = write_packets(tmp_path / "gap.mkv", [0.0, 1800.0])
    count = 0
    for block in audio_blocks(SoundTrack(path)):
        assert len(block.samples) <= RATE and block.start == count
        assert not block.is_hole or not block.samples.any()
        count += len(block.samples)
    assert count == pytest.approx(1800.1 * RATE, abs=RATE // 500)


def test_a_clock_that_jumps_is_refused_by_name(tmp_path):
    path = write_packets(tmp_path / "jump.mkv", [0.0, 360_000.0])
    with pytest.raises(FootageError, match=r"jump.mkv: nothing for 99:59:59.900 after 0:00:00.100 of its sound"):
        samples_of(path)


def test_joined_recordings_whose_clock_starts_anew_are_refused_by_name(tmp_path):
    halves = [make_sound(tmp_path / f"{start}.ts", Sound("ac3", start=start, layout="mono")) for start in (500.0, 1.0)]
    (tmp_path / "both.ts").write_bytes(b"".join(half.read_bytes() for half in halves))
    with pytest.raises(FootageError, match="both.ts: nothing for .* its clock jumps there; write the sound to a file"):
        samples_of(tmp_path / "both.ts")


def test_what_is_no_number_is_silence_with_a_note(tmp_path):
    written = tone(440, 1.0, RATE)
    written[24_000], written[30_000:30_003], written[40_000] = np.nan, (np.inf, -np.inf, 1e30), 8.0
    soundfile.write(tmp_path / "bad.wav", written, RATE, "FLOAT")
    notes: list[str] = []
    heard = channel(samples_of(tmp_path / "bad.wav", notes))
    assert not heard[24_000] and not heard[30_000:30_003].any() and heard[40_000] == 8.0
    assert notes == [
        f"{tmp_path / 'bad.wav'}: 4 values that are no numbers in its sound, from 0:00:00.500 on; taken as silence"
    ]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (Sound("ac3", layout="stereo"), Sound("ac3", layout="5.1"), "stereo at 48000 Hz to 5.1(side) at 48000 Hz"),
        (Sound(layout="mono"), Sound(layout="stereo", rate=44_100), "mono at 48000 Hz to stereo at 44100 Hz"),
    ],
)
def test_a_change_of_channels_or_rate_is_read_through_and_told(tmp_path, first, second, words):
    suffix = "ac3" if first.codec == "ac3" else "aac"
    halves = [make_sound(tmp_path / f"{n}.{suffix}", half) for n, half in enumerate((first, second))]
    joined = tmp_path / f"joined.{suffix}"
    joined.write_bytes(b"".join(half.read_bytes() for half in halves))
    notes: list[str] = []
    blocks = samples_of(joined, notes)
    assert {block.rate for block in blocks} == {48_000}
    assert blocks[-1].start + len(blocks[-1].samples) == pytest.approx(2.0 * RATE, abs=0.08 * RATE)
    second_half = channel(blocks)[int(1.3 * RATE) : int(1.8 * RATE)]
    assert np.abs(np.fft.rfft(second_half)).argmax() * 2 == pytest.approx(220, abs=2), "the rate is brought to one"
    (note,) = notes
    assert words in note and "0:00:01.0" in note


def test_damage_leaves_a_hole_and_not_the_end(tmp_path):
    path = make_sound(tmp_path / "voice.mka", Sound("flac", layout="mono", seconds=4.0))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    heard = channel(samples_of(path))
    assert len(heard) == pytest.approx(4 * RATE, abs=RATE // 100)
    assert np.abs(heard[-RATE:]).max() > 0.1


@pytest.mark.parametrize("milliseconds", [10, 600])
def test_a_late_start_is_kept_to_the_sample(tmp_path, milliseconds):
    path = tmp_path / "late.mov"
    with av.open(str(path), "w") as output:
        early, late = (output.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2))
        for stream, start in ((early, 0), (late, milliseconds * RATE // 1000)):
            frame = av.AudioFrame.from_ndarray(np.full((1, RATE), 9000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            output.mux(stream.encode(frame) + stream.encode(None))
    for number, first in ((1, 0), (2, milliseconds * RATE // 1000)):
        heard = channel(samples_of(path, number=number))
        assert np.flatnonzero(heard)[0] == first and len(heard) == RATE + first
    assert len(channel(samples_of(path, number=1, begins=Fraction(1, 4)))) == 0.75 * RATE


def test_tracks_count_from_one_and_a_real_name_wins(tmp_path):
    assert SoundTrack.named(tmp_path / "a.mxf#2") == SoundTrack(tmp_path / "a.mxf", 2)
    assert SoundTrack.named("take #2.wav") == SoundTrack(Path("take #2.wav"))
    soundfile.write(tmp_path / "a.wav", tone(440, 0.1), 16_000)
    (tmp_path / "a.wav").rename(tmp_path / "a.wav#2")
    real = SoundTrack.named(tmp_path / "a.wav#2")
    assert real == SoundTrack(tmp_path / "a.wav#2") and len(channel(samples_of(real.path))) == 1600
    for number in (0, 2):
        with pytest.raises(FootageError, match="no such sound track; the last one is"):
            samples_of(tmp_path / "a.wav#2", number=number)
