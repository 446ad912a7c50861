"""How `adapt dub` follows people's own sound: `python -m adapt.benchmarks.own_sound FOOTAGE… -o FOLDER`.

In: clips of people that no weights were learnt from, as `adapt prepare` takes them. Each actor is enrolled from a clip
but its end, and the end is dubbed to its own sound by `adapt fit` and `adapt dub`; then the opening seen in the result
is compared with the source's, both by the landmarks of `MouthMeter`. Out: `scores.jsonl`, `table.md`, and the dubs.
"""

import argparse
import json
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adapt.cache import Cache
from adapt.comparison.split import Take, find_takes, open_take
from adapt.dubbing.dub import Dubbed, dub
from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Part, Request
from adapt.dubbing.session import Session
from adapt.fitting.fit import fit
from adapt.fitting.options import FitOptions
from adapt.metrics.mouth_meter import MouthMeter
from adapt.metrics.picture import concordance, correlation
from adapt.motion.sources import Sound
from adapt.progress import Bar
from adapt.tracking.crop import read_crops
from prior.face.points import opening
from prior.speech.sound import SAMPLE_RATE
from render.errors import DubError, FitError, FootageError, TrackingError
from render.video.reader import Footage

GAP_SECONDS = 1.0  # between the enrollment and what is dubbed
SHORTEST_SECONDS = 8.0  # of a clip
#: Lag within which the result may follow the source, seconds, for the column that forgives it.
LONGEST_LAG, LAG_STEP = 0.4, 0.02
LEAST_FRAMES = 25
COLUMNS = ("ccc", "ccc asked", "r", "spread", "spread asked", "lag_ms", "ccc at lag")


@dataclass(frozen=True)
class OwnSoundSplit:
    """What of a clip is learnt from and what is dubbed, (start, end) seconds from its first frame."""

    learnt: tuple[float, float]
    dubbed: tuple[float, float]

    @staticmethod
    def of(seconds: float, most: float) -> "OwnSoundSplit":
        """The split of a clip of so many seconds, of which at most `most` are dubbed."""
        start = seconds - min(most, (seconds - GAP_SECONDS) / 2)
        return OwnSoundSplit((0.0, start - GAP_SECONDS), (start, seconds))


def write_sound(path: Path, waveform: np.ndarray) -> Path:
    """Write a waveform [N] at `SAMPLE_RATE` as 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def at_lag(seen: torch.Tensor, true: torch.Tensor, seconds: torch.Tensor, late: float) -> float:
    """Concordance of an opening [T] seen `late` seconds after the true one [T], at frame times [T], where both are."""
    inside = (seconds - late >= seconds[0]) & (seconds - late <= seconds[-1])
    times = seconds.numpy()
    moved = np.interp(times[inside] - late, times, true.numpy())
    return concordance(seen[inside], torch.from_numpy(moved).to(seen.dtype))


def scores(seen: torch.Tensor, asked: torch.Tensor, true: torch.Tensor, seconds: torch.Tensor) -> dict[str, float]:
    """Scores of an opening seen in a result and of the one asked for, against the true one, all [T] at times [T]."""
    lags = np.arange(-LONGEST_LAG, LONGEST_LAG + LAG_STEP / 2, LAG_STEP)
    agreement = [at_lag(seen, true, seconds, float(lag)) for lag in lags]
    best = int(np.argmax(agreement))
    values = {
        "ccc": concordance(seen, true),
        "ccc asked": concordance(asked, true),
        "r": correlation(seen, true),
        "spread": float(seen.std() / true.std()),
        "spread asked": float(asked.std() / true.std()),
        "lag_ms": 1000 * float(lags[best]),
        "ccc at lag": agreement[best],
    }
    return {name: round(value, 3) for name, value in values.items()}


def dub_to_own_sound(take: Take, split: OwnSoundSplit, folder: Path, steps: int) -> tuple[Part, Dubbed]:
    """Fit and dub; returns what was to be drawn, and the dub.

    Raises:
        FootageError, TrackingError, FitError, DubError: the clip cannot be fitted or dubbed.
    """
    path = take.footage.path
    fitted = fit([path], take.person, FitOptions(steps=steps, part=split.learnt, seconds=4.0), tracks=[take.track])
    bundle = fitted.bundle.save(folder / f"{path.stem}.actor", overwrite=True)
    start, end = split.dubbed
    waveform = take.heard(take.footage.start + start, end - start)
    if waveform is None:
        raise FootageError(f"{path}: its sound does not belong to the picture")
    sound = write_sound(folder / f"{path.stem}.wav", waveform)
    options = DubOptions(part=split.dubbed, on_mismatch="hold", overwrite=True, occluders=False)
    request = Request(Sound(sound), bundle)
    session = Session(take.footage, options)
    part = session.parts([request])[0]
    return part, dub(path, [request], folder / path.stem, options)


def score_clip(take: Take, most: float, folder: Path, steps: int) -> dict[str, Any]:
    """A line of scores of one clip; raises as `dub_to_own_sound`."""
    footage = take.footage
    split = OwnSoundSplit.of(float(footage.ends[-1] - footage.timestamps[0]), most)
    part, made = dub_to_own_sound(take, split, folder, steps)
    drawn = torch.tensor([word == "dubbed" for word in made.redrawn.status])
    rows = (drawn & part.track.sure()).nonzero()[:, 0]
    if len(rows) < LEAST_FRAMES:
        raise DubError(f"{footage.path}: {len(rows)} frames dubbed and seen surely; {LEAST_FRAMES} are needed")
    meter = MouthMeter()
    true, seen = (
        meter.openings(read_crops(video, part.track, rows.tolist()) / 255.0) for video in (footage, Footage(made.video))
    )
    asked = opening(part.prior.model.vertices(part.track.shape, part.expression))[rows]
    line = scores(seen, asked, true, part.track.timestamps[rows])
    facts = {"person": take.person, "clip": footage.path.stem, "frames": len(rows)}
    return {**facts, **line, "mouth": part.mouth, "notes": made.quality["notes"]}


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown: a row a clip, then the mean."""
    text = [
        f"| clip | frames | {' | '.join(COLUMNS)} | style of the mouth | notes |",
        "|---" * (len(COLUMNS) + 4) + "|",
    ]
    for line in lines:
        values = " | ".join(str(line[name]) for name in COLUMNS)
        text.append(f"| {line['clip']} | {line['frames']} | {values} | {line['mouth']} | {'; '.join(line['notes'])} |")
    means = " | ".join(f"{np.nanmean([line[name] for line in lines]):.3f}" for name in COLUMNS)
    return "\n".join([*text, f"| mean of {len(lines)} | | {means} | | |", ""])


def main(arguments: list[str] | None = None) -> None:
    """Score from the command line."""
    parser = argparse.ArgumentParser(description="Score how adapt dub follows people's own sound.")
    parser.add_argument("footage", nargs="+", help="video files, or folders of them, with an index.csv beside them")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for scores, table and dubs")
    parser.add_argument("--prepared", type=Path, help="cache of `adapt prepare` with tracks of these files")
    parser.add_argument("--people", nargs="*", help="only these people")
    parser.add_argument("--seconds", type=float, default=7.0, help="of each clip to dub, at most")
    parser.add_argument("--steps", type=int, default=FitOptions().steps, help="optimiser steps of each fit")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    progress, lines = Bar(), []
    longest: dict[str, Take] = {}
    for path, person, speech in find_takes(given.footage):
        if speech is False or (given.people and person not in given.people):
            continue
        seconds = Footage(path).duration
        if seconds >= SHORTEST_SECONDS and (person not in longest or seconds > longest[person].footage.duration):
            longest[person] = open_take(path, person, speech, Cache(given.out / "tracks"), given.prepared)
    with (given.out / "scores.jsonl").open("w", encoding="utf-8") as log:
        for take in progress.over("people", longest.values(), len(longest)):
            try:
                lines.append(score_clip(take, given.seconds, given.out, given.steps))
            except (FootageError, TrackingError, FitError, DubError) as error:
                progress.note(f"left out: {error}")
                continue
            log.write(json.dumps(lines[-1]) + "\n")
            log.flush()
    text = table(lines) if lines else "nobody could be scored\n"
    (given.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
