"""adapt: dub actors in video from seconds of their footage. The stages, in the order of the data:

    cast         who is in the footage
    tracking     where the head is, in every frame
    actor        what a fitted actor is
    fitting      from an actor's footage to an actor
    motion       what moves the mouth
    dubbing      put the mouth back, leave the rest
    preparation  footage of many people made ready for training
    metrics      scores: pure functions of pictures and openings
    baselines    other ways to draw a mouth, a file each
    comparison   methods beside each other on withheld frames
    reports      building blocks of reports
    synthetic    the actor whom adapt renders itself
    commands     the command line: settings → a stage → result lines
    benchmarks   scores of the product

The functions and types below are what a program needs; each is loaded when it is first asked for.
"""

from importlib import import_module
from typing import Any

#: What is found where.
_HOMES = {
    "check": "cast.suitability",
    "track": "tracking.track",
    "fit": "fitting.fit",
    "save_fitted": "fitting.report",
    "dub": "dubbing.dub",
    "keys": "dubbing.dub",
    "speakers": "motion.speakers",
    "write_keys": "motion.keys",
    "preview": "dubbing.preview",
    "preview_dub": "dubbing.preview",
    "compare": "comparison.compare",
    "inspect": "dubbing.provenance",
    "doctor": "installation",
    "ActorBundle": "actor.bundle",
    "Consent": "actor.consent",
    "FitOptions": "fitting.options",
    "DubOptions": "dubbing.options",
    "CompareOptions": "comparison.options",
    "Request": "dubbing.part",
    "Sound": "motion.sources",
    "Video": "motion.sources",
    "TrackFile": "motion.sources",
    "OwnMotion": "motion.sources",
    "Silence": "motion.sources",
    "Progress": "progress",
    "Bar": "progress",
    "JsonLines": "progress",
    "Silent": "progress",
    "Cancelled": "progress",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'adapt' has no attribute {name!r}")
    return getattr(import_module(f"adapt.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
