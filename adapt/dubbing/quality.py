"""Quality: what a dub did with every frame of every person, in numbers for qc.json and in sentences for people."""

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from adapt.dubbing.part import Part
from adapt.dubbing.redraw import Redrawn, gliding
from adapt.dubbing.weights import (
    DUBBED,
    LOW,
    NO_FACE,
    OCCLUDED,
    OUTSIDE,
    PASSED,
    POSE_MARGIN_DEGREES,
    TURNED,
    UNDRIVEN,
    Handover,
    beyond_fit,
    pose_limits,
)
from prior.face.points import opening
from prior.renderer.interior import Interior
from render.head.camera import head_turn
from render.video.container import timecode
from render.video.reader import Footage

#: Stretches that are told at the end of a dub; all are in qc.json.
MOST_TOLD = 8
#: Where less of what lies between the lips was seen it is told as guessed, if that is so for so long in all, seconds.
GUESSED, TOLD_SECONDS = 0.1, 0.1
#: A mouth that is wider open by this than any of the actor's frames is called so, eye distances.
WIDER = 0.03
#: Why a stretch is not dubbed, as a sentence has it; what is beyond the fit is told with its numbers.
BECAUSE = {
    LOW: "the face is not tracked surely enough",
    OCCLUDED: "something lies over the mouth",
    OUTSIDE: "mouth or chin lie outside the picture",
    NO_FACE: "no face is found",
    PASSED: "outside the range",
    UNDRIVEN: "nothing drives the mouth",
}


def quality_facts(footage: Footage, parts: Sequence[Part], result: Redrawn, notes: Sequence[str]) -> dict[str, Any]:
    """What a dub did, for qc.json.

    Args:
        footage: the shot.
        parts: who was dubbed.
        result: what was redrawn.
        notes: remarks made before.

    Returns:
        "status": frames by word; "not_dubbed" and "in_front": stretches with timecodes; "copied": how many frames are
        the source's own packets, and the stretches of them; "people": for each part the
        weight of the new mouth and the part of the driven motion in every frame, and under "below_one" the stretches
        where one of them is less than 1, with why, as a word and in a sentence; "interior_seen": the share of what lies
        between the lips that the actor's frames show of mouths alike, in every frame, None where nothing does or is
        drawn, and under "guessed" the stretches where that is less than `GUESSED`.
    """
    changed = stretches(result.status)
    in_front = stretches(["in front" if frame in set(result.in_front) else "" for frame in range(footage.frame_count)])
    return {
        "frames": footage.frame_count,
        "status": {word: result.status.count(word) for word in sorted(set(result.status))},
        "not_dubbed": [{"status": word, **_span(footage, *at)} for word, *at in changed if word != DUBBED],
        "in_front": [_span(footage, *at) for word, *at in in_front if word],
        "copied": {
            "frames": sum(stop - start for start, stop in result.copied),
            "stretches": [_span(footage, start, stop - 1) for start, stop in result.copied],
        },
        "people": [_person(footage, *pair) for pair in zip(parts, result.handovers, strict=True)],
        "largest_changed_share": max(result.changed, default=0.0),
        "notes": [*footage.notes, *notes, *result.notes],
    }


def told(quality: dict[str, Any]) -> list[str]:
    """The stretches that surprise, of what `quality_facts` gives: one line each, the longest ones where they are many.

    What lies outside the range that was asked for is no surprise.
    """
    people = quality["people"]
    entries = [
        (entry, f"person {person['person']}: " if len(people) > 1 else "")
        for person in people
        for entry in person["below_one"]
        if entry["why"] != PASSED
    ]
    longest = sorted(entries, key=lambda pair: pair[0]["frames"][0] - pair[0]["frames"][1])[:MOST_TOLD]
    lines = [
        f"{entry['from']} to {entry['to']}: {who}{entry['text']}" for entry, who in entries if (entry, who) in longest
    ]
    rest = len(entries) - len(lines)
    lines += [f"{rest} more such stretches are in qc.json"] * (rest > 0)
    return lines + [line for person in people if (line := _told_guessed(person, len(people) > 1))]


def _told_guessed(person: dict[str, Any], is_one_of_many: bool) -> str:
    """One line on where the inside of a person's mouth is guessed: the longest stretch, and how much more; or none."""
    stretches = person["guessed"]
    seconds = sum(entry["seconds"] for entry in stretches)
    if seconds < TOLD_SECONDS:
        return ""
    longest = max(stretches, key=lambda entry: entry["seconds"])
    who = f"person {person['person']}: " if is_one_of_many else ""
    more = f"; {len(stretches) - 1} more such stretches, {seconds:.1f} s in all, are in qc.json"
    return (
        f"{longest['from']} to {longest['to']}: {who}{longest['text']}{more if len(stretches) > 1 else ''}; "
        "footage that shows such mouths, given to `adapt fit` as well, mends that"
    )


def pose_coverage(part: Part) -> str | None:
    """How the poses of a shot compare with those that the actor was fitted at; None where all can be dubbed."""
    low, high = pose_limits(part)
    track = part.track
    asked = (part.driven if part.wanted is None else part.wanted) & (track.confidence > 0)
    beyond = beyond_fit(track, low, high)
    count = int((asked & (beyond.amax(-1) > POSE_MARGIN_DEGREES)).sum())
    if not count:
        return None
    turn = head_turn(track.rotation[asked])
    axis = int(beyond[asked].amax(0).argmax())
    name = ("turns", "nods")[axis]
    return (
        f"the head {name} {turn[:, axis].min():+.0f}° to {turn[:, axis].max():+.0f}°, {part.bundle.name} was fitted at "
        f"{low[axis]:+.0f}° to {high[axis]:+.0f}°: {count} of {int(asked.sum())} frames will fade to the source; "
        "footage that shows such poses, given to `adapt fit` as well, mends that"
    )


def _person(footage: Footage, part: Part, handover: Handover) -> dict[str, Any]:
    below = []
    for why, first, last in stretches(handover.reason):
        if not why:
            continue
        rows = slice(first, last + 1)
        text = f"{_because(part, why, rows)}: {_consequence(handover, rows)}"
        below.append({"why": why, **_span(footage, first, last), "text": text})
    seen = interior_seen(part, handover)
    return {
        "person": part.track.source.get("person"),
        "actor": part.bundle.name,
        "weight": [round(value, 4) for value in handover.weight.tolist()],
        "motion": [round(value, 4) for value in handover.motion.tolist()],
        "below_one": below,
        "interior_seen": [None if math.isnan(share) else round(share, 3) for share in seen.tolist()],
        "guessed": _guessed(footage, part, handover, seen),
    }


def interior_of(part: Part) -> Interior:
    """What the bank of a part's actor shows of mouths."""
    return Interior(part.prior.model, part.prior.renderer, part.bundle.look.bank)


def interior_seen(part: Part, handover: Handover) -> torch.Tensor:
    """Share [T] of what is drawn between the lips that the actor's frames show; NaN where nothing is."""
    seen = torch.full_like(handover.weight, torch.nan)
    drawn = (handover.weight > 0).nonzero()[:, 0]
    seen[drawn] = interior_of(part).shares(part.track, gliding(part, handover).expression, drawn)
    return seen


def _guessed(footage: Footage, part: Part, handover: Handover, seen: torch.Tensor) -> list[dict[str, Any]]:
    """The stretches where hardly anything between the lips was seen, with how far the mouth opens and a sentence."""
    shape, vertices, own = part.track.shape, part.prior.model.vertices, part.bundle.look.bank.expression[0]
    shown, entries = float(opening(vertices(shape, own)).max()), []
    expression = gliding(part, handover).expression
    for word, first, last in stretches(["guessed" if share < GUESSED else "" for share in seen.tolist()]):
        if not word:
            continue
        asked = float(opening(vertices(shape, expression[first : last + 1])).max())
        what = (
            f"mouth opened wider than the actor's frames show ({asked:.2f} of the eye distance, they {shown:.2f})"
            if asked > shown + WIDER
            else "a mouth unlike any of the actor's frames"
        )
        facts = {
            "seconds": float(footage.ends[last] - footage.timestamps[first]),
            "seen": float(seen[first : last + 1].min()),
            "opening": asked,
            "opening_shown": shown,
        }
        rounded = {name: round(value, 3) for name, value in facts.items()}
        text = f"{what}: what lies between the lips is guessed"
        entries.append({**_span(footage, first, last), **rounded, "text": text})
    return entries


def _because(part: Part, why: str, rows: slice) -> str:
    """Why a stretch is not dubbed; where the head is turned, its angle and the nearest one that was fitted."""
    if why != TURNED:
        return BECAUSE[why]
    low, high = pose_limits(part)
    beyond = beyond_fit(part.track, low, high)[rows]
    frame, axis = divmod(int(beyond.argmax()), 2)
    angle = float(head_turn(part.track.rotation[rows])[frame, axis])
    limit = float(high[axis] if angle > high[axis] else low[axis])
    return f"{('head at', 'head nods to')[axis]} {angle:+.0f}°, fitted to {limit:+.0f}°"


def _consequence(handover: Handover, rows: slice) -> str:
    if float(handover.weight[rows].max()) == 0:
        return "left as it is"
    if float(handover.weight[rows].min()) == 0:
        return "faded to the source"
    return "partly the source's own" if bool((handover.weight[rows] < 1).any()) else "moves partly as in the source"


def stretches(words: Sequence[str]) -> list[tuple[str, int, int]]:
    """Runs of equal words: the word, first and last frame."""
    stretches, start = [], 0
    for word, frames in groupby(words):
        stop = start + len(list(frames))
        stretches.append((word, start, stop - 1))
        start = stop
    return stretches


def _span(footage: Footage, first: int, last: int) -> dict[str, Any]:
    begin, end = float(footage.timestamps[first]), float(footage.ends[last])
    return {"frames": [first, last], "from": timecode(begin), "to": timecode(end)}
