"""Reading sound out of any file."""

import av
import numpy as np
import pytest
import soundfile as sf

from adapt.dubbing.provenance import inspect
from prior.speech.loudness import describe_audio
from prior.speech.sound import SAMPLE_RATE, listen, read_waveform
from render.errors import FootageError
from render.video.sound_track import SoundTrack
from tests.media import Sound, make_sound, syllables, tone


@pytest.mark.parametrize(("suffix", "rate", "channels"), [("wav", 8000, 1), ("flac", 44100, 2), ("ogg", 48000, 1)])
def test_any_file_becomes_mono_16_khz_on_its_own_clock(tmp_path, suffix, rate, channels):
    signal = np.concatenate([np.zeros(rate, np.float32), tone(1000, 1.0, rate)])
    path = tmp_path / f"été sound.{suffix}"
    sf.write(path, np.repeat(signal[:, None], channels, 1), rate)
    waveform = read_waveform(path)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - 2 * SAMPLE_RATE) <= 80  # 5 ms: a lossy codec may trim its last block
    onset = np.flatnonzero(np.abs(waveform) > 0.25)[0] / SAMPLE_RATE
    assert abs(onset - 1.0) < 0.002
    middle = waveform[20000:28000]
    assert np.sqrt(2) * middle.std() == pytest.approx(0.5, abs=0.02)


def test_unreadable_and_soundless_files_are_named(tmp_path):
    path = tmp_path / "broken.wav"
    path.write_bytes(b"not a sound")
    with pytest.raises(FootageError, match="broken.wav"):
        read_waveform(path)
    with pytest.raises(FootageError, match="missing.wav"):
        describe_audio(tmp_path / "missing.wav")


def test_a_missing_file_is_one_clear_line(tmp_path):
    with pytest.raises(FootageError, match="voice.wav: no such file"):
        read_waveform(tmp_path / "voice.wav")


def test_sound_begins_where_its_file_does(tmp_path):
    """The clock of a transport stream starts anywhere."""
    path = make_sound(tmp_path / "voice.ts", Sound(start=1.4, seconds=1.0))
    with av.open(str(path)) as container:
        assert container.start_time > 0.5 * av.time_base
    assert len(read_waveform(path)) / SAMPLE_RATE == pytest.approx(2.4, abs=0.06)
    waveform = read_waveform(path, from_beginning=True)
    assert len(waveform) / SAMPLE_RATE == pytest.approx(1.0, abs=0.06)
    assert np.abs(waveform[: SAMPLE_RATE // 10]).max() > 0.05


def test_tags_that_are_not_utf8_do_not_matter(tmp_path):
    path = make_sound(tmp_path / "voice.wav", Sound(codec="pcm_s16le"))
    data = path.read_bytes()
    tag = b"LIST" + (16).to_bytes(4, "little") + b"INFOIART" + (4).to_bytes(4, "little") + b"Zo\xe9\0"
    whole = data + tag
    path.write_bytes(whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:])
    assert len(read_waveform(path)) == pytest.approx(SAMPLE_RATE, abs=10)
    assert inspect(path).facts["tags"]


def spoken(path, *channels):
    """Write channels [N] at `SAMPLE_RATE` and listen."""
    sf.write(path, np.stack(channels, 1), SAMPLE_RATE, "FLOAT")
    return listen(SoundTrack(path))


def write_film(path, *channels):
    """Channels [N] at `SAMPLE_RATE` as 5.1."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("pcm_f32le", rate=SAMPLE_RATE, layout="5.1")
        packed = np.stack(channels, 1).astype(np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout="5.1")
        frame.sample_rate = SAMPLE_RATE
        output.mux(stream.encode(frame) + stream.encode(None))
    return path


def test_a_centre_that_sounds_is_listened_to_alone(tmp_path):
    voice, band, none = syllables(2.0), tone(300, 2.0), np.zeros(2 * SAMPLE_RATE, np.float32)
    film = listen(SoundTrack(write_film(tmp_path / "film.wav", band, band, voice, none, band, band)))
    assert np.allclose(film.samples, voice, atol=1e-6)
    assert film.notes == [f"{tmp_path / 'film.wav'}: its centre channel is listened to"]
    front = listen(SoundTrack(write_film(tmp_path / "front.wav", voice, voice, none, none, none, none)))
    assert np.allclose(front.samples, voice, atol=1e-6) and front.notes == []


def test_the_one_microphone_of_many_that_sounds_is_as_loud_as_it_was(tmp_path):
    voice, none = syllables(2.0), np.zeros(2 * SAMPLE_RATE, np.float32)
    heard = spoken(tmp_path / "poly.wav", *[none] * 3, voice, *[none] * 8)
    assert np.allclose(heard.samples, voice, atol=1e-6)
    heard = spoken(tmp_path / "two.wav", voice, none)
    assert np.allclose(heard.samples, voice / 2, atol=1e-6) and heard.notes == []


def test_channels_that_cancel_are_not_added(tmp_path):
    voice = syllables(2.0)
    heard = spoken(tmp_path / "inverted.wav", voice, -voice)
    assert np.allclose(heard.samples, voice, atol=1e-6)
    assert heard.notes == [
        f"{tmp_path / 'inverted.wav'}: its channels cancel each other, so the left one is listened to"
    ]


def test_a_constant_is_no_sound(tmp_path):
    voice = syllables(4.0)
    voice[len(voice) // 2 :] *= -1  # its mean is 0
    voice += np.random.default_rng(0).normal(0, 1e-3, len(voice)).astype(np.float32)
    heard = spoken(tmp_path / "offset.wav", voice + np.float32(0.2))
    assert np.allclose(heard.samples, voice - voice.mean(), atol=1e-4) and not heard.is_silent
    assert heard.notes == [f"{tmp_path / 'offset.wav'}: a constant of 0.20 lies under it, and is left out"]
    alone = spoken(tmp_path / "alone.wav", np.full(SAMPLE_RATE, 0.2, np.float32))
    assert alone.is_silent
    facts, plain = describe_audio(tmp_path / "offset.wav"), spoken(tmp_path / "plain.wav", voice)
    wanted = describe_audio(tmp_path / "plain.wav")
    assert plain.notes == [] and facts.noise_floor_dbfs == pytest.approx(wanted.noise_floor_dbfs, abs=0.5)
    assert facts.silence_fraction == pytest.approx(wanted.silence_fraction, abs=0.05)
    assert describe_audio(tmp_path / "alone.wav").silence_fraction == 1.0


def test_both_sides_of_a_change_of_layout_are_as_loud(tmp_path):
    voice, none = syllables(1.0), np.zeros(SAMPLE_RATE, np.float32)
    for name, layout, channels in (("a", "stereo", [voice] * 2), ("b", "5.1", [none, none, voice, none, none, none])):
        with av.open(str(tmp_path / f"{name}.ac3"), "w") as output:
            stream = output.add_stream("ac3", rate=48_000, layout=layout)
            stream.bit_rate = 448_000
            frame = av.AudioFrame.from_ndarray(
                np.stack(channels, 1).repeat(3, 0).reshape(1, -1).astype(np.float32), format="flt", layout=layout
            )
            frame.sample_rate = 48_000
            resampler = av.AudioResampler("fltp", layout, 48_000, 1536)
            for piece in resampler.resample(frame) + resampler.resample(None):
                output.mux(stream.encode(piece))
            output.mux(stream.encode(None))
    joined = tmp_path / "joined.ac3"
    joined.write_bytes((tmp_path / "a.ac3").read_bytes() + (tmp_path / "b.ac3").read_bytes())
    heard = read_waveform(joined)
    first, second = heard[:SAMPLE_RATE], heard[-SAMPLE_RATE:]
    assert second.std() == pytest.approx(first.std(), rel=0.1)
    facts = describe_audio(joined)
    assert facts.channels == 2 and "stereo at 48000 Hz to 5.1(side)" in facts.notes[0]


@pytest.mark.parametrize("gain", [1e-3, 20.0])
def test_very_quiet_and_very_hot_floats_are_read_as_they_are(tmp_path, gain):
    voice = syllables(2.0)
    heard = spoken(tmp_path / "voice.wav", voice * np.float32(gain))
    assert np.allclose(heard.samples, voice * gain, atol=1e-6 * gain) and not heard.is_silent


def test_no_more_of_a_sound_is_read_than_is_asked_for(tmp_path):
    path = make_sound(tmp_path / "long.wav", Sound("pcm_s16le", layout="mono", seconds=4.0))
    whole, part = listen(SoundTrack(path)).samples, listen(SoundTrack(path), 0.5).samples
    assert len(whole) == 4 * SAMPLE_RATE and 0.5 * SAMPLE_RATE <= len(part) < SAMPLE_RATE
    assert np.allclose(part[: SAMPLE_RATE // 2], whole[: SAMPLE_RATE // 2], atol=1e-6)
