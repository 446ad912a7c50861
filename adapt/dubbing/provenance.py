"""`adapt inspect`: what is known of an actor bundle, a dub's folder, or a video (altered by us, and by which run)."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from adapt.actor.bundle import FACTS, read_facts
from adapt.actor.consent import NO_CONSENT
from adapt.commands.flags import DubConfig
from adapt.dubbing.options import DubOptions
from adapt.dubbing.part import Part
from adapt.motion.placement import SILENCE
from prior.renderer.prior import RendererPrior
from render.errors import StoreError
from render.store import code_version, file_sha256
from render.video.footage import Footage
from render.video.media import open_media

RUN = "run.json"
#: What a dubbed file's container tag `comment` starts with.
ALTERED = "altered video: mouth re-rendered by adapt"


def inspect_path(path: Path) -> dict[str, Any]:
    """Facts of an actor bundle (a folder with actor.json), a dub's folder (run.json) or a video file.

    Raises:
        StoreError, FootageError: nothing is known about such a path.
    """
    path = Path(path)
    if (path / FACTS).is_file():
        facts = read_facts(path)
        return {"kind": "actor bundle", "consent": facts["facts"].get("consent") or NO_CONSENT, **facts}
    if (path / RUN).is_file():
        return {"kind": "dub", **_read_run(path / RUN)}
    if path.is_dir():
        raise StoreError(f"{path}: neither an actor bundle (no {FACTS}) nor a dub's folder (no {RUN})")
    return _inspect_video(path)


def _read_run(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: damaged ({error})") from error


def _run_of(sidecar: Path, video: Path) -> dict[str, Any]:
    """The sidecar's facts, where it is one of ours and about this video."""
    try:
        run = _read_run(sidecar)
    except StoreError:
        return {}
    output = run.get("output")
    return run if isinstance(output, dict) and output.get("file") == video.name else {}


def _inspect_video(path: Path) -> dict[str, Any]:
    with open_media(path) as container:
        tags = dict(container.metadata)
    altered = next((value for value in tags.values() if value.startswith(ALTERED)), None)
    facts: dict[str, Any] = {
        "kind": "video",
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
    config: DubConfig,
    footage: Footage,
    parts: list[Part],
    options: DubOptions,
    video: Path,
    prior: RendererPrior,
) -> dict[str, Any]:
    """What run.json holds: hashes, versions, actors with their consent, settings."""
    actors = [
        {"name": part.bundle.name, "person": part.track.source["person"], "consent": part.bundle.consent}
        for part in parts
    ]
    driving = [entry.partition("=")[2] for entry in config.face] + ([config.audio] if config.audio else [])
    driving = [sound for sound in driving if sound != SILENCE]
    return {
        "statement": ALTERED,
        "code_version": code_version(),
        "torch": torch.__version__,
        "prior_sha256": prior.facts["sha256"],
        "source": {"file": footage.path.name, "sha256": footage.sha256},
        "driving_sounds": [{"file": Path(path).name, "sha256": file_sha256(Path(path))} for path in driving],
        "delivered_sounds": [{"file": path.name, "sha256": file_sha256(path)} for path in options.audio or []],
        "actors": actors,
        "output": {"file": video.name, "sha256": file_sha256(video)},
        "settings": asdict(config),
    }
