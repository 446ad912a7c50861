"""What is heard in a dub."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from adapt.commands.dub import options_of, requests_of
from adapt.commands.flags import DubConfig
from adapt.dubbing.options import DRAFT_FIT_STEPS, DubOptions
from adapt.dubbing.request import Request
from adapt.dubbing.sound import delivered, mix_sounds, refuse_undeliverable
from adapt.motion.sources import OwnMotion
from prior.speech.sound import read_waveform
from render.errors import FootageError
from render.video.encoding import DeliveredSound
from render.video.reader import Footage
from render.video.sound_track import SoundTrack
from tests.media import Sound as MadeSound
from tests.media import make_clip, make_sound


def test_draft_and_offsets_reach_the_dub(talking_clip, tmp_path):
    footage = Footage(talking_clip[0])
    voice = str(make_sound(tmp_path / "voice.wav", MadeSound("pcm_s16le")))
    config = DubConfig("shot.mp4", voice, out="out", draft=True, grain=True, range="0.5-1.2", audio_offset=0.5)
    options = options_of(config)
    assert options.quality == "draft" and not options.grain
    assert options.fit_steps == DRAFT_FIT_STEPS < DubConfig.fit_steps

    def sound_of(config):
        return delivered(requests_of(config), options_of(config), footage, tmp_path)

    assert sound_of(config) == DeliveredSound([Path(voice)], 1.0, None)
    assert sound_of(replace(config, deliver="source")) is None
    trimmed = replace(config, on_mismatch="trim")
    assert sound_of(trimmed).end_seconds == 1.2
    assert sound_of(replace(trimmed, range=None)).end_seconds == pytest.approx(1.6)


def test_a_video_that_drives_is_heard_unless_told_otherwise(talking_clip, tmp_path):
    footage = Footage(talking_clip[0])
    reading = make_clip(tmp_path / "reading.mp4", sounds=[MadeSound()])
    for drive, deliver, heard in (
        (str(reading), None, [SoundTrack(reading, begins=Fraction(0))]),
        (str(reading), "source", None),
        (str(talking_clip[0]), None, None),
        ("source", None, None),
        (str(tmp_path / "1.track.safetensors"), None, None),
    ):
        config = DubConfig("shot.mp4", actor="ada.actor", drive=drive, deliver=deliver, out="out")
        sound = delivered(requests_of(config), options_of(config), footage, tmp_path)
        assert (None if sound is None else list(sound.files)) == heard


def test_a_mix_is_the_sum(tmp_path):
    long = make_sound(tmp_path / "long.wav", MadeSound("pcm_s16le", rate=44100, layout="mono", seconds=0.5))
    short = make_sound(tmp_path / "short.wav", MadeSound("pcm_s16le", rate=48000, layout="mono", seconds=0.25))
    mix_sounds([SoundTrack(long), SoundTrack(short)], tmp_path / "mix.wav")
    mixed, alone = read_waveform(tmp_path / "mix.wav"), read_waveform(long)
    assert len(mixed) == pytest.approx(len(alone), abs=16)
    half = len(alone) // 2
    both, one = (np.sqrt(np.mean(mixed[part] ** 2)) for part in (slice(200, half - 400), slice(half + 400, -400)))
    assert both == pytest.approx(2 * one, rel=0.02)


def test_a_sound_that_cannot_be_delivered_is_refused_before_the_shot_is_looked_at(tmp_path):
    with av.open(str(tmp_path / "jump.mkv"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=48_000, layout="mono")
        for start in (0, 360_000):
            frame = av.AudioFrame.from_ndarray(np.full((1, 4800), 9000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, start * 48_000, Fraction(1, 48_000)
            output.mux(stream.encode(frame))
    options = DubOptions(deliver=str(tmp_path / "jump.mkv"))
    with pytest.raises(FootageError, match="its clock jumps there"):
        refuse_undeliverable([Request(OwnMotion())], options)
    with pytest.raises(FootageError, match=r"jump.mkv#2: there is no such sound track"):
        refuse_undeliverable([Request(OwnMotion())], DubOptions(deliver=f"{tmp_path / 'jump.mkv'}#2"))
