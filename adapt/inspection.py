"""`adapt inspect`: what is known of an actor bundle, a dub's folder, or a video (altered by us, and by which run)."""

import json
from pathlib import Path
from typing import Any

from adapt.bundle import FACTS, NO_CONSENT, read_facts
from adapt.commands import InspectConfig
from adapt.progress import Progress
from render.errors import StoreError
from render.media import open_media
from render.store import file_sha256

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


def _lines(value: Any, indent: int = 0) -> list[str]:
    space = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key, entry in value.items():
            if isinstance(entry, (dict, list)) and entry:
                lines += [f"{space}{key}:", *_lines(entry, indent + 1)]
            else:
                lines.append(f"{space}{key}: {entry if entry not in ({}, []) else 'none'}")
        return lines
    if isinstance(value, list):
        if all(not isinstance(entry, (dict, list)) for entry in value):
            return [space + ", ".join(str(entry) for entry in value)]
        return [line for entry in value for line in _lines(entry, indent)]
    return [f"{space}{value}"]


def main(config: InspectConfig, progress: Progress) -> None:
    """Print what is known."""
    facts = inspect_path(Path(config.path))
    if not progress.json_lines:
        progress.note("\n".join(_lines(facts)))
    progress.result(facts)
