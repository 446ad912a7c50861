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
from adapt.dubbing.part import Request
from adapt.dubbing.sound import delivered, mix_sounds, other_sound, refuse_undeliverable
from adapt.motion.sources import OwnMotion, Sound
from prior.speech.sound import read_waveform
from render.errors import FootageError
from render.video.encoding import DeliveredSound
from render.video.reader import Footage
from render.video.sound_blocks import audio_blocks
from render.video.sound_track import SoundTrack
from render.video.writer import VideoWriter
from tests.media import Sound as MadeSound
from tests.media import make_clip, make_sound, packets


def test_draft_and_offsets_reach_the_dub(talking_clip, tmp_path):
    footage = Footage(talking_clip[0])
    voice = str(make_sound(tmp_path / "voice.wav", MadeSound("pcm_s16le")))
    config = DubConfig("shot.mp4", voice, out="out", draft=True, grain=True, range="0.5-1.2", audio_offset=0.5)
    options = options_of(config)
    assert options.quality == "draft" and not options.grain
    assert options.fit_steps == DRAFT_FIT_STEPS < DubConfig.fit_steps

    def sound_of(config):
        return delivered(requests_of(config), options_of(config), footage, tmp_path)

    assert sound_of(replace(config, range=None)) == DeliveredSound([Path(voice)], 0.5, None)
    assert sound_of(replace(config, deliver="source")) is None
    assert sound_of(replace(config, range=None, on_mismatch="trim")).end_seconds == pytest.approx(1.6)


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


RATE = 48_000
#: The shot's sound: a tone, 0.2 s longer than its 1 s of pictures; the new line: another one, of 16 kHz mono.
SHOT_HZ, LINE_HZ = 200, 700


def sounding_shot(folder, codec, suffix):
    sounds = [MadeSound(codec, rate=RATE, layout="stereo", seconds=1.2, hz=SHOT_HZ)]
    pictures = [np.full((64, 64, 3), 99, np.uint8)] * 25
    return Footage(make_clip(folder / f"shot{suffix}", pictures=pictures, sounds=sounds))


def inserted(footage, folder, notes, line_seconds=0.4, **settings):
    line = make_sound(
        folder / "line.wav", MadeSound("pcm_s16le", rate=16_000, layout="mono", seconds=line_seconds, hz=LINE_HZ)
    )
    options = DubOptions(part=(0.32, 0.72), **settings)
    sound = delivered([Request(Sound(line))], options, footage, folder, notes)
    out = folder / f"out{footage.path.suffix}"
    out.unlink(missing_ok=True)
    with VideoWriter(footage, out, sound=sound) as writer:
        for frame in footage.frames():
            writer.write(frame)
    return Footage(out)


def heard(footage):
    begins = int(footage.pts[0]) * footage.time_base
    return np.concatenate([block.samples for block in audio_blocks(SoundTrack(footage.path, begins=begins))])


@pytest.mark.parametrize(
    ("codec", "suffix"), [("pcm_s16le", ".mov"), ("pcm_s24le", ".mov"), ("flac", ".mkv"), ("aac", ".mp4")]
)
def test_a_line_is_inserted_to_the_sample_without_a_hole_or_a_click(codec, suffix, tmp_path):
    footage, notes = sounding_shot(tmp_path, codec, suffix), []
    written = inserted(footage, tmp_path, notes)
    (stream,), (own,) = written.audio, footage.audio
    assert (stream.codec, stream.sample_rate, stream.layout) == (own.codec, RATE, "stereo")
    before, after = heard(footage), heard(written)
    first, last = round(0.32 * RATE), round(0.72 * RATE)
    assert len(after) >= len(before) or codec == "aac"
    count = min(len(before), len(after))
    before, after = before[:count], after[:count]
    outside = np.r_[0:first, last:count]
    if codec != "aac":
        assert np.array_equal(before[outside], after[outside])
    else:
        inner = outside[(outside > 3000) & (outside < count - 3000)]
        assert np.sqrt(np.mean((before - after)[inner] ** 2)) < 0.02 * np.sqrt(np.mean(before**2))
    line = after[first + 480 : last - 480, 0]
    spectrum = np.abs(np.fft.rfft(line * np.hanning(len(line))))
    assert np.fft.rfftfreq(len(line), 1 / RATE)[spectrum.argmax()] == pytest.approx(LINE_HZ, abs=5)
    steepest = np.abs(np.diff(after[:, 0])).max()
    assert steepest < 1.2 * 2 * np.pi * LINE_HZ / RATE * np.abs(after).max(), (
        "no click: no steeper than the line itself"
    )
    window = after[: count // 480 * 480, 0].reshape(-1, 480)
    assert np.sqrt((window**2).mean(1))[4:-4].min() > 0.05, "no hole"
    (note,) = notes
    kept = "all of it encoded anew" if codec == "aac" else "samples outside of it are the source's"
    assert "0:00:00.320 to 0:00:00.720" in note and note.endswith(kept)


def test_where_a_line_ends_early_the_sources_sound_goes_on_and_with_pad_it_is_silent(tmp_path):
    footage = sounding_shot(tmp_path, "pcm_s16le", ".mov")
    before = heard(footage)
    after = heard(inserted(footage, tmp_path, [], line_seconds=0.2, on_mismatch="trim"))
    end = round(0.52 * RATE)
    assert np.array_equal(before[end:], after[end:]) and not np.array_equal(
        before[end - 900 : end], after[end - 900 : end]
    )
    padded = heard(inserted(footage, tmp_path, [], line_seconds=0.2, on_mismatch="pad"))
    assert not padded[end + 10 : round(0.71 * RATE)].any() and np.array_equal(
        before[round(0.72 * RATE) :], padded[round(0.72 * RATE) :]
    )
    late = heard(inserted(footage, tmp_path, [], line_seconds=0.2, audio_offset=0.1, on_mismatch="trim"))
    begin = round(0.42 * RATE)
    assert np.array_equal(before[:begin], late[:begin]) and not np.array_equal(
        before[begin : end + 900], late[begin : end + 900]
    )


def test_into_a_shot_without_sound_a_line_is_inserted_between_silence(talking_clip, tmp_path):
    footage = Footage(talking_clip[0])
    line = make_sound(tmp_path / "line.wav", MadeSound("pcm_s16le", rate=16_000, layout="mono", seconds=0.4))
    sound = delivered([Request(Sound(line))], DubOptions(part=(0.32, 0.72)), footage, tmp_path)
    samples = read_waveform(tmp_path / "insert.wav")
    assert sound == DeliveredSound([tmp_path / "insert.wav"]) and len(samples) == round(footage.duration * 16_000)
    assert not samples[: round(0.31 * 16_000)].any() and not samples[round(0.73 * 16_000) :].any() and samples.any()


def test_of_several_tracks_the_one_with_speech_takes_the_line_and_the_others_stay(tmp_path):
    sounds = [
        MadeSound("pcm_s16le", rate=RATE, layout="stereo", seconds=1.0, hz=hz, language=language)
        for hz, language in ((SHOT_HZ, "eng"), (300, "fra"))
    ]
    pictures = [np.full((64, 64, 3), 99, np.uint8)] * 25
    footage = Footage(make_clip(tmp_path / "shot.mov", pictures=pictures, sounds=sounds))
    written = inserted(footage, tmp_path, [])
    assert [stream.language for stream in written.audio] == ["eng", "fra"]
    assert packets(written.path, number=1) == packets(footage.path, number=1)
    assert packets(written.path, number=0) != packets(footage.path, number=0)


def test_another_rate_or_other_channels_are_told(tmp_path):
    footage = sounding_shot(tmp_path, "aac", ".mp4")
    for rate, layout, told in (
        (16_000, "mono", "16000 Hz mono, where the source has 48000 Hz stereo"),
        (RATE, "stereo", None),
    ):
        line = make_sound(tmp_path / "line.wav", MadeSound("pcm_s16le", rate=rate, layout=layout, seconds=1.0))
        sound = delivered([Request(Sound(line))], DubOptions(), footage, tmp_path)
        text = other_sound(sound, footage)
        assert text is None if told is None else told in text
