"""Reading sound out of any file."""

import av
import numpy as np
import pytest
import soundfile as sf

from adapt.dubbing.provenance import inspect
from prior.speech.loudness import describe_audio
from prior.speech.sound import SAMPLE_RATE, read_waveform
from render.errors import FootageError
from tests.media import Sound, make_sound, tone


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
