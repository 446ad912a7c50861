"""Sounds that drive: odd channels, odd values, several tracks, clocks that jump, hardly any samples."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile

from prior.speech.sound import SAMPLE_RATE
from tests.cases.case import Bench, Outcome, case
from tests.media import syllables, tone

RATE = 48_000


def voice(seconds: float = 1.6) -> np.ndarray:
    return np.repeat(syllables(seconds), RATE // SAMPLE_RATE)


def checked(bench: Bench, name: str | Path) -> Outcome:
    outcome = bench.adapt("check", bench.shared / "talking.mp4", "--audio", name)
    assert outcome.code == 0, outcome
    return outcome


def write_tracks(path: Path, *waves: np.ndarray) -> Path:
    with av.open(str(path), "w") as output:
        streams = [output.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in waves]
        for stream, wave in zip(streams, waves, strict=True):
            samples = (wave * 32767).astype(np.int16)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = RATE
            output.mux(stream.encode(frame) + stream.encode(None))
    return path


@case("sound", "eight channels, the voice on one")
def eight_channels(bench: Bench) -> str:
    channels = np.zeros((len(voice()), 8))
    channels[:, 3] = voice()
    soundfile.write(bench.folder / "poly.wav", channels, RATE)
    assert "8 channels" in checked(bench, "poly.wav").out
    return "read"


@case("sound", "values that are no numbers")
def no_numbers(bench: Bench) -> str:
    wave = voice()
    wave[RATE], wave[RATE + 1] = np.nan, np.inf
    soundfile.write(bench.folder / "nan.wav", wave, RATE, "FLOAT")
    out = checked(bench, "nan.wav").out
    assert "2 values that are no numbers in its sound, from 0:00:01.000 on; taken as silence" in out, out
    return "taken as silence, told with the time"


@case("sound", "channels that cancel, on a constant")
def cancelling_on_a_constant(bench: Bench) -> str:
    soundfile.write(bench.folder / "odd.wav", np.stack([0.2 + voice(), 0.2 - voice()], 1), RATE)
    out = checked(bench, "odd.wav").out
    assert "the left one is listened to; a constant of 0.20 lies under it" in out and "silent from end" not in out, out
    return "the left one without the constant, told"


@case("sound", "a clock that jumps by a hundred hours")
def a_clock_that_jumps(bench: Bench) -> str:
    with av.open(str(bench.folder / "jump.mkv"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for start in (0, 360_000):
            frame = av.AudioFrame.from_ndarray(np.full((1, 4800), 9000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start * RATE, Fraction(1, RATE)
            output.mux(stream.encode(frame))
    outcome = bench.dub(bench.shared / "talking.mp4", "jump.mkv")
    assert outcome.is_refusal and "its clock jumps there" in outcome.line, outcome
    return outcome.line


@case("sound", "a camera whose first track is silent")
def a_silent_first_track(bench: Bench) -> str:
    write_tracks(bench.folder / "camera.mov", 0 * voice(), voice())
    outcome = bench.dub(bench.shared / "talking.mp4", "camera.mov")
    assert outcome.code == 0 and "of its 2 sound tracks number 2 is used, the first with speech" in outcome.out, outcome
    run = json.loads((bench.folder / "out" / "run.json").read_text(encoding="utf-8"))
    assert run["drivers"][0]["track"] == run["delivered_sounds"][0]["track"] == 2
    dubbed = bench.folder / "out" / "talking.dubbed.mp4"
    with av.open(str(dubbed)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert np.abs(heard).max() > 0
    refused = bench.adapt("dub", bench.shared / "talking.mp4", "camera.mov#1", "-o", "other")
    assert refused.is_refusal and "camera.mov#1: silent from end to end" in refused.line, refused
    return "the second drives and is heard, told; #1 is the silent one"


@case("sound", "hardly any samples, and offsets that are none")
def hardly_any_samples(bench: Bench) -> str:
    soundfile.write(bench.folder / "tick.wav", tone(440, 0.01, RATE), RATE)
    short = bench.dub(bench.shared / "talking.mp4", "tick.wav", "--on-mismatch", "pad")
    assert short.is_refusal and "0.010 s long, too short to move a mouth" in short.line, short
    for offset in ("nan", "inf"):
        outcome = bench.dub(bench.shared / "talking.mp4", bench.shared / "voice.wav", "--audio-offset", offset)
        assert outcome.is_refusal and "give a finite number" in outcome.line, outcome
    return short.line
