"""Score when a dubbed mouth opens: `python -m adapt.benchmarks.timing [-o FOLDER]`.

The synthetic actor, her mouth closed, is filmed at every frame rate and dubbed by `adapt dub` to a click track of
syllables; the opening is measured in the pixels of the result, at its own timestamps. Prints a line a rate: by how many
milliseconds and frames the mouth opens after (positive) the sound of each click, and after the motion that was drawn.
"""

import argparse
import json
import tempfile
import wave
from pathlib import Path

import numpy as np
import torch

from adapt.actor.bundle import ActorBundle
from adapt.dubbing.dub import dub
from adapt.dubbing.part import Request
from adapt.fitting.fit import fit
from adapt.fitting.options import FitOptions
from adapt.metrics.mouth_meter import MouthMeter
from adapt.motion.sources import Sound
from adapt.reports.clip import encode_clip
from adapt.synthetic.actor import SyntheticActor, babble, make_actor
from adapt.tracking.crop import read_crops
from prior.motion.model import shipped_motion_model
from prior.motion.style import MouthStyle
from prior.speech.phonemes import INDEX, LABEL_RATE
from prior.speech.sound import SAMPLE_RATE
from prior.teachers.speech import FLITE_VOICES, flite_speech
from render.drawing.crop import CROP_SIZE
from render.head.track import Track
from render.video.reader import Footage

#: Seconds from frame to frame, repeated: the rates that are tried.
RATES = {
    "23.976": (1001 / 24000,),
    "25": (1 / 25,),
    "29.97": (1001 / 30000,),
    "variable": (1 / 24, 1 / 30, 1 / 25, 1 / 60),
}
CLICKS_HZ = 3.0
LONGEST_LAG, LAG_STEP = 0.15, 0.002  # seconds; longer lags would be the next click's
ACTOR_PX, ACTOR_SECONDS = 256, 1.6


def clicks(seconds: float, voice: np.ndarray | None = None) -> np.ndarray:
    """Click track [N] at `SAMPLE_RATE`: an "a" in the first half of every third of a second.

    Args:
        seconds: of the track.
        voice: [≥ half of that] to be heard; a buzz where not given, which the voice detector takes for music.
    """
    clock = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    since = clock % (1 / CLICKS_HZ)
    if voice is None:
        hz = 120 * np.arange(1, 30)[:, None]
        sound = 0.1 * (np.exp(-(((hz - 750) / 400) ** 2)) * np.sin(2 * np.pi * hz * clock)).sum(0)
    else:
        sound = np.interp(since, np.arange(len(voice)) / SAMPLE_RATE, voice)
    return (sound * (since < 0.5 / CLICKS_HZ)).astype(np.float32)


def vowel() -> np.ndarray:
    """An "a" [N] by a voice of flite, loud from its first sample on; needs flite installed."""
    spoken, labels = flite_speech("father", FLITE_VOICES[0], stretch=2.0)
    first = int(np.flatnonzero(labels == INDEX["a"])[0]) + 1
    return spoken[first * SAMPLE_RATE // LABEL_RATE :]


def lags(seconds: np.ndarray, opening: np.ndarray, clock: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """By how many seconds an opening follows a reference at each click: the lag at which they correlate best.

    Args:
        seconds: [T] when the opening was seen.
        opening: [T].
        clock: [R] seconds of the reference.
        reference: [R] what the opening should follow.

    Returns:
        One lag a click that lies wholly within what was seen, the first and the last left out.
    """
    tried = np.arange(-LONGEST_LAG, LONGEST_LAG + LAG_STEP / 2, LAG_STEP)
    starts = np.arange(1 / CLICKS_HZ, seconds[-1] - 1 / CLICKS_HZ, 1 / CLICKS_HZ)
    best = []
    for start in starts:
        window = (seconds >= start - 0.5 / CLICKS_HZ) & (seconds < start + 1 / CLICKS_HZ)
        agreement = [
            np.corrcoef(np.interp(seconds[window] - lag, clock, reference), opening[window])[0, 1] for lag in tried
        ]
        best.append(tried[int(np.argmax(agreement))])
    return np.array(best)


def loudness(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clock [R] (s) and level [R] of a click track, as slow as a mouth."""
    window = np.hanning(SAMPLE_RATE // (2 * round(CLICKS_HZ)))
    level = np.convolve(np.abs(waveform), window / window.sum(), "same")
    return np.arange(len(waveform)) / SAMPLE_RATE, level


def frame_times(steps: tuple[float, ...], seconds: float) -> np.ndarray:
    """Frame times [T] from 0 to before `seconds`, apart by `steps` in turn."""
    times = np.concatenate([[0.0], np.cumsum(np.resize(steps, int(seconds / min(steps)) + 1))])
    return times[times < seconds]


def filmed(actor: SyntheticActor, times: np.ndarray, path: Path) -> Track:
    """Film the actor with her mouth closed at frame times [T] (s); returns the truth."""
    clock = torch.from_numpy(times)
    take = actor.perform(actor.speak([("sil", float(times[-1]) + 1)], clock), clock)
    path.write_bytes(encode_clip(actor.frames(take), times.tolist()))
    return take


def dubbed_opening(
    footage: Path, take: Track, bundle: Path, sound: Path, output: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Dub a film to a sound; frame times [T] of the result and the opening [T] measured in its pixels."""
    result = Footage(dub(footage, [Request(Sound(sound), bundle)], output).video)
    crops = read_crops(result, take.with_crop_size(CROP_SIZE), list(range(len(take)))).float() / 255
    return result.timestamps - result.timestamps[0], MouthMeter().openings(crops).numpy()


def scores(sound: np.ndarray, motion: np.ndarray, steps: tuple[float, ...]) -> dict[str, float]:
    """Lags [N] (s) behind sound and motion as a line; frames are the longest of the rate."""
    line: dict[str, float] = {"clicks": len(sound)}
    for name, lag in (("sound", sound), ("motion", motion)):
        line[f"after the {name}, ms"] = round(1000 * float(lag.mean()), 1)
        line[f"farthest from the {name}, frames"] = round(float(np.abs(lag).max()) / max(steps), 2)
    return line


def main(arguments: list[str] | None = None) -> None:
    """Score from the command line."""
    parser = argparse.ArgumentParser(description="Score when a dubbed mouth opens.")
    parser.add_argument("-o", "--out", type=Path, default=None, help="folder that keeps the films (default: none)")
    parser.add_argument("--rates", nargs="*", choices=RATES, default=list(RATES))
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        actor = make_actor(ACTOR_PX)
        times = torch.arange(round(ACTOR_SECONDS * 25), dtype=torch.float64) / 25
        lesson = actor.perform(actor.speak(babble(ACTOR_SECONDS), times), times)
        actor.film(folder / "actor.mp4", lesson)
        fitted = fit([folder / "actor.mp4"], "Ada", FitOptions(steps=0), tracks=[lesson])
        fitted.bundle.save(folder / "ada.actor", overwrite=True)
        style = MouthStyle.of_tensors(ActorBundle.load(folder / "ada.actor").style)
        waveform = clicks(given.seconds, vowel())
        with wave.open(str(folder / "clicks.wav"), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes((waveform * 32767).astype("<i2").tobytes())
        model, clock = shipped_motion_model(), np.arange(int(given.seconds * LABEL_RATE)) / LABEL_RATE
        motion = (model.predict(waveform, clock, style).lower_expression @ model.opening_axis).numpy()
        for rate in given.rates:
            steps, film = RATES[rate], folder / f"{rate}.mp4"
            take = filmed(actor, frame_times(steps, given.seconds), film)
            measured = dubbed_opening(
                film, take, folder / "ada.actor", folder / "clicks.wav", folder / f"{rate}.dubbed"
            )
            line = scores(lags(*measured, *loudness(waveform)), lags(*measured, clock, motion), steps)
            print(json.dumps({"rate": rate, **line}))


if __name__ == "__main__":
    main()
