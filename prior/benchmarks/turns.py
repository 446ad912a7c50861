"""Score who speaks when: `python -m prior.benchmarks.turns CACHE --footage DIR`, of people the sync network never saw.

Every two people of CACHE stand side by side for three windows, to a sound of each, every other time in swapped order,
and to one sound in which they take turns from window to window. Prints a JSON line for each: how many windows go to
whose mouth it is, how many are sure, and how many of these are right. A voice is no better heard than in its own clip:
people do not talk over each other here.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import torch

from prior.cache.prepared import FACTS_NAME
from prior.motion.model import sound_rows
from prior.motion.sync import SyncModel, shipped_sync_model
from prior.motion.turns import WINDOW_ROWS, WINDOW_SECONDS, turns_of_rows
from prior.speech.features import features
from prior.speech.phonetics import shipped_phonetics
from prior.speech.sound import SAMPLE_RATE
from prior.training.run import one_line_errors
from prior.training.spoken_clips import sounding
from render.errors import StoreError
from render.head.motion import Motion
from render.text import read_json

WINDOWS = 3
#: Who of two is heard in each window where they take turns.
IN_TURN = ((0, 1, 1), (0, 0, 1), (1, 0, 0), (1, 1, 0))
#: Less of the frames surely tracked, or a sound that is voiced less, is no talking head.
LEAST_SEEN, LEAST_VOICED = 0.8, 0.5


@dataclass(frozen=True)
class Talking:
    """One person's motion, and rows [T, INPUTS] and gate [T] of that person's sound, from the first frame on."""

    person: str
    motion: Motion
    rows: torch.Tensor
    gate: torch.Tensor


def talking_people(cache: Path, footage: Path) -> list[Talking]:
    """Each person's first clip that is long enough, from a prepared cache."""
    found: dict[str, Talking] = {}
    size = WINDOWS * WINDOW_ROWS
    for name, track, waveform in sounding(cache, footage):
        facts, motion = read_json(cache / name / FACTS_NAME), track.motion()
        times = motion.timestamps - motion.timestamps[0]
        inside = times < WINDOWS * WINDOW_SECONDS + 0.2
        seen = float(track.sure()[inside].float().mean())
        if facts["person"] in found or facts.get("speech") is False or seen < LEAST_SEEN or bool(inside.all()):
            continue
        first = round(float(motion.timestamps[0]) * SAMPLE_RATE)
        rows, gate = sound_rows(shipped_phonetics(), features(waveform[first:]))
        if len(rows) >= size and float(gate[:size].mean()) >= LEAST_VOICED:
            motion = replace(
                motion,
                timestamps=times[inside],
                lower_expression=motion.lower_expression[inside],
                confidence=motion.confidence[inside],
            )
            found[facts["person"]] = Talking(facts["person"], motion, rows[:size], gate[:size])
    if len(found) < 2:
        raise StoreError(f"{cache}: fewer than two people who talk for {WINDOWS * WINDOW_SECONDS:g} s")
    return list(found.values())


def judged(sync: SyncModel, people: Sequence[Talking]) -> Iterator[tuple[str, bool, bool]]:
    """Of every window: "a sound each" or "in turn", whether it goes to the right mouth, and whether it is sure."""
    for number, pair in enumerate(combinations(people, 2)):
        motions, order = [one.motion for one in pair], (1, 0) if number % 2 else (0, 1)
        sounds = [pair[which] for which in order]
        for turn in turns_of_rows(sync, motions, [one.rows for one in sounds], [one.gate for one in sounds]):
            yield "a sound each", order[turn.sound] == turn.person, turn.is_sure
        heard = IN_TURN[number % len(IN_TURN)]
        pieces = [slice(window * WINDOW_ROWS, (window + 1) * WINDOW_ROWS) for window in range(WINDOWS)]
        rows, gate = (
            torch.cat([getattr(pair[which], series)[piece] for which, piece in zip(heard, pieces, strict=True)])
            for series in ("rows", "gate")
        )
        for turn in turns_of_rows(sync, motions, [rows], [gate]):
            right = heard[round(turn.start / WINDOW_SECONDS)] == turn.person
            yield "in turn", right, turn.is_sure and turn.is_alone


def main() -> None:
    """Command line; see the module's first lines."""
    parser = argparse.ArgumentParser(description="Score who speaks when.")
    parser.add_argument("cache", type=Path, help="prepared clips of people never trained on")
    parser.add_argument("--footage", type=Path, required=True, help="folder of those clips' own files")
    with one_line_errors("prior.benchmarks.turns"):
        torch.set_grad_enabled(False)
        arguments = parser.parse_args()
        people = talking_people(arguments.cache, arguments.footage)
        windows = list(judged(shipped_sync_model(), people))
        for sound in sorted({one[0] for one in windows}):
            right, sure = torch.tensor([one[1:] for one in windows if one[0] == sound]).unbind(1)
            line = {"sounds": sound, "people": len(people), "windows": len(right)}
            shares = {"right": right, "sure": sure, "right_of_sure": right[sure]}
            print(json.dumps(line | {name: round(float(share.float().mean()), 3) for name, share in shares.items()}))


if __name__ == "__main__":
    main()
