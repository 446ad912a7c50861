"""Which of several sound tracks is meant."""

import av
import numpy as np
import pytest

from prior.speech.sound import SAMPLE_RATE, listen
from prior.speech.speech_track import speech_track
from render.errors import FootageError
from render.video.sound_track import SoundTrack
from tests.media import syllables, tone

SECONDS = 2.4


def write_tracks(path, *waves):
    """One sound track for each [N, channels] at `SAMPLE_RATE`."""
    with av.open(str(path), "w") as output:
        layouts = ["mono" if wave.ndim == 1 else "stereo" for wave in waves]
        streams = [output.add_stream("pcm_f32le", rate=SAMPLE_RATE, layout=layout) for layout in layouts]
        for stream, wave, layout in zip(streams, waves, layouts, strict=True):
            frame = av.AudioFrame.from_ndarray(wave.astype(np.float32).reshape(1, -1), format="flt", layout=layout)
            frame.sample_rate = SAMPLE_RATE
            output.mux(stream.encode(frame) + stream.encode(None))
    return path


@pytest.fixture
def voice():
    return syllables(SECONDS)


@pytest.fixture
def none():
    return np.zeros(round(SECONDS * SAMPLE_RATE))


def test_the_track_with_speech_is_taken_and_told(tmp_path, voice, none):
    path = write_tracks(tmp_path / "camera.mov", none, tone(1000, SECONDS), np.stack([voice, voice], 1), voice * 0.5)
    notes: list[str] = []
    track = speech_track(path, notes)
    assert track == SoundTrack(path, 3) and np.allclose(listen(track).samples, voice, atol=1e-6)
    assert notes == [
        f"{path}: of its 4 sound tracks number 3 is used, the first with speech; choose another by camera.mov#4"
    ]


def test_a_track_that_is_named_is_taken(tmp_path, voice, none):
    path = write_tracks(tmp_path / "camera.mov", voice, tone(1000, SECONDS), none)
    notes: list[str] = []
    assert speech_track(f"{path}#2", notes) == SoundTrack(path, 2) and notes == []
    with pytest.raises(FootageError, match=r"mov#4: there is no such sound track; the last one is .*mov#3"):
        speech_track(f"{path}#4")


def test_the_first_with_speech_the_first_with_sound_or_the_first(tmp_path, voice, none):
    for number, waves, chosen in (
        (0, (voice, voice), 1),
        (1, (none, tone(300, SECONDS), tone(500, SECONDS)), 2),
        (2, (none, none), 1),
    ):
        assert speech_track(write_tracks(tmp_path / f"{number}.mov", *waves)).number == chosen
    notes: list[str] = []
    alone = write_tracks(tmp_path / "alone.mov", voice)
    assert speech_track(alone, notes) == SoundTrack(alone) and notes == []
