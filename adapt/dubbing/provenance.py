"""`adapt inspect`: what is known of an actor bundle, a dub's folder, or a video (altered by us, and by which run)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adapt.actor.bundle import FACTS, FitFacts, read_facts
from adapt.actor.consent import NO_CONSENT
from adapt.dubbing.options import RUN
from adapt.dubbing.part import Part, Request
from adapt.motion.cues import told_range
from adapt.motion.sources import track_facts
from render.errors import StoreError
from render.store import code_version, file_sha256
from render.text import read_json
from render.video.container import open_media
from render.video.encoding import DeliveredSound
from render.video.reader import Footage

#: What a dubbed file's container tag `comment` starts with.
ALTERED = "altered video: mouth re-rendered by adapt"


@dataclass(frozen=True)
class Inspection:
    """What is known of a path.

    Attributes:
        kind: "actor bundle", "dub" or "video".
        facts: JSON-able.
    """

    kind: str
    facts: dict[str, Any]


def inspect(path: str | Path) -> Inspection:
    """What is known of an actor bundle (a folder with actor.json), a dub's folder (run.json) or a video file.

    Raises:
        StoreError, FootageError: nothing is known about such a path.
    """
    path = Path(path)
    if (path / FACTS).is_file():
        facts = read_facts(path)
        consent = FitFacts.of(facts["facts"], str(path / FACTS)).consent
        told = consent.refuse_expired(str(path), anyway=True) if consent else None
        state = {"consent_expired": told} if told else {}
        return Inspection(
            "actor bundle", {"consent": dict(consent.entries) if consent else NO_CONSENT, **state, **facts}
        )
    if (path / RUN).is_file():
        return Inspection("dub", _read_run(path / RUN))
    if path.is_dir():
        raise StoreError(f"{path}: neither an actor bundle (no {FACTS}) nor a dub's folder (no {RUN})")
    return Inspection("video", _video_facts(path))


def _read_run(path: Path) -> dict[str, Any]:
    run = read_json(path)
    if not isinstance(run, dict):
        raise StoreError(f"{path}: damaged (no JSON object)")
    return run


def _run_of(sidecar: Path, video: Path) -> dict[str, Any]:
    """The sidecar's facts, where it is one of ours and about this video."""
    try:
        run = _read_run(sidecar)
    except StoreError:
        return {}
    output = run.get("output")
    return run if isinstance(output, dict) and output.get("file") == video.name else {}


def _video_facts(path: Path) -> dict[str, Any]:
    with open_media(path) as container:
        tags = dict(container.metadata)
    altered = next((value for value in tags.values() if value.startswith(ALTERED)), None)
    facts: dict[str, Any] = {
        "altered": altered or "not by adapt, as far as its tags say",
        "tags": tags,
    }
    sidecar = path.parent / RUN
    if sidecar.is_file():
        run = _run_of(sidecar, path)
        if run:
            same = run["output"].get("sha256") == file_sha256(path)
            facts["run"] = run if same else "run.json beside it is of this file's name, but the file was changed since"
    return facts


def run_facts(
    footage: Footage, parts: Sequence[Part], requests: Sequence[Request], video: Path, sound: DeliveredSound | None
) -> dict[str, Any]:
    """What run.json holds beside the settings: versions, hashes of all that went in, actors with their consent.

    The hash of the video is None: it is not yet there.

    Args:
        footage: the shot.
        parts: who was dubbed.
        requests: to what, in the same order.
        video: the dubbed video, not yet there.
        sound: what was delivered in place of the source's own sound.
    """
    actors = [
        {
            "name": part.bundle.name,
            "person": part.track.source["person"],
            "consent": part.bundle.consent,
            "mouth": part.mouth,
            "cues": [told_range(cue) for cue in part.cues],
            # Of the bundle's facts, which hold the hashes of its other files; none where it was fitted from the shot.
            "actor_sha256": file_sha256(request.actor / FACTS) if request.actor else None,
        }
        for part, request in zip(parts, requests, strict=True)
    ]
    tracks = sound.tracks if sound else ()
    return {
        "statement": ALTERED,
        "code_version": code_version(),
        "torch": torch.__version__,
        "prior_sha256": parts[0].prior.sha256,
        "source": {"file": footage.path.name, "sha256": footage.sha256},
        "drivers": [request.driver.facts() for request in requests],
        "delivered_sounds": [track_facts(track) for track in tracks],
        "actors": actors,
        "output": {"file": video.name, "sha256": None},
    }
